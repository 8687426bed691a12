//! Between two leases: the next one, a hold, the end of the exporter.

use std::time::Duration;

use rigd_proto::v1::ExporterStatus;

use super::{Effect, Ending, Lease, Machine, RELEASE_AGAIN, STOP_RELEASE, Start, State};

impl Machine {
    /// Free, or the next lease.
    pub(super) fn next(&mut self, out: &mut Vec<Effect>) {
        self.state = State::Available;
        if self.stopping || self.retiring {
            self.leave(0, out);
            return;
        }
        let wanted = self.wanted.clone();
        let Some(lease) = wanted.filter(|l| self.finished.as_ref() != Some(&l.name)) else {
            return;
        };
        match self.held {
            Some(_) => self.refuse(lease, out),
            None => self.begin(lease, Start::Fresh, out),
        }
    }

    /// Gives a lease back that nothing was done for.
    pub(super) fn refuse(&mut self, lease: Lease, out: &mut Vec<Effect>) {
        out.push(Effect::Release(lease.clone()));
        self.arm(RELEASE_AGAIN, out);
        let ending = Ending::new(lease, false);
        self.state = State::Releasing(Ending {
            inherited: true,
            ..ending
        });
    }

    /// Tells that leases may come, or why none may.
    pub(super) fn free(&self, text: &str, out: &mut Vec<Effect>) {
        match &self.held {
            Some(reason) => {
                let text = format!("Held for maintenance: {reason}");
                self.tell(ExporterStatus::Offline, &text, out);
            }
            None => self.tell(ExporterStatus::Available, text, out),
        }
    }

    pub(super) fn hold(&mut self, reason: Option<String>, out: &mut Vec<Effect>) {
        self.held = reason;
        if self.state == State::Available {
            self.free("Exporter available", out);
            self.next(out);
        }
    }

    pub(super) fn retire(&mut self, succeeded: bool, out: &mut Vec<Effect>) {
        self.retiring = true;
        if let State::Unknown {
            left: left @ Some(_),
        } = &mut self.state
        {
            if succeeded {
                // The journal stands: the successor takes the lease up, or makes good what it left.
                self.leave(0, out);
            } else {
                let left = left.take();
                self.stop_unknown(left, out);
            }
            return;
        }
        if matches!(self.state, State::Available | State::Unknown { left: None }) {
            self.leave(0, out);
        }
    }

    pub(super) fn stop(&mut self, out: &mut Vec<Effect>) {
        let again = std::mem::replace(&mut self.stopping, true);
        self.hurried |= again;
        match &mut self.state {
            State::Available => self.leave(0, out),
            State::Unknown { left } => {
                let left = left.take();
                self.stop_unknown(left, out);
            }
            State::Preparing { .. } | State::BeforeHook { .. } | State::Ready { .. } => {
                self.end(false, out);
            }
            State::Interrupting(_) | State::AfterHook(_) => {
                if again {
                    out.push(Effect::CutHook(Duration::ZERO));
                }
            }
            State::Releasing(_) => self.arm(STOP_RELEASE, out),
            State::SafeState(_) | State::Quiet(_) | State::Lingering(_) | State::Stopped(_) => {}
        }
    }

    pub(super) fn leave(&mut self, code: u8, out: &mut Vec<Effect>) {
        self.disarm();
        self.tell(ExporterStatus::Offline, "Exporter shutting down", out);
        out.push(Effect::Leave(code));
        self.state = State::Stopped(code);
    }
}
