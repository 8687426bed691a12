//! The task that owns a lease machine and carries its effects out.
//!
//! ```text
//!   link, timers, hooks, instances, clients, people, stop ──> Machine ──effects──> Runner
//!        ^                                                                            │
//!        └──────────────────────────────── answers ───────────────────────────────────┘
//! ```
//!
//! With a link the controller says who holds the exporter. Without one the whole run is one lease:
//! the runner itself plays the controller's part, answers at once, and clients never end it.

use std::{collections::VecDeque, future::pending};

use rigd_driver::{KeyKind, KeyOwner};
use rigd_proto::v1::ExporterStatus;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};
use tracing::Instrument;

use super::{
    clients::{Clients, Served},
    hold::Hold,
    hooks::Hooks,
    journal::Journal,
    machine::{Event, Lease, Machine, Policy, State, Verdict},
    safe_state::SafeState,
};
use crate::{
    daemon::handle::Ask,
    link::{Dial, Link, Registration},
};

mod asks;
mod choose;
mod console;
mod disk;
mod effects;
mod flash;
mod rehearsal;

/// Events that wait for the machine. Each comes from something the machine asked for, one of a
/// kind, or from the controller, which then waits.
const EVENTS: usize = 32;
/// Clients that the controller has sent and that wait to be let in.
const DIALS: usize = 16;

/// What a runner works with.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) served: Served,
    pub(crate) clients: Clients,
    pub(crate) hooks: Hooks,
    pub(crate) safe_state: SafeState,
    /// None when nothing of a lease would have to be made good after a crash.
    pub(crate) journal: Option<Journal>,
    pub(crate) hold: Hold,
    pub(crate) policy: Policy,
    /// None without a controller.
    pub(crate) registration: Option<Registration>,
    /// What people want to know.
    pub(crate) asks: mpsc::Receiver<Ask>,
    /// Where clients reach the exporter directly.
    pub(crate) sockets: Vec<String>,
}

/// The leases of one exporter.
#[derive(Debug)]
pub(crate) struct Runner {
    machine: Machine,
    served: Served,
    clients: Clients,
    hooks: Hooks,
    safe_state: SafeState,
    journal: Option<disk::Writer>,
    hold: Hold,
    /// Why it is held, as people said; a rehearsal holds it as well.
    held: Option<String>,
    retiring: bool,
    sockets: Vec<String>,
    link: Option<Link>,
    events: mpsc::Sender<Event>,
    inbox: mpsc::Receiver<Event>,
    dials: mpsc::Receiver<Dial>,
    asks: mpsc::Receiver<Ask>,
    deadline: Option<(u64, Instant)>,
    tasks: TaskTracker,
    /// Told once a client may act.
    ready: Option<oneshot::Sender<()>>,
    /// What beforeLease has to say to the holder of this lease.
    greeting: Option<String>,
    /// The holder's wish to end the lease was passed on.
    heard: bool,
    /// What people do under no lease.
    people: KeyOwner,
    /// Who holds a lease of the controller, for those who type at a console.
    holder: watch::Sender<Option<Lease>>,
    rehearsal: Option<AbortOnDropHandle<()>>,
    /// Ends every wait.
    cut: CancellationToken,
}

/// What the loop waits for beside the machine's own events.
enum Next {
    Event(Event),
    Ask(Ask),
    Dial(Dial),
    Rehearsed,
}

impl Runner {
    /// A runner that goes on where the process before it stopped.
    pub(crate) async fn new(
        setup: Setup,
        ready: oneshot::Sender<()>,
        cut: CancellationToken,
    ) -> Self {
        let left = match &setup.journal {
            Some(journal) => disk::read(journal.clone()).await,
            None => None,
        };
        let held = match setup.registration {
            Some(_) => disk::read_hold(setup.hold.clone()).await,
            // Nobody assigns leases that could be held back.
            None => None,
        };
        let (events, inbox) = mpsc::channel(EVENTS);
        let (dials_tx, dials) = mpsc::channel(DIALS);
        let logs = setup.served.logs.clone();
        if setup.registration.is_some() {
            let text = "Not registered yet";
            setup.served.status.set(ExporterStatus::Offline, text);
        }
        let link = setup
            .registration
            .map(|registration| Link::start(registration, events.clone(), dials_tx, logs));
        Self {
            machine: Machine::new(setup.policy, left),
            served: setup.served,
            clients: setup.clients,
            hooks: setup.hooks,
            safe_state: setup.safe_state,
            journal: setup.journal.map(disk::Writer::new),
            hold: setup.hold,
            held,
            retiring: false,
            sockets: setup.sockets,
            link,
            events,
            inbox,
            dials,
            asks: setup.asks,
            deadline: None,
            tasks: TaskTracker::new(),
            ready: Some(ready),
            greeting: None,
            heard: false,
            people: KeyOwner::issue(KeyKind::Daemon),
            holder: watch::Sender::new(None),
            rehearsal: None,
            cut,
        }
    }

    /// Serves leases until `stop`, or until a policy ends it; gives the exit code. With `lease` the
    /// whole run is that one. A cancelled `cut` ends a hook of the stop at once.
    pub(crate) async fn run(mut self, lease: Option<Lease>, stop: CancellationToken) -> u8 {
        let direct = lease.is_some();
        let mut next = lease;
        let (mut stopping, mut cutting) = (false, false);
        if self.held.is_some() {
            self.tell(Event::Hold(self.held.clone())).await;
        }
        if direct {
            // What the process before left is made good first.
            self.tell(Event::Status(None)).await;
        }
        loop {
            match self.machine.state() {
                State::Stopped(code) => {
                    let code = *code;
                    self.people.revoke("the exporter has stopped");
                    self.tasks.close();
                    // A lease that lasts as long as the run and ended by itself was ended by a hook.
                    return if direct && !stopping && code == 0 {
                        3
                    } else {
                        code
                    };
                }
                State::Available => {
                    if let Some(lease) = next.take() {
                        self.tell(Event::Status(Some(lease))).await;
                        continue;
                    }
                }
                // Nobody waits for the good end of a lease that lasts as long as the run. A failure
                // stays for clients to see.
                State::Lingering(ending) if direct && ending.verdict == Verdict::Well => {
                    self.tell(Event::Status(None)).await;
                    self.tell(Event::FinalStatusRead).await;
                    continue;
                }
                _ => {}
            }
            let event = match self.next(&stop, &mut stopping, &mut cutting).await {
                Next::Event(event) => event,
                Next::Ask(ask) => {
                    self.answer(ask).await;
                    continue;
                }
                Next::Dial(dial) => {
                    self.clients.dial(dial);
                    continue;
                }
                Next::Rehearsed => {
                    self.rehearsal = None;
                    self.hooks.end();
                    Event::Hold(self.held.clone())
                }
            };
            self.tell(event).await;
        }
    }

    /// Waits for what comes next. Cancel-safe.
    async fn next(
        &mut self,
        stop: &CancellationToken,
        stopping: &mut bool,
        cutting: &mut bool,
    ) -> Next {
        let deadline = self.deadline;
        let due = async {
            match deadline {
                Some((_, at)) => tokio::time::sleep_until(at).await,
                None => pending().await,
            }
        };
        let holder = self.clients.holder();
        let heard = self.heard;
        let ended = async {
            match &holder {
                Some(holder) if !heard => holder.ended().await,
                _ => pending().await,
            }
        };
        let unread = match self.machine.state() {
            State::Lingering(ending) if !ending.read => {
                Some(self.served.status.response().status_version)
            }
            _ => None,
        };
        let read = async {
            match (&holder, unread) {
                (Some(holder), Some(version)) => holder.saw(version).await,
                _ => pending().await,
            }
        };
        let (clients, state) = (&self.clients, self.machine.state());
        let deserted = async {
            match state {
                // The controller lets nobody in any more.
                State::Lingering(ending) if ending.over && !ending.read => clients.deserted().await,
                _ => pending().await,
            }
        };
        let broken = async {
            match &mut self.link {
                Some(link) => link.broken().await,
                None => pending().await,
            }
        };
        let rehearsed = async {
            match &mut self.rehearsal {
                Some(task) => drop(task.await),
                None => pending().await,
            }
        };
        // cancel-safe: the arms only wait, or take what is there. In this order: what ends a lease
        // comes before what people ask, and the machine's own events before both.
        tokio::select! {
            biased;
            () = stop.cancelled(), if !*stopping => {
                *stopping = true;
                // What people have begun ends now, as what clients do: no instance waits for it.
                self.people.revoke("the exporter is stopping");
                self.people = KeyOwner::issue(KeyKind::Daemon);
                Next::Event(Event::Stop)
            }
            () = self.cut.cancelled(), if *stopping && !*cutting => {
                *cutting = true;
                Next::Event(Event::Stop)
            }
            Some(event) = self.inbox.recv() => Next::Event(event),
            () = due => {
                self.deadline = None;
                let number = deadline.map_or(0, |(number, _)| number);
                Next::Event(Event::Deadline(number))
            }
            () = ended => {
                self.heard = true;
                Next::Event(Event::EndSession)
            }
            () = read => Next::Event(Event::FinalStatusRead),
            // Nobody is there to read it.
            () = deserted => Next::Event(Event::FinalStatusRead),
            () = rehearsed => Next::Rehearsed,
            () = broken => pending().await,
            Some(ask) = self.asks.recv() => Next::Ask(ask),
            Some(dial) = self.dials.recv() => Next::Dial(dial),
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
