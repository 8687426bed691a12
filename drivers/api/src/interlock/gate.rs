//! Where the rules stand in the way: an instance's own place in them, and the gate that a driver goes
//! through when it switches by itself.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{Interlocks, Permit, Work, table::Slot};
use crate::{Blueprint, DriverError, Key};

/// The rules that an instance is under.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    interlocks: Arc<Interlocks>,
    slot: Slot,
}

impl Guard {
    pub(super) fn new(interlocks: Arc<Interlocks>, slot: Slot) -> Self {
        Self { interlocks, slot }
    }
}

/// What a driver goes through before it switches by itself, outside of a call: when it opens its
/// device in a known state, at the ends of a lease, by a timer.
///
/// What a call does needs no gate: its method is let through as a whole.
#[derive(Debug, Clone)]
pub struct Gate {
    guard: Option<Guard>,
    blueprint: Blueprint,
    path: String,
}

/// The right to be on the way to a state. Keep it until the device is there.
#[derive(Debug)]
#[must_use = "the right ends when it is dropped"]
pub struct Passage {
    _permit: Option<Permit>,
}

impl Gate {
    pub(crate) fn new(guard: Option<Guard>, blueprint: Blueprint, path: &str) -> Self {
        Self {
            guard,
            blueprint,
            path: path.into(),
        }
    }

    /// Whether there are rules to ask.
    pub(crate) fn is_guarded(&self) -> bool {
        self.guard.is_some()
    }

    /// Lets a method start under the rules: gives the key that its work is done under, and the permit
    /// to keep until it is over. Cancel-safe.
    pub(crate) async fn call(
        &self,
        key: &Key,
        method: &str,
        caller: &CancellationToken,
    ) -> Result<(Key, Option<Arc<Permit>>), DriverError> {
        let Some(guard) = &self.guard else {
            return Ok((key.clone(), None));
        };
        let work = Work {
            slot: guard.slot,
            method: Some(method.into()),
            enters: self.blueprint.enters(method),
            preempting: self.blueprint.preempts(method),
            who: format!("{}.{method}", self.path),
        };
        // cancel-safe: both arms only wait.
        let entered = tokio::select! {
            biased;
            fenced = key.revoked() => Err(fenced.into()),
            entered = guard.interlocks.enter(&work, caller, Some(key)) => entered,
        };
        let told =
            |error: &DriverError| tracing::debug!(%error, operation = method, "Call refused.");
        let permit = entered.inspect_err(told)?;
        let key = permit.key().unwrap_or(key).clone();
        Ok((key, Some(Arc::new(permit))))
    }

    /// Asks for the way to `state`, one of those in the driver's [`Interface`](crate::Interface).
    /// Where the method that leads there never queues, the driver does not either. Cancel-safe.
    ///
    /// # Errors
    /// A rule forbids it now; its name comes first.
    pub async fn enter(&self, state: &'static str) -> Result<Passage, DriverError> {
        let Some(guard) = &self.guard else {
            return Ok(Passage { _permit: None });
        };
        let work = Work {
            slot: guard.slot,
            method: None,
            enters: vec![state],
            preempting: self.blueprint.reached_at_once(state),
            who: format!("switching {} to {state}", self.path),
        };
        let nobody = CancellationToken::new();
        let permit = guard.interlocks.enter(&work, &nobody, None).await?;
        Ok(Passage {
            _permit: Some(permit),
        })
    }
}
