//! The task that owns a lease machine and carries its effects out.
//!
//! ```text
//!   events (timers, hooks, instances, stop) ──> Machine ──effects──> Runner ──answers──┐
//!        ^                                                                             │
//!        └─────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Without a controller the whole run is one lease: the runner itself plays the controller's part,
//! answers at once, and clients never end it.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use rigd_proto::v1::ExporterStatus;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

use super::{
    hooks::Hooks,
    journal::Journal,
    machine::{Effect, Entry, Event, Lease, Machine, Policy, State, Verdict},
    safe_state::SafeState,
};
use crate::{
    session::{LogHub, Session, StatusBoard},
    tree::Tree,
};

/// Events that wait for the machine. Each comes from something the machine asked for, one of a kind.
const EVENTS: usize = 32;
/// How long the disk has to take a journal entry.
const JOURNAL_LIMIT: Duration = Duration::from_secs(5);

/// What a runner works with.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) tree: Arc<Tree>,
    pub(crate) status: Arc<StatusBoard>,
    pub(crate) logs: Arc<LogHub>,
    /// What the clients of the lease are served.
    pub(crate) session: Session,
    pub(crate) hooks: Hooks,
    pub(crate) safe_state: SafeState,
    /// None when nothing of a lease would have to be made good after a crash.
    pub(crate) journal: Option<Journal>,
    pub(crate) policy: Policy,
}

/// The lease of one run.
#[derive(Debug)]
pub(crate) struct Runner {
    machine: Machine,
    setup: Setup,
    events: mpsc::Sender<Event>,
    inbox: mpsc::Receiver<Event>,
    deadline: Option<(u64, Instant)>,
    tasks: TaskTracker,
    /// Told once the client may act.
    ready: Option<oneshot::Sender<()>>,
    prepared: bool,
}

impl Runner {
    /// A runner that goes on where the process before it stopped.
    pub(crate) async fn new(setup: Setup, ready: oneshot::Sender<()>) -> Self {
        let left = match &setup.journal {
            Some(journal) => read(journal.clone()).await,
            None => None,
        };
        let (events, inbox) = mpsc::channel(EVENTS);
        Self {
            machine: Machine::new(setup.policy, left),
            setup,
            events,
            inbox,
            deadline: None,
            tasks: TaskTracker::new(),
            ready: Some(ready),
            prepared: false,
        }
    }

    /// Runs the lease `lease` until `stop`, or until a hook's policy ends it; gives the exit code.
    /// A cancelled `cut` ends a hook of the stop at once.
    pub(crate) async fn run(
        mut self,
        lease: Lease,
        stop: CancellationToken,
        cut: CancellationToken,
    ) -> u8 {
        let mut next = Some(lease);
        let (mut stopping, mut cutting) = (false, false);
        // What the process before left is made good first.
        self.tell(Event::Status(None)).await;
        loop {
            match self.machine.state() {
                State::Stopped(code) => {
                    let asked = stopping || *code != 0;
                    self.tasks.close();
                    // A lease that ended by itself was ended by a hook.
                    return if asked { *code } else { 3 };
                }
                State::Available => {
                    if let Some(lease) = next.take() {
                        self.tell(Event::Status(Some(lease))).await;
                        continue;
                    }
                }
                // Nobody waits for the good end of a lease that lasts as long as the run. A failure
                // stays for clients to see.
                State::Lingering(ending) if ending.inherited || ending.verdict == Verdict::Well => {
                    self.tell(Event::FinalStatusRead).await;
                    continue;
                }
                _ => {}
            }
            let deadline = self.deadline;
            let due = async {
                match deadline {
                    Some((_, at)) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            // cancel-safe: the arms only wait, or take what is there.
            let event = tokio::select! {
                Some(event) = self.inbox.recv() => event,
                () = due => {
                    let Some((number, _)) = self.deadline.take() else { continue };
                    Event::Deadline(number)
                }
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    Event::Stop
                }
                () = cut.cancelled(), if stopping && !cutting => {
                    cutting = true;
                    Event::Stop
                }
            };
            self.tell(event).await;
        }
    }

    /// One event, and the answers that its effects give at once.
    async fn tell(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            tracing::debug!(?event, "Lease event.");
            for effect in self.machine.step(event) {
                events.extend(self.carry_out(effect).await);
            }
        }
    }

    async fn carry_out(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Journal(entry) => {
                if let Some(journal) = &self.setup.journal {
                    write(journal.next(), entry).await;
                }
                None
            }
            Effect::Show(status, text) => {
                self.setup.status.set(status, text);
                if status == ExporterStatus::LeaseReady
                    && let Some(ready) = self.ready.take()
                {
                    // Whoever does not listen is not interested.
                    ready.send(()).ok();
                }
                None
            }
            // There is no controller, so there is nobody to tell and nothing to wait for.
            Effect::Report(..) | Effect::Transfer(_) | Effect::Leave(_) => None,
            Effect::Listen(lease) => Some(Event::Listening(lease.name)),
            Effect::Release(lease) => Some(Event::ReleaseAnswered(lease.name)),
            Effect::Prepare(lease) => {
                self.prepared = true;
                // What a hook of the lease before printed is not for the client of this one.
                self.setup.logs.new_epoch();
                let tree = self.setup.tree.clone();
                self.spawn(async move {
                    tree.lease_start().await;
                    Event::Prepared(lease.name)
                });
                None
            }
            Effect::RunHook(kind, lease) => {
                let hook = self.setup.hooks.start(kind, &lease).await;
                self.spawn(async move { Event::HookEnded(kind, hook.await) });
                None
            }
            Effect::CutHook(grace) => {
                self.setup.hooks.cut(grace);
                None
            }
            Effect::RevokeClient(reason) => {
                self.setup.session.end(reason);
                None
            }
            Effect::RunSafeState => {
                let safe_state = self.setup.safe_state.clone();
                let key = self.setup.hooks.key();
                self.spawn(async move {
                    safe_state.run(&key).await;
                    Event::SafeStateDone
                });
                None
            }
            Effect::Forget => {
                self.setup.hooks.end();
                let tree = self.setup.tree.clone();
                self.spawn(async move {
                    tree.lease_end().await;
                    Event::Quiet
                });
                None
            }
            Effect::CloseSession => {
                // What was left of the process before had no session in this one.
                if self.prepared {
                    self.setup.session.close().await;
                }
                None
            }
            Effect::Arm(number, after) => {
                // A time beyond what a clock can hold is no deadline.
                self.deadline = Instant::now().checked_add(after).map(|at| (number, at));
                None
            }
        }
    }

    /// Work whose end is an event.
    fn spawn(&self, work: impl Future<Output = Event> + Send + 'static) {
        let events = self.events.clone();
        let work = async move {
            let event = work.await;
            // The machine is gone when the exporter has stopped.
            events.send(event).await.ok();
        };
        self.tasks.spawn(work.in_current_span());
    }
}

async fn read(journal: Journal) -> Option<Entry> {
    let reading = tokio::task::spawn_blocking(move || journal.read());
    let error = match timeout(JOURNAL_LIMIT, reading).await {
        Ok(Ok(Ok(entry))) => return entry,
        Ok(Ok(Err(error))) => error.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the disk does not answer".into(),
    };
    tracing::error!(
        error,
        "The journal cannot be read: what the last lease left is unknown."
    );
    None
}

/// A journal that cannot be written costs its promise, not the lease.
async fn write(journal: Journal, entry: Entry) {
    let writing = tokio::task::spawn_blocking(move || journal.write(&entry));
    let error = match timeout(JOURNAL_LIMIT, writing).await {
        Ok(Ok(Ok(()))) => return,
        Ok(Ok(Err(error))) => error.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the disk does not answer".into(),
    };
    tracing::error!(
        error,
        "The journal cannot be written: a crash would not be made good."
    );
}
