//! Waits for a thread that may hang with its hardware.

use std::time::Duration;

use rigd_driver::DriverError;
use tokio::time::Instant;

/// How often a wait looks whether it is still wanted, and the progress is told.
pub(crate) const POLL: Duration = Duration::from_millis(100);
/// How long a thread that was told to stop is waited for before it is left behind: it finishes its
/// buffer and a sync, which cards that tidy up take seconds for.
pub(crate) const STOP: Duration = Duration::from_secs(30);

/// For how long nothing has changed. One for each wait.
#[derive(Debug)]
pub(crate) struct Watchdog {
    seen: (u64, bool),
    since: Instant,
}

impl Watchdog {
    pub(crate) fn new() -> Self {
        Self {
            seen: (0, false),
            since: Instant::now(),
        }
    }

    /// How far the medium of this `name` is `now`.
    ///
    /// # Errors
    /// [`DriverError::Timeout`] when it was there for longer than `limit`.
    pub(crate) fn check(
        &mut self,
        name: &str,
        now: (u64, bool),
        limit: Duration,
    ) -> Result<(), DriverError> {
        if now != self.seen {
            (self.seen, self.since) = (now, Instant::now());
        }
        if self.since.elapsed() <= limit {
            return Ok(());
        }
        Err(DriverError::Timeout(format!(
            "{name} hangs: it got no further for {} s",
            limit.as_secs()
        )))
    }
}
