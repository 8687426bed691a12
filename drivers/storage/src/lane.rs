//! The way of blocking work off the runtime's workers.
//!
//! ```text
//!   call ──permit──> Lane ──at most STEPS──> device thread of the instance
//!   sync, clean-up ─────────────────────────> a thread of its own, for one job
//! ```
//!
//! Steps are short (a MiB, a directory). What may take minutes in the kernel, a sync, gets a
//! thread of its own, so that it holds up no other call of the instance.

use std::{sync::Arc, time::Duration};

use rigd_driver::{Call, DriverError};
use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};

/// Steps handed to the device thread at a time: half of what its queue takes, so that shared calls
/// wait here instead of being refused there.
const STEPS: usize = 8;
/// How long a step waits for the ones before it: as long as an exclusive call does.
const STEP_LIMIT: Duration = Duration::from_secs(30);

/// Hands steps to the device thread, a bounded number at a time and in order.
#[derive(Debug, Clone)]
pub(crate) struct Lane(Arc<Semaphore>);

impl Lane {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(STEPS)))
    }

    /// Waits until no step runs. At the end of a lease its keys are revoked, so none follows.
    /// Bounded by the limit of the lease step that calls it. Cancel-safe.
    pub(crate) async fn idle(&self) -> Result<(), DriverError> {
        let all = self.0.acquire_many(STEPS as u32).await;
        all.map(|_| ()).map_err(|_| closing())
    }

    /// Runs `step` on the instance's thread. When the future is dropped, a step that has not
    /// started never starts; one that runs goes on to its end.
    pub(crate) async fn run<T, F>(&self, call: &Call, step: F) -> Result<T, DriverError>
    where
        T: Send + 'static,
        F: FnOnce(&Call) -> Result<T, DriverError> + Send + 'static,
    {
        let permit = match timeout(STEP_LIMIT, self.0.clone().acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(closing()),
            Err(_) => {
                let limit = STEP_LIMIT.as_secs();
                return Err(DriverError::Exhausted(format!(
                    "the storage does not answer: {STEPS} steps wait for more than {limit} s"
                )));
            }
        };
        call.blocking(move |call| {
            let _permit = permit;
            step(call)
        })
        .await
    }
}

fn closing() -> DriverError {
    DriverError::Unavailable("the instance is closing".into())
}

/// Runs `job` on a thread that ends with it, for at most `limit`. A job that takes longer is left
/// behind, since the kernel gives no way to end it. `what` names the job in errors.
pub(crate) async fn on_own_thread<T, F>(
    what: &'static str,
    limit: Duration,
    job: F,
) -> Result<T, DriverError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, DriverError> + Send + 'static,
{
    let (tx, rx) = oneshot::channel();
    let span = tracing::Span::current();
    std::thread::Builder::new()
        .name("rigd:storage".into())
        // A caller that went away has nobody to tell.
        .spawn(move || tx.send(span.in_scope(job)).ok())
        .map_err(|e| DriverError::Exhausted(format!("cannot start a thread to {what}: {e}")))?;
    match timeout(limit, rx).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(DriverError::Unknown(format!(
            "cannot {what}: the driver failed unexpectedly; the daemon's log has the place"
        ))),
        Err(_) => Err(DriverError::Timeout(format!(
            "cannot {what}: not done within {} s",
            limit.as_secs()
        ))),
    }
}
