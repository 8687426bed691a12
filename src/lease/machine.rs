//! The lease machine: State × Event → State + Effects.
//!
//! ```text
//!             ┌──────────────── Unknown (journal of the process before) ───────────────┐
//!             │ nothing left                                 same lease, not ending yet │
//!             v                                                                         v
//!   ┌──> Available ──Status(lease)──────────────────────────────────────────────> Preparing
//!   │         ^                                                                     │   │
//!   │         │                        ┌──────── no hook, or taken up ──────────────┘   │
//!   │         │                        v                                                v
//!   │         │                      Ready <──────── ok, or failed with `warn` ──── BeforeHook
//!   │         │                        │                                            │       │
//!   │         │                        │ EndSession, lease over, stop               │       │ failed with
//!   │         │                        v                                  lease over│       │ endLease, exit
//!   │         │                    AfterHook <───────────────── Interrupting <──────┘       │
//!   │         │                        │                                                    │
//!   │         │                        v                                                    v
//!   │         │                    SafeState <──────────────────────────────────────────────┘
//!   │         │                        v
//!   │         │                     Quiet      instances forget the lease
//!   │         │                        v
//!   │         │                     Lingering  the client reads the final status
//!   │         │                        v
//!   └─────────┴── answered, over ── Releasing ── stop, exit ──> Stopped
//! ```
//!
//! Every state but `Available`, `Ready`, `Unknown` and `Stopped` has a deadline; one that passes moves
//! on as if what it waited for had failed. A hook that not even KILL ends (it hangs in the kernel, on
//! hardware that the next lease would find the same way) takes the exporter offline. What the controller said last is kept apart from the state
//! (`wanted`), so a lease that comes early, or changes its name without a word in between, is found
//! when its turn comes. An exporter that is held, for maintenance, gives a lease back untouched
//! (`Available` to `Releasing`); one that retires stops when it is free.
//!
//! The machine does no I/O and reads no clock. It must never run two hooks at once, never run
//! afterLease twice for a lease, and never let a client act without a live key.

use std::time::Duration;

use rigd_proto::v1::ExporterStatus;

mod alphabet;
mod ending;
mod free;

pub use alphabet::{
    Effect, Entry, Event, Hook, HookPolicy, Lease, OnFailure, Outcome, Phase, Policy, Start, State,
};
pub use ending::{Ending, Verdict};

/// How long the instances have to get ready for a lease, and to forget one.
const INSTANCES: Duration = Duration::from_secs(15);
/// How long a hook that is cut short may take to end by itself.
pub const HOOK_GRACE: Duration = Duration::from_secs(5);
/// What a hook may take beyond its own time until the machine goes on without it.
const HOOK_MARGIN: Duration = Duration::from_secs(15);
/// How long the client has to read the final status.
const LINGER: Duration = Duration::from_secs(2);
/// How long a client that has read it has to end the lease itself: released before, its own request
/// would fail. Upstream leaves it as long.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long a stopping daemon waits for the controller to answer a release.
const STOP_RELEASE: Duration = Duration::from_secs(5);
/// How often a release that was not answered is asked for again.
const RELEASE_AGAIN: Duration = Duration::from_secs(60);

/// The machine of one exporter.
#[derive(Debug, Clone)]
pub struct Machine {
    policy: Policy,
    state: State,
    /// What the controller said last.
    wanted: Option<Lease>,
    /// The lease that ended last: the controller may go on naming it for a while.
    finished: Option<String>,
    stopping: bool,
    /// Asked to stop more than once: hooks are cut, also those to come.
    hurried: bool,
    /// Stop when there is no lease.
    retiring: bool,
    /// No lease begins, for this reason.
    held: Option<String>,
    deadline: u64,
}

impl Machine {
    /// A machine for a new process; `left` is what its journal holds.
    pub fn new(policy: Policy, left: Option<Entry>) -> Self {
        let done = left.as_ref().filter(|entry| entry.phase == Phase::Done);
        let finished = done.map(|entry| entry.lease.name.clone());
        let left = left.filter(|entry| entry.phase != Phase::Done);
        Self {
            policy,
            state: State::Unknown { left },
            wanted: None,
            finished,
            stopping: false,
            hurried: false,
            retiring: false,
            held: None,
            deadline: 0,
        }
    }

    /// Where it is.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// One step.
    pub fn step(&mut self, event: Event) -> Vec<Effect> {
        let mut out = Vec::new();
        match event {
            Event::Status(wanted) => self.status(wanted, &mut out),
            Event::Stop => self.stop(&mut out),
            Event::Hold(reason) => self.hold(reason, &mut out),
            Event::Retire { succeeded } => self.retire(succeeded, &mut out),
            Event::Deadline(number) if number != self.deadline => {}
            event => self.work(event, &mut out),
        }
        out
    }

    fn arm(&mut self, after: Duration, out: &mut Vec<Effect>) {
        self.deadline += 1;
        out.push(Effect::Arm(self.deadline, after));
    }

    fn status(&mut self, wanted: Option<Lease>, out: &mut Vec<Effect>) {
        self.wanted = wanted;
        let wanted = self.wanted.clone();
        let named = |lease: &Lease| wanted.as_ref().is_some_and(|w| w.name == lease.name);
        let phase = self.begun();
        match &mut self.state {
            State::Unknown { left } => {
                let left = left.take();
                self.recover(left, out);
            }
            State::Available => self.next(out),
            State::Preparing { lease, .. }
            | State::BeforeHook { lease }
            | State::Ready { lease } => match wanted {
                Some(wanted) if wanted.name == lease.name => {
                    let transferred = !lease.client.is_empty();
                    if wanted.client != lease.client {
                        lease.client.clone_from(&wanted.client);
                        out.push(Effect::Journal(Entry {
                            lease: wanted.clone(),
                            phase,
                        }));
                        // A name that comes late is no change of hands.
                        if transferred {
                            out.push(Effect::Transfer(wanted));
                        }
                    }
                }
                _ => self.end(true, out),
            },
            State::Interrupting(ending)
            | State::AfterHook(ending)
            | State::SafeState(ending)
            | State::Quiet(ending) => ending.over |= !named(&ending.lease),
            State::Lingering(ending) => {
                ending.over |= !named(&ending.lease);
                if ending.over && ending.read {
                    let ending = ending.clone();
                    self.release(ending, out);
                }
            }
            State::Releasing(ending) => {
                if !named(&ending.lease) {
                    self.released(out);
                }
            }
            State::Stopped(_) => {}
        }
    }

    fn begin(&mut self, lease: Lease, hook: Start, out: &mut Vec<Effect>) {
        // After a crash in beforeLease it must be known that it may have begun.
        let phase = if hook == Start::TakenUp {
            Phase::Ready
        } else {
            Phase::Before
        };
        out.push(Effect::Journal(Entry {
            lease: lease.clone(),
            phase,
        }));
        out.push(Effect::Prepare(lease.clone()));
        out.push(Effect::Listen(lease.clone()));
        self.arm(INSTANCES, out);
        self.state = State::Preparing {
            lease,
            hook,
            listening: false,
            prepared: false,
        };
    }

    fn work(&mut self, event: Event, out: &mut Vec<Effect>) {
        match (&mut self.state, event) {
            (
                State::Preparing {
                    lease, listening, ..
                },
                Event::Listening(name),
            ) => {
                *listening |= name == lease.name;
                self.prepared(out);
            }
            (
                State::Preparing {
                    lease, prepared, ..
                },
                Event::Prepared(name),
            ) => {
                *prepared |= name == lease.name;
                self.prepared(out);
            }
            (State::Preparing { prepared, .. }, Event::Deadline(_)) => {
                // An instance that hangs is not a reason to refuse the others.
                *prepared = true;
                self.prepared(out);
                if matches!(self.state, State::Preparing { .. }) {
                    // No tunnels yet: only the link can change that, or the end of the lease.
                    self.arm(INSTANCES, out);
                }
            }
            (State::BeforeHook { .. }, Event::HookEnded(Hook::Before, outcome)) => {
                self.before_ended(outcome, out);
            }
            (State::BeforeHook { lease }, Event::Deadline(_)) => {
                let lease = lease.clone();
                out.push(Effect::RevokeClient("the beforeLease hook cannot be ended"));
                self.stuck(Hook::Before, Ending::new(lease, false), out);
            }
            (
                State::Preparing { .. } | State::BeforeHook { .. } | State::Ready { .. },
                Event::EndSession,
            ) => self.end(false, out),
            (_, event) => self.wind_up(event, out),
        }
    }

    /// How far the lease has come, before its end.
    fn begun(&self) -> Phase {
        match self.state {
            State::Ready { .. }
            | State::Preparing {
                hook: Start::TakenUp,
                ..
            } => Phase::Ready,
            _ => Phase::Before,
        }
    }

    /// Goes on when both the tunnels and the instances are there.
    fn prepared(&mut self, out: &mut Vec<Effect>) {
        let State::Preparing {
            lease,
            hook,
            listening: true,
            prepared: true,
        } = &self.state
        else {
            return;
        };
        let (lease, hook) = (lease.clone(), *hook);
        match (hook, self.policy.before) {
            (Start::Fresh, Some(before)) => {
                let text = "Running beforeLease hook";
                self.tell(ExporterStatus::BeforeLeaseHook, text, out);
                out.push(Effect::RunHook(Hook::Before, lease.clone()));
                self.arm(before.timeout + HOOK_MARGIN, out);
                self.state = State::BeforeHook { lease };
            }
            (Start::Cut, Some(_)) => {
                self.state = State::BeforeHook { lease };
                let text = "Hook was cut short by a restart of the daemon";
                self.before_ended(Outcome::Failed(text.into()), out);
            }
            _ => self.ready(lease, "Ready for commands", out),
        }
    }

    fn ready(&mut self, lease: Lease, text: &str, out: &mut Vec<Effect>) {
        out.push(Effect::Journal(Entry {
            lease: lease.clone(),
            phase: Phase::Ready,
        }));
        self.tell(ExporterStatus::LeaseReady, text, out);
        self.disarm();
        self.state = State::Ready { lease };
    }

    /// A deadline that is under way means nothing any more.
    fn disarm(&mut self) {
        self.deadline += 1;
    }

    fn before_ended(&mut self, outcome: Outcome, out: &mut Vec<Effect>) {
        let State::BeforeHook { lease } = &self.state else {
            return;
        };
        let lease = lease.clone();
        let on_failure = self
            .policy
            .before
            .map_or(OnFailure::Warn, |hook| hook.on_failure);
        match (outcome, on_failure) {
            (Outcome::Done, _) => self.ready(lease, "Ready for commands", out),
            (Outcome::Failed(text), OnFailure::Warn) => {
                let text = format!("[HOOK_WARNING] beforeLease hook warning: {text}");
                self.ready(lease, &text, out);
            }
            (Outcome::Failed(text), failure) => {
                let exit = failure == OnFailure::Exit;
                let policy = if exit {
                    "exit, shutting down"
                } else {
                    "endLease"
                };
                let text = format!("beforeLease hook failed (on_failure={policy}): {text}");
                let failed = ExporterStatus::BeforeLeaseHookFailed;
                self.tell(failed, &text, out);
                out.push(Effect::RevokeClient("the beforeLease hook failed"));
                let ending = Ending {
                    verdict: Verdict::Failed { exit },
                    ..Ending::new(lease, false)
                };
                self.safe_state(ending, out);
            }
        }
    }

    /// The same to clients and to the controller.
    fn tell(&self, status: ExporterStatus, text: &str, out: &mut Vec<Effect>) {
        out.push(Effect::Show(status, text.into()));
        out.push(Effect::Report(status, text.into()));
    }
}

#[cfg(test)]
mod tests;
