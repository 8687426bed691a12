//! Owns how many connections of one listener are open at once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections of one listener. A lab host has a handful of clients, each with a few connections;
/// half of the 1024 files that a process may usually open stay for devices and for what a session
/// opens. More peers wait in the backlog of the system, which has a bound of its own.
pub(super) const MAX_CONNECTIONS: usize = 512;

/// The places of a listener.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    /// That they are all taken is in the log.
    told: AtomicBool,
}

/// One of them; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    // Never `None` in fact: nobody closes the semaphore.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Places {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(limit)),
            told: AtomicBool::new(false),
        }
    }

    /// Waits until there is one; before the connection is accepted. Ends with the listener.
    ///
    /// Cancel-safe: a place that nobody got is free.
    pub(super) async fn take(&self) -> Place {
        if let Ok(permit) = self.free.clone().try_acquire_owned() {
            self.told.store(false, Ordering::Relaxed);
            return Place {
                _permit: Some(permit),
            };
        }
        // Once per jam, not once per peer.
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                limit = MAX_CONNECTIONS,
                "A listener has as many connections as it may; new ones wait."
            );
        }
        Place {
            _permit: self.free.clone().acquire_owned().await.ok(),
        }
    }
}
