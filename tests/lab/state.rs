//! What the lab's services share: exporters, clients, leases, faults, and what was heard.
//!
//! One lock guards all of it; nobody waits for anything while holding it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::future::Either;
use rigd_proto::v1::{
    DriverInstanceReport, ExporterStatus, ListenResponse, LogEntry, StatusResponse,
    TelemetryEndpoint,
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};
use tonic::Status;

use super::{
    faults::{Faults, Verdict},
    heard::{Heard, Rpc, What},
    leases::Lease,
    router::Waiting,
    tokens::{self, Kind},
};

/// Status messages that a stream has not sent yet; tests make a handful of changes.
const STATUS_QUEUE: usize = 256;

/// The state, and how to wait for a change of it.
pub(super) struct Shared {
    state: Mutex<State>,
    /// For tests, which wait on their own threads.
    news: Condvar,
    /// For tasks.
    changed: watch::Sender<()>,
    pub(super) runtime: Handle,
    pub(super) router_endpoint: String,
    /// Tells this lab's tokens from those of another.
    pub(super) id: String,
}

pub(super) struct State {
    begin: Instant,
    pub(super) heard: Vec<Heard>,
    pub(super) faults: Faults,
    pub(super) exporters: BTreeMap<String, Exporter>,
    pub(super) clients: BTreeSet<String>,
    pub(super) leases: BTreeMap<String, Lease>,
    /// The newest Listen of each lease.
    pub(super) listens: HashMap<String, ListenTap>,
    /// Router tokens and the leases they are for.
    pub(super) dials: HashMap<String, String>,
    /// Router streams without a peer, by token.
    pub(super) waiting: HashMap<String, Waiting>,
    /// Whether the router joins streams.
    pub(super) pairs: bool,
    /// `None`: a controller that does not know the call.
    pub(super) endpoints: Option<Vec<TelemetryEndpoint>>,
    pub(super) telemetry: Vec<LogEntry>,
    /// Tokens of exporters that took the place of their first.
    pub(super) renewed: HashMap<String, String>,
    numbers: u64,
}

/// What the lab knows of an exporter. Labels are configuration, the rest it says itself.
#[derive(Default)]
pub(super) struct Exporter {
    pub(super) labels: BTreeMap<String, String>,
    /// Position in the order of first registrations.
    pub(super) order: Option<u64>,
    pub(super) reports: Option<Vec<DriverInstanceReport>>,
    pub(super) status: Option<ExporterStatus>,
    pub(super) message: String,
    pub(super) lease: Option<String>,
    /// What its Status streams were told last.
    announced: StatusResponse,
    taps: Vec<StatusTap>,
}

struct StatusTap {
    number: u64,
    tx: mpsc::Sender<Result<StatusResponse, Status>>,
}

pub(super) struct ListenTap {
    pub(super) number: u64,
    pub(super) tx: mpsc::Sender<Result<ListenResponse, Status>>,
}

impl Shared {
    pub(super) fn new(runtime: Handle, router_endpoint: String, id: String) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                begin: Instant::now(),
                heard: Vec::new(),
                faults: Faults::default(),
                exporters: BTreeMap::new(),
                clients: BTreeSet::new(),
                leases: BTreeMap::new(),
                listens: HashMap::new(),
                dials: HashMap::new(),
                waiting: HashMap::new(),
                pairs: true,
                endpoints: None,
                telemetry: Vec::new(),
                renewed: HashMap::new(),
                numbers: 0,
            }),
            news: Condvar::new(),
            changed: watch::Sender::new(()),
            runtime,
            router_endpoint,
            id,
        })
    }

    /// For reading.
    pub(super) fn look(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something, and tells those who wait.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.look());
        self.changed.send_replace(());
        self.news.notify_all();
        result
    }

    /// Tells when something changed, from now on.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Blocks until the condition holds, and says whether it came to that in time.
    pub(super) fn wait(&self, limit: Duration, met: impl Fn(&State) -> bool) -> bool {
        let unmet = |state: &mut State| !met(state);
        let waited = self.news.wait_timeout_while(self.look(), limit, unmet);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    pub(super) fn hear(&self, from: &str, what: What) {
        self.change(|state| state.hear(from, what));
    }

    pub(super) fn token(&self, kind: Kind, name: &str) -> String {
        tokens::identity(&self.id, kind, name)
    }

    /// Records a call, lets it wait and refuses it as the faults of the moment demand, and else
    /// gives it its effect. Without a delay all of that is one step: who sees the record sees the
    /// effect, too.
    pub(super) async fn admit<T>(
        &self,
        rpc: Rpc,
        from: &str,
        what: What,
        effect: impl FnOnce(&mut State) -> Result<T, Status>,
    ) -> Result<T, Status> {
        let (wait, effect) = self.change(|state| {
            let Verdict { wait, refusal } = state.faults.judge(rpc, from);
            state.hear(from, what);
            if let (Some(refusal), Some(heard)) = (&refusal, state.heard.last_mut()) {
                heard.refused = Some(refusal.code());
            }
            let effect = |state: &mut State| match refusal {
                Some(refusal) => Err(refusal),
                None => effect(state),
            };
            match wait.is_zero() {
                true => (wait, Either::Left(effect(state))),
                false => (wait, Either::Right(effect)),
            }
        });
        match effect {
            Either::Left(result) => result,
            Either::Right(effect) => {
                tokio::time::sleep(wait).await;
                self.change(effect)
            }
        }
    }
}

impl State {
    pub(super) fn hear(&mut self, from: &str, what: What) {
        self.heard.push(Heard {
            at: self.begin.elapsed(),
            from: from.to_owned(),
            what,
            refused: None,
        });
    }

    /// A number that was not given out before.
    pub(super) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// What a controller loses that keeps its state in memory: all but what it is configured with.
    pub(super) fn forget(&mut self) {
        for exporter in self.exporters.values_mut() {
            let labels = std::mem::take(&mut exporter.labels);
            *exporter = Exporter {
                labels,
                ..Exporter::default()
            };
        }
        self.leases.clear();
    }

    /// Opens a Status stream; its first message is what holds now.
    pub(super) fn tap(
        &mut self,
        exporter: &str,
    ) -> (u64, mpsc::Receiver<Result<StatusResponse, Status>>) {
        let number = self.number();
        let (tx, rx) = mpsc::channel(STATUS_QUEUE);
        let now = self.situation(exporter);
        tx.try_send(Ok(now.clone())).expect("a new queue has room");
        let exporter = self.exporters.entry(exporter.to_owned()).or_default();
        exporter.announced = now;
        exporter.taps.push(StatusTap { number, tx });
        // The open stream brings an exporter back that was given up.
        if exporter.status == Some(ExporterStatus::Offline) {
            exporter.status = None;
            exporter.message.clear();
        }
        (number, rx)
    }

    pub(super) fn untap(&mut self, exporter: &str, number: u64) {
        if let Some(exporter) = self.exporters.get_mut(exporter) {
            exporter.taps.retain(|tap| tap.number != number);
        }
    }

    /// Tells the exporter's Status streams what changed, if anything did.
    pub(super) fn announce(&mut self, exporter: &str) {
        let now = self.situation(exporter);
        let Some(exporter) = self.exporters.get_mut(exporter) else {
            return;
        };
        if exporter.announced != now {
            exporter.announced = now.clone();
            exporter.say(now);
        }
    }

    /// Ends its Status streams.
    pub(super) fn end_taps(&mut self, exporter: &str, end: Option<Status>) {
        if let Some(exporter) = self.exporters.get_mut(exporter) {
            for tap in exporter.taps.drain(..) {
                if let Some(status) = end.clone() {
                    tap.tx.try_send(Err(status)).ok();
                }
            }
        }
    }

    fn situation(&self, exporter: &str) -> StatusResponse {
        let lease = self.exporters.get(exporter).and_then(|it| it.lease.clone());
        let lease = lease.and_then(|name| self.leases.get(&name));
        StatusResponse {
            leased: lease.is_some(),
            lease_name: lease.map(|it| it.name.clone()),
            client_name: lease.map(|it| it.client.clone()),
            context: BTreeMap::new(),
        }
    }
}

impl Exporter {
    /// Whatever it is, to all its Status streams.
    pub(super) fn say(&self, message: StatusResponse) {
        for tap in &self.taps {
            tap.tx.try_send(Ok(message.clone())).ok();
        }
    }

    pub(super) fn online(&self) -> bool {
        self.reports.is_some() && self.status != Some(ExporterStatus::Offline)
    }

    /// Whether a lease may be given to it. An exporter whose reports the controller never got
    /// counts as ready.
    pub(super) fn assignable(&self) -> bool {
        use ExporterStatus::{Available, Unspecified};
        self.online()
            && self.lease.is_none()
            && matches!(self.status, None | Some(Available | Unspecified))
    }
}
