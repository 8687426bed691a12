//! An instance under interlocks: what it tells of its state, and how its work gets its permit. One that
//! its parent alone may switch.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::Instance;
use crate::{
    DriverError, Key,
    device_thread::panicked,
    interlock::{Gate, Guard, Permit},
};

impl Instance {
    /// Puts it under rules, before it is started.
    pub(crate) fn put_under(&self, guard: Guard) {
        // The rules that were there first stay.
        self.guard.set(guard).ok();
    }

    /// From now on only its parent switches it, with keys [for a child](Key::for_child); whoever else
    /// calls a method that leads to a state is refused. `instead` says what to call in its place. For
    /// [`Driver::open`](crate::Driver::open) of the parent; the first text stays.
    pub fn reserve(&self, instead: String) {
        self.reserved.set(instead).ok();
    }

    pub(super) fn check_reserved(&self, key: &Key, method: &str) -> Result<(), DriverError> {
        let Some(instead) = self.reserved.get().filter(|_| !key.is_for_child()) else {
            return Ok(());
        };
        if self.blueprint.enters(method).is_empty() {
            return Ok(());
        }
        let path = &self.shared.path;
        Err(DriverError::FailedPrecondition(format!(
            "{path}.{method} is not for callers: {instead}"
        )))
    }

    /// What its driver goes through to switch by itself.
    pub(super) fn gate(&self) -> Gate {
        let guard = self.guard.get().cloned();
        Gate::new(guard, self.blueprint.clone(), &self.shared.path)
    }

    /// The state it is in; `None` when its driver does not know.
    ///
    /// # Errors
    /// It is not ready, so nobody knows.
    pub fn state(&self) -> Result<Option<&'static str>, DriverError> {
        Ok(self.driver()?.state())
    }

    /// Asks the device for its state.
    pub(crate) async fn ask_state(&self) -> Result<(), DriverError> {
        let driver = self.driver()?;
        let asking = AssertUnwindSafe(async { driver.ask_state().await }).catch_unwind();
        let told = asking.instrument(self.span.clone()).await;
        told.unwrap_or_else(|_| Err(panicked()))
    }

    /// Lets a method start under the rules, when there are any: gives the key that its work is done
    /// under, and the permit to keep until it is over. Cancel-safe.
    pub(super) async fn permit(
        &self,
        key: &Key,
        method: &str,
        caller: &CancellationToken,
    ) -> Result<(Key, Option<Arc<Permit>>), DriverError> {
        if self.guard.get().is_none() {
            return Ok((key.clone(), None));
        }
        let gate = self.gate();
        let entering = gate.call(key, method, caller);
        entering.instrument(self.span.clone()).await
    }
}
