//! What makes another attempt to open an instance worthwhile before its back-off is over, and how
//! far apart such attempts are.
//!
//! ```text
//!   not ready ──event──> settle ──> gap since the last attempt ──> attempt
//!       └─────────────── back-off, whatever comes ────────────────────^
//! ```

use std::{
    future::{Future, pending},
    panic::AssertUnwindSafe,
    sync::Mutex,
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, select_all},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use crate::{Health, open_cx::Condition};

/// A plug is a burst of events over some ten milliseconds; the attempt comes after it.
const SETTLE: Duration = Duration::from_millis(100);
/// Shortest and longest time between an attempt and the next one that an event wakes. It doubles
/// with each of them, so that a cable with a loose contact does not keep the host busy.
const GAP: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// After so long without an attempt that an event woke the gap is short again.
const CALM: Duration = Duration::from_secs(30);

/// The events of one attempt to open.
#[derive(Default)]
pub(crate) struct Wakes(Mutex<Vec<BoxFuture<'static, ()>>>);

impl std::fmt::Debug for Wakes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.0.lock().map(|events| events.len());
        f.debug_tuple("Wakes").field(&count.ok()).finish()
    }
}

impl Wakes {
    pub(crate) fn add(&self, event: impl Future<Output = ()> + Send + 'static) {
        // One that panics never comes; the back-off is left.
        let event = async {
            if AssertUnwindSafe(event).catch_unwind().await.is_err() {
                pending::<()>().await;
            }
        };
        if let Ok(mut events) = self.0.lock() {
            events.push(event.boxed());
        }
    }

    /// The return of an instance that it rests on counts as well: of its parent, of a child.
    pub(crate) fn add_return(&self, mut other: watch::Receiver<Condition>) {
        let there = other.borrow_and_update().health == Health::Ready;
        self.add(async move {
            if there {
                let gone = other.wait_for(|other| other.health != Health::Ready);
                gone.await.ok();
            }
            if other
                .wait_for(|other| other.health == Health::Ready)
                .await
                .is_err()
            {
                pending::<()>().await;
            }
        });
    }

    /// Resolves with the first of the events. Cancel-safe.
    async fn first(&self) {
        let events = match self.0.lock() {
            Ok(mut events) => std::mem::take(&mut *events),
            Err(_) => Vec::new(),
        };
        if events.is_empty() {
            return pending().await;
        }
        select_all(events).await;
    }
}

/// Keeps attempts apart that events wake.
#[derive(Debug)]
pub(crate) struct Pace {
    gap: Duration,
    last: Option<Instant>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            gap: GAP.0,
            last: None,
        }
    }
}

impl Pace {
    /// Resolves when an attempt is worthwhile and due. Cancelled, the events are gone.
    pub(crate) async fn woken(&mut self, wakes: &Wakes) {
        wakes.first().await;
        sleep(SETTLE).await;
        let calm = self.last.is_none_or(|last| last.elapsed() > CALM);
        if let (false, Some(last)) = (calm, self.last) {
            sleep_until(last + self.gap).await;
        }
        self.gap = match calm {
            true => GAP.0,
            false => (self.gap * 2).min(GAP.1),
        };
        self.last = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests;
