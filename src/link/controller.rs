//! What the tasks of a link share: the way to the controller, and what is known of it.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use rigd_proto::v1::{GetReportResponse, controller_service_client::ControllerServiceClient};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};
use tonic::{Request, Response, Status, transport::Channel};

use super::{
    Registration,
    answer::{Answer, cause},
    dialer::Dialer,
    identity::{Identity, IdentityError},
    outbox::Outbox,
};
use crate::config::Endpoint;

/// How long a rival is remembered.
const RIVAL_SHOWN: Duration = Duration::from_secs(300);

/// What a controller is: its address, and what it has told us by what it did.
pub(super) struct Controller {
    pub(super) name: String,
    pub(super) endpoint: Endpoint,
    pub(super) dialer: Dialer,
    pub(super) identity: Identity,
    /// Instances of the exporter, for Register.
    pub(super) report: GetReportResponse,
    channel: Channel,
    pub(super) outbox: Mutex<Outbox>,
    /// Something was put into the outbox, or taken out.
    pub(super) outbox_changed: Notify,
    /// How often the controller has taken us in. Whoever waits for a back-off tries at once when it
    /// rises.
    pub(super) registered: watch::Sender<u64>,
    /// The controller has answered: it is there.
    pub(super) reached: Notify,
    pub(super) health: watch::Sender<Health>,
    /// When somebody took our place last, and how often.
    rival: Mutex<Option<(Instant, u32)>>,
    /// An old controller: exporters can't release leases there. Kept for the life of the process.
    pub(super) no_release: AtomicBool,
    /// ReportStatus is unknown there, as of this registration.
    pub(super) no_reports: AtomicU64,
}

/// How the link does, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Health {
    pub(super) connected: bool,
    pub(super) detail: String,
}

/// Why a request came to nothing.
#[derive(Debug)]
pub(super) struct Failed {
    /// For people: what happened, and what would help.
    pub(super) text: String,
    pub(super) answer: Answer,
    /// The controller was not even asked.
    pub(super) local: bool,
}

impl From<Status> for Failed {
    fn from(status: Status) -> Self {
        let answer = Answer::of(&status);
        Self::with(&status, answer)
    }
}

impl From<IdentityError> for Failed {
    /// A person has to mend it; the file of a token is read again each time.
    fn from(error: IdentityError) -> Self {
        let text = error.to_string();
        Self {
            answer: Answer::Refused(text.clone()),
            text,
            local: true,
        }
    }
}

impl Failed {
    /// Of Register, which every controller knows.
    pub(super) fn at_register(status: &Status, identity: &Identity) -> Self {
        let mut failed = Self::with(status, Answer::of_register(status));
        if let (Answer::Refused(_), Some(expired)) =
            (&failed.answer, identity.expired(SystemTime::now()))
        {
            failed.text = format!("{expired}; {}", failed.text);
        }
        failed
    }

    fn with(status: &Status, answer: Answer) -> Self {
        let text = match &answer {
            Answer::Refused(text) => text.clone(),
            Answer::Passing | Answer::Unsupported => cause(status),
        };
        Self {
            text,
            answer,
            local: false,
        }
    }
}

impl Controller {
    pub(super) fn new(registration: Registration) -> Self {
        let Registration {
            name,
            endpoint,
            dialer,
            identity,
            report,
            ..
        } = registration;
        let channel = dialer.channel(&endpoint);
        let health = Health {
            connected: false,
            detail: "connecting".into(),
        };
        Self {
            name,
            endpoint,
            dialer,
            identity,
            report,
            channel,
            outbox: Mutex::default(),
            outbox_changed: Notify::new(),
            registered: watch::Sender::new(0),
            reached: Notify::new(),
            health: watch::Sender::new(health),
            rival: Mutex::default(),
            no_release: AtomicBool::new(false),
            no_reports: AtomicU64::new(0),
        }
    }

    /// The service, over the one connection of this link.
    pub(super) fn service(&self) -> ControllerServiceClient<Channel> {
        ControllerServiceClient::new(self.channel.clone())
    }

    /// The connection itself, for a call that the generated client cannot make.
    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A request of this exporter. Reads the token's file, when there is one.
    pub(super) fn request<T>(&self, message: T) -> Result<Request<T>, Failed> {
        let mut request = Request::new(message);
        self.identity.apply(request.metadata_mut())?;
        Ok(request)
    }

    pub(super) fn outbox(&self) -> MutexGuard<'_, Outbox> {
        lock(&self.outbox)
    }

    /// The number of this registration, 0 before the first.
    pub(super) fn registration(&self) -> u64 {
        *self.registered.borrow()
    }

    /// Another one of the same name takes our place again and again.
    pub(super) fn rival(&self, times: u32) {
        *lock(&self.rival) = Some((Instant::now(), times));
    }

    /// How the link does, for people.
    pub(super) fn told(&self) -> Health {
        let mut health = self.health.borrow().clone();
        let rival = lock(&self.rival).filter(|(seen, _)| seen.elapsed() < RIVAL_SHOWN);
        if let Some((_, times)) = rival {
            health.detail =
                format!("another daemon runs as this exporter: it took our place {times} times");
        }
        health
    }

    pub(super) fn connected(&self) -> bool {
        self.health.borrow().connected
    }

    pub(super) fn has_no_reports(&self) -> bool {
        let known = self.no_reports.load(Ordering::Relaxed);
        known != 0 && known == self.registration()
    }
}

/// A thread that died while it held the lock left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The answer of a unary call, within `limit`.
pub(super) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Status> {
    match timeout(limit, call).await {
        Ok(answer) => answer.map(Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded(format!(
            "no answer within {} s",
            limit.as_secs()
        ))),
    }
}
