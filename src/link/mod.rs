//! The connection of an exporter to its controller and router.
//!
//! ```text
//!   hear:    Register, Status ──────────────> lease machine (Status)
//!   listen:  Listen for a lease ── items ───> the runner ──> tunnel ──> the lease's session
//!   report:  outbox ──> ReportStatus          release: ReleaseLease ──> lease machine (answered)
//! ```
//!
//! Each is a task with a back-off of its own, over one HTTP/2 connection that connects again by
//! itself. None of them ends the lease: a controller that is away for minutes costs its clients
//! nothing. A tunnel has a connection of its own.

use std::{sync::Arc, time::Duration};

use rigd_proto::v1::{ExporterStatus, GetReportResponse, UnregisterRequest};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::Instrument;

use crate::{
    config::Endpoint,
    daemon::handle::LinkSnapshot,
    lease::machine::{Event, Lease},
    session::LogHub,
};
use answer::cause;
use controller::{Controller, within};
use outbox::Report;
use telemetry::{Context, Telemetry};

mod answer;
mod backoff;
mod connect;
mod controller;
mod dialer;
mod hear;
mod identity;
mod listen;
mod options;
mod outbox;
mod release;
mod report;
mod telemetry;
mod trust;
mod tunnel;

pub(crate) use dialer::Dialer;
pub(crate) use identity::{Identity, IdentityError};
pub(crate) use listen::Dial;
pub(crate) use tunnel::Tunnels;

/// Time for the last reports at a stop, and again for signing off.
const FAREWELL: Duration = Duration::from_secs(5);
/// The same towards a controller that is away: it may just have come back.
const FAREWELL_AWAY: Duration = Duration::from_secs(1);
/// Upstream's reason.
const SHUTDOWN: &str = "Exporter shutdown";

/// Who an exporter is to its controller, and how it gets there.
#[derive(Debug)]
pub(crate) struct Registration {
    /// Name of the exporter.
    pub(crate) name: String,
    /// Its namespace.
    pub(crate) namespace: String,
    /// Where the controller is.
    pub(crate) endpoint: Endpoint,
    /// How it is reached, and its routers.
    pub(crate) dialer: Dialer,
    /// What is shown to it.
    pub(crate) identity: Identity,
    /// The instances.
    pub(crate) report: GetReportResponse,
}

/// The link of one exporter. Dropping it ends everything but open tunnels at once.
pub(crate) struct Link {
    controller: Arc<Controller>,
    events: mpsc::Sender<Event>,
    dials: mpsc::Sender<Dial>,
    /// Hears and reports.
    tasks: JoinSet<()>,
    listening: Option<AbortOnDropHandle<()>>,
    releasing: Option<AbortOnDropHandle<()>>,
    /// Whose log lines are collected.
    context: watch::Sender<Context>,
    /// Ends the collection, and is ended with it.
    collecting: (CancellationToken, AbortOnDropHandle<()>),
}

impl Link {
    /// Begins to register. What the controller says goes to `events`, clients to `dials`, and `logs`
    /// to where the controller wants them.
    pub(crate) fn start(
        registration: Registration,
        events: mpsc::Sender<Event>,
        dials: mpsc::Sender<Dial>,
        logs: Arc<LogHub>,
    ) -> Self {
        for warning in &registration.dialer.options().warnings {
            tracing::warn!("{warning}");
        }
        let context = watch::Sender::new(Context {
            exporter: registration.name.clone(),
            namespace: registration.namespace.clone(),
            ..Context::default()
        });
        let controller = Arc::new(Controller::new(registration));
        let mut tasks = JoinSet::new();
        tasks.spawn(hear::run(controller.clone(), events.clone()).in_current_span());
        tasks.spawn(report::run(controller.clone()).in_current_span());
        let stop = CancellationToken::new();
        let collect = collect(controller.clone(), logs, context.subscribe(), stop.clone());
        Self {
            controller,
            events,
            dials,
            tasks,
            listening: None,
            releasing: None,
            context,
            collecting: (stop, spawn(collect)),
        }
    }

    /// Who holds the exporter now.
    pub(crate) fn leased(&self, lease: Option<&Lease>) {
        self.context.send_modify(|context| {
            let (name, client) = lease.map_or(("", ""), |lease| (&lease.name, &lease.client));
            context.lease = name.into();
            context.client = client.into();
        });
    }

    /// Tells the controller a state, until it has heard it or a newer one.
    pub(crate) fn report(&mut self, status: ExporterStatus, message: String) {
        if matches!(status, ExporterStatus::Available | ExporterStatus::Offline) {
            // No lease any more: who is too old to be told which one is released would release the
            // next.
            self.releasing = None;
        }
        self.controller.outbox().push(Report { status, message });
        self.controller.outbox_changed.notify_waiters();
    }

    /// Asks for the clients of a lease, and no longer for those of another. Answers `Listening` once
    /// the request was sent.
    pub(crate) fn listen(&mut self, lease: String) {
        let (controller, events) = (self.controller.clone(), self.events.clone());
        let task = listen::run(controller, lease, events, self.dials.clone());
        self.listening = Some(spawn(task));
    }

    /// No clients are expected any more.
    pub(crate) fn stop_listening(&mut self) {
        self.listening = None;
    }

    /// Gives a lease back; answers `ReleaseAnswered`.
    pub(crate) fn release(&mut self, lease: String) {
        let task = release::run(self.controller.clone(), lease, self.events.clone());
        self.releasing = Some(spawn(task));
    }

    /// Waits for the end of what only ends by a mistake of ours, and passes its panic on: without
    /// these tasks the exporter would be deaf and say that all is well. Cancel-safe.
    pub(crate) async fn broken(&mut self) {
        match self.tasks.join_next().await {
            Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            _ => std::future::pending().await,
        }
    }

    /// For people.
    pub(crate) fn snapshot(&self, tunnels: usize) -> LinkSnapshot {
        let health = self.controller.told();
        LinkSnapshot {
            endpoint: self.controller.endpoint.to_string(),
            connected: health.connected,
            detail: health.detail,
            tunnels,
        }
    }

    /// Tells the last states and signs off. Ends within ten seconds, within two when the controller
    /// is away.
    pub(crate) async fn leave(self) {
        let Self {
            controller,
            mut tasks,
            listening,
            releasing,
            collecting: (stop, collecting),
            ..
        } = self;
        drop((listening, releasing));
        stop.cancel();
        // Flushes within its own limit.
        collecting.await.ok();
        if controller.registration() == 0 {
            return;
        }
        let limit = || match controller.connected() {
            true => FAREWELL,
            false => FAREWELL_AWAY,
        };
        if timeout(limit(), flushed(&controller)).await.is_err() {
            tracing::warn!("The controller has not heard the last status.");
        }
        let reason = SHUTDOWN.into();
        let error = match controller.request(UnregisterRequest { reason }) {
            Ok(request) => {
                let mut service = controller.service();
                let answer = within(limit(), service.unregister(request)).await;
                answer.err().map(|status| cause(&status))
            }
            Err(trouble) => Some(trouble.text),
        };
        if let Some(error) = error {
            tracing::warn!(error, "Not signed off from the controller.");
        }
        tasks.shutdown().await;
    }
}

/// Waits until the controller has heard all.
async fn flushed(controller: &Controller) {
    loop {
        let changed = controller.outbox_changed.notified();
        if controller.outbox().next().is_none() {
            return;
        }
        changed.await;
    }
}

/// Sends log lines to where the controller wants them, if anywhere.
async fn collect(
    controller: Arc<Controller>,
    logs: Arc<LogHub>,
    context: watch::Receiver<Context>,
    stop: CancellationToken,
) {
    let mut registered = controller.registered.subscribe();
    let asked = async {
        loop {
            registered.changed().await.ok()?;
            // Old controllers do not know the question; a new one may take their place.
            let endpoints = hear::endpoints(&controller).await.unwrap_or_default();
            if !endpoints.is_empty() {
                return Some(endpoints);
            }
        }
    };
    // cancel-safe: nothing is started yet.
    let endpoints = tokio::select! {
        Some(endpoints) = asked => endpoints,
        () = stop.cancelled() => return,
    };
    let access = telemetry::Reach {
        dialer: controller.dialer.clone(),
        identity: controller.identity.clone(),
    };
    if let Some(sending) = Telemetry::start(&logs, &endpoints, access, context, stop) {
        AbortOnDropHandle::new(sending).await.ok();
    }
}

fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(task.in_current_span()))
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("endpoint", &self.controller.endpoint)
            .finish_non_exhaustive()
    }
}
