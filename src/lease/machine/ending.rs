//! The second half of a lease: from its end, whoever ended it, to the next one.

use super::{
    Effect, Entry, Event, FAREWELL, HOOK_GRACE, HOOK_MARGIN, Hook, INSTANCES, LINGER, Lease,
    Machine, OnFailure, Outcome, Phase, RELEASE_AGAIN, STOP_RELEASE, Start, State,
};
use rigd_proto::v1::ExporterStatus;
use std::time::Duration;

/// What safeState may take beyond its own budget until the machine goes on without it.
const SAFE_STATE_MARGIN: Duration = Duration::from_secs(5);

/// A lease that is over or ending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Which.
    pub lease: Lease,
    /// The controller has ended it, or given the exporter away: nothing to release.
    pub over: bool,
    /// How it ended.
    pub verdict: Verdict,
    /// It was not served by this process: a process before did, or nobody.
    pub inherited: bool,
    /// The client has read the final status.
    pub read: bool,
    /// What it is warned of with that status.
    pub warning: Option<String>,
}

impl Ending {
    /// A good end of a lease that this process was serving.
    pub(super) fn new(lease: Lease, over: bool) -> Self {
        Self {
            lease,
            over,
            verdict: Verdict::Well,
            inherited: false,
            read: false,
            warning: None,
        }
    }

    fn inherited(lease: Lease, over: bool) -> Self {
        Self {
            inherited: true,
            ..Self::new(lease, over)
        }
    }
}

/// How a lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As it should.
    Well,
    /// A hook failed, and with it the lease.
    Failed {
        /// The exporter stops afterwards.
        exit: bool,
    },
    /// A hook cannot be ended; the exporter stops afterwards.
    Stuck,
}

impl Machine {
    /// The lease ends: nothing of the client acts from here on.
    pub(super) fn end(&mut self, over: bool, out: &mut Vec<Effect>) {
        let (lease, hook_runs, begun) = match &self.state {
            State::BeforeHook { lease } => (lease.clone(), true, true),
            State::Preparing { lease, hook, .. } => (lease.clone(), false, *hook != Start::Fresh),
            State::Ready { lease } => (lease.clone(), false, true),
            _ => return,
        };
        let reason = match (over, self.stopping) {
            (true, _) => "the lease has ended",
            (false, true) => "the exporter is stopping",
            (false, false) => "the session has ended",
        };
        out.push(Effect::RevokeClient(reason));
        let ending = Ending::new(lease, over);
        if hook_runs {
            out.push(Effect::CutHook(HOOK_GRACE));
            self.arm(HOOK_GRACE + HOOK_MARGIN, out);
            self.state = State::Interrupting(ending);
        } else if begun {
            self.after_hook(ending, out);
        } else {
            // Neither the hook nor the client did anything that afterLease could undo.
            self.safe_state(ending, out);
        }
    }

    pub(super) fn after_hook(&mut self, ending: Ending, out: &mut Vec<Effect>) {
        let Some(after) = self.policy.after else {
            self.safe_state(ending, out);
            return;
        };
        let lease = ending.lease.clone();
        // On the disk before it begins: it must not run twice.
        out.push(Effect::Journal(Entry {
            lease: lease.clone(),
            phase: Phase::After,
        }));
        self.tell(
            ExporterStatus::AfterLeaseHook,
            "Running afterLease hooks",
            out,
        );
        out.push(Effect::RunHook(Hook::After, lease));
        if self.hurried {
            out.push(Effect::CutHook(Duration::ZERO));
        }
        self.arm(after.timeout + HOOK_MARGIN, out);
        self.state = State::AfterHook(ending);
    }

    pub(super) fn safe_state(&mut self, ending: Ending, out: &mut Vec<Effect>) {
        match self.policy.safe_state {
            Some(budget) => {
                let entry = Entry {
                    lease: ending.lease.clone(),
                    phase: Phase::After,
                };
                out.push(Effect::Journal(entry));
                out.push(Effect::RunSafeState);
                self.arm(budget + SAFE_STATE_MARGIN, out);
                self.state = State::SafeState(ending);
            }
            None => self.quiet(ending, out),
        }
    }

    fn quiet(&mut self, ending: Ending, out: &mut Vec<Effect>) {
        out.push(Effect::Forget(ending.lease.clone()));
        self.arm(INSTANCES, out);
        self.state = State::Quiet(ending);
    }

    fn linger(&mut self, ending: Ending, out: &mut Vec<Effect>) {
        if ending.verdict == Verdict::Well {
            // For the client alone: the controller hears of it when the lease is released.
            let text = ending.warning.clone();
            let text = text.unwrap_or_else(|| "Available for new lease".into());
            out.push(Effect::Show(ExporterStatus::Available, text));
        }
        self.arm(LINGER, out);
        self.state = State::Lingering(ending);
    }

    pub(super) fn release(&mut self, ending: Ending, out: &mut Vec<Effect>) {
        if !ending.inherited {
            out.push(Effect::CloseSession(ending.lease.clone()));
        }
        let over = ending.over;
        let lease = ending.lease.clone();
        self.state = State::Releasing(ending);
        if over {
            self.released(out);
        } else {
            out.push(Effect::Release(lease));
            self.arm(
                if self.stopping {
                    STOP_RELEASE
                } else {
                    RELEASE_AGAIN
                },
                out,
            );
        }
    }

    /// The controller has let the lease go.
    pub(super) fn released(&mut self, out: &mut Vec<Effect>) {
        let State::Releasing(ending) = &self.state else {
            return;
        };
        let Ending {
            lease,
            verdict,
            inherited,
            ..
        } = ending.clone();
        self.finished = Some(lease.name.clone());
        out.push(Effect::Journal(Entry {
            lease,
            phase: Phase::Done,
        }));
        self.disarm();
        match verdict {
            Verdict::Stuck => self.leave(1, out),
            Verdict::Failed { exit: true } => self.leave(3, out),
            _ if self.stopping || (self.policy.exit_on_lease_end && !inherited) => {
                self.leave(0, out)
            }
            _ => {
                self.free("Exporter available after lease release", out);
                self.next(out);
            }
        }
    }

    /// Events of the second half; what does not belong to the state is late and means nothing.
    pub(super) fn wind_up(&mut self, event: Event, out: &mut Vec<Effect>) {
        match (&self.state, event) {
            (State::Interrupting(ending), Event::HookEnded(Hook::Before, _)) => {
                let ending = ending.clone();
                self.after_hook(ending, out);
            }
            (State::Interrupting(ending), Event::Deadline(_)) => {
                let ending = ending.clone();
                self.stuck(Hook::Before, ending, out);
            }
            (State::AfterHook(_), Event::HookEnded(Hook::After, outcome)) => {
                self.after_ended(outcome, out);
            }
            (State::AfterHook(ending), Event::Deadline(_)) => {
                let ending = ending.clone();
                self.stuck(Hook::After, ending, out);
            }
            (State::SafeState(ending), Event::SafeStateDone | Event::Deadline(_)) => {
                let ending = ending.clone();
                self.quiet(ending, out);
            }
            (State::Quiet(ending), event @ (Event::Quiet(_) | Event::Deadline(_))) => {
                if matches!(&event, Event::Quiet(name) if *name != ending.lease.name) {
                    return;
                }
                let ending = ending.clone();
                if ending.inherited {
                    // No client of this process is there to read anything.
                    self.release(ending, out);
                } else {
                    self.linger(ending, out);
                }
            }
            (State::Lingering(ending), Event::FinalStatusRead) if !ending.read => {
                let ending = Ending {
                    read: true,
                    ..ending.clone()
                };
                if ending.over {
                    self.release(ending, out);
                } else {
                    self.arm(FAREWELL, out);
                    self.state = State::Lingering(ending);
                }
            }
            (State::Lingering(ending), Event::Deadline(_)) => {
                let ending = ending.clone();
                self.release(ending, out);
            }
            (State::Releasing(ending), Event::ReleaseAnswered(name))
                if name == ending.lease.name =>
            {
                self.released(out);
            }
            (State::Releasing(ending), Event::Deadline(_)) => {
                if self.stopping {
                    self.released(out);
                } else {
                    out.push(Effect::Release(ending.lease.clone()));
                    self.arm(RELEASE_AGAIN, out);
                }
            }
            _ => {}
        }
    }

    /// A hook did not end although it was killed.
    pub(super) fn stuck(&mut self, hook: Hook, mut ending: Ending, out: &mut Vec<Effect>) {
        out.push(Effect::CutHook(Duration::ZERO));
        let (status, name) = match hook {
            Hook::Before => (ExporterStatus::BeforeLeaseHookFailed, "beforeLease"),
            Hook::After => (ExporterStatus::AfterLeaseHookFailed, "afterLease"),
        };
        let text = format!("{name} hook cannot be ended: the exporter stops");
        self.tell(status, &text, out);
        ending.verdict = Verdict::Stuck;
        self.safe_state(ending, out);
    }

    fn after_ended(&mut self, outcome: Outcome, out: &mut Vec<Effect>) {
        let State::AfterHook(ending) = &self.state else {
            return;
        };
        let mut ending = ending.clone();
        let on_failure = self
            .policy
            .after
            .map_or(OnFailure::Warn, |hook| hook.on_failure);
        match (outcome, on_failure) {
            (Outcome::Done, _) => {}
            (Outcome::Failed(text), OnFailure::Warn) => {
                let text = format!("[HOOK_WARNING] afterLease hook warning: {text}");
                self.tell(ExporterStatus::AfterLeaseHook, &text, out);
                // Clients look for it beside the final status.
                ending.warning = Some(text);
            }
            (Outcome::Failed(text), failure) => {
                let exit = failure == OnFailure::Exit;
                let policy = if exit {
                    "exit, shutting down"
                } else {
                    "endLease"
                };
                let text = format!("afterLease hook failed (on_failure={policy}): {text}");
                self.tell(ExporterStatus::AfterLeaseHookFailed, &text, out);
                ending.verdict = Verdict::Failed { exit };
            }
        }
        self.safe_state(ending, out);
    }

    /// What a process before left behind, now that the controller has spoken.
    pub(super) fn recover(&mut self, left: Option<Entry>, out: &mut Vec<Effect>) {
        let Some(Entry { lease, phase }) = left else {
            self.free("Exporter registered and available", out);
            self.next(out);
            return;
        };
        let same = self
            .wanted
            .clone()
            .filter(|wanted| wanted.name == lease.name);
        match (same, phase) {
            (Some(wanted), Phase::Before) => self.begin(wanted, Start::Cut, out),
            (Some(wanted), Phase::Ready) => self.begin(wanted, Start::TakenUp, out),
            (same, phase) => {
                let over = same.is_none();
                self.clean_up(Ending::inherited(lease, over), phase, out);
            }
        }
    }

    /// A stop before the controller has spoken: what was left is cleaned up without it.
    pub(super) fn stop_unknown(&mut self, left: Option<Entry>, out: &mut Vec<Effect>) {
        match left {
            None => self.leave(0, out),
            Some(Entry { lease, phase }) => {
                self.clean_up(Ending::inherited(lease, false), phase, out);
            }
        }
    }

    fn clean_up(&mut self, ending: Ending, phase: Phase, out: &mut Vec<Effect>) {
        if phase < Phase::After {
            self.after_hook(ending, out);
        } else {
            self.safe_state(ending, out);
        }
    }
}
