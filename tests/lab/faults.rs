//! Faults that a test puts on calls: refuse them, or let them wait.

use std::time::Duration;

use tonic::{Code, Status};

use super::heard::Rpc;

/// What happens to a call, how often, and whose.
///
/// ```ignore
/// lab.inject(Fault::refuse(Rpc::Register, Code::Unauthenticated, "token is revoked").times(2));
/// lab.inject(Fault::delay(Rpc::ReportStatus, Duration::from_secs(3)).only("rig-a"));
/// ```
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    rpc: Rpc,
    effect: Effect,
    left: Option<usize>,
    only: Option<String>,
}

#[derive(Debug, Clone)]
enum Effect {
    Refuse(Code, String),
    Delay(Duration),
}

impl Fault {
    /// The call has no effect and ends with that status; without headers, as grpc-go does it.
    pub(crate) fn refuse(rpc: Rpc, code: Code, text: &str) -> Self {
        Self::new(rpc, Effect::Refuse(code, text.to_owned()))
    }

    /// The call is heard at once and goes on after that time.
    pub(crate) fn delay(rpc: Rpc, time: Duration) -> Self {
        Self::new(rpc, Effect::Delay(time))
    }

    /// Only the next `count` calls; without this, all until `Lab::heal`.
    pub(crate) fn times(mut self, count: usize) -> Self {
        self.left = Some(count);
        self
    }

    /// Only calls of the exporter or client of that name.
    pub(crate) fn only(mut self, name: &str) -> Self {
        self.only = Some(name.to_owned());
        self
    }

    fn new(rpc: Rpc, effect: Effect) -> Self {
        Self {
            rpc,
            effect,
            left: None,
            only: None,
        }
    }
}

/// What the faults of the moment make of one call.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) wait: Duration,
    pub(super) refusal: Option<Status>,
}

/// The faults in force, in the order in which they were injected.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Delays add up; the first refusal counts.
    pub(super) fn judge(&mut self, rpc: Rpc, from: &str) -> Verdict {
        let mut verdict = Verdict::default();
        for fault in &mut self.0 {
            let meant = fault.rpc == rpc && fault.only.as_deref().is_none_or(|only| only == from);
            if !meant || fault.left == Some(0) {
                continue;
            }
            match &fault.effect {
                Effect::Delay(time) => verdict.wait += *time,
                Effect::Refuse(..) if verdict.refusal.is_some() => continue,
                Effect::Refuse(code, text) => verdict.refusal = Some(Status::new(*code, text)),
            }
            if let Some(left) = &mut fault.left {
                *left -= 1;
            }
        }
        verdict
    }
}
