//! The queue of exclusive calls on one instance.
//!
//! ```text
//!   free ──acquire──> held(call) ──last clone of the turn dropped──> free
//!                     held(transfer): others are refused at once
//! ```
//!
//! A second exclusive call waits at most [`MAX_WAIT`]; one that meets a transfer is refused, since a
//! flash takes minutes and the caller is better off knowing. A transfer whose caller is gone ends
//! with its next step, so others wait for that.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};

use tokio_util::sync::CancellationToken;

use crate::DriverError;

/// How long an exclusive call waits for the one before it.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
struct Holder {
    method: String,
    since: Instant,
    transfer: bool,
    /// Cancelled when the caller is gone: the transfer then only winds up.
    caller: CancellationToken,
}

impl Holder {
    fn refuses(&self) -> bool {
        self.transfer && !self.caller.is_cancelled()
    }

    fn busy(&self) -> DriverError {
        DriverError::Busy {
            method: self.method.clone(),
            since: self.since.elapsed(),
        }
    }
}

/// Hands out turns in the order of arrival.
#[derive(Debug)]
pub(crate) struct Queue {
    turns: Arc<Semaphore>,
    holder: watch::Sender<Option<Holder>>,
}

/// The exclusive use of the instance until the last clone is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    queue: Arc<Queue>,
    // Dropped after `drop` has cleared the holder, so the next holder never sees the old one.
    _permit: OwnedSemaphorePermit,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.queue.holder.send_replace(None);
    }
}

impl Queue {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            turns: Arc::new(Semaphore::new(1)),
            holder: watch::Sender::new(None),
        })
    }

    /// Waits for the turn of `method`. Cancel-safe: a dropped wait leaves the queue.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        method: &str,
        transfer: bool,
        caller: CancellationToken,
    ) -> Result<Turn, DriverError> {
        let mut holder = self.holder.subscribe();
        let meets_transfer = async {
            let met = holder
                .wait_for(|h| h.as_ref().is_some_and(Holder::refuses))
                .await;
            met.map(|h| h.clone()).ok().flatten()
        };
        // cancel-safe: both arms only wait. Biased: a transfer that holds the turn is an answer.
        let permit = tokio::select! {
            biased;
            met = meets_transfer => {
                return Err(met.map_or_else(closed, |h| h.busy()));
            }
            permit = tokio::time::timeout(MAX_WAIT, self.turns.clone().acquire_owned()) => permit,
        };
        match permit {
            Ok(Ok(permit)) => {
                let now = Holder {
                    method: method.into(),
                    since: Instant::now(),
                    transfer,
                    caller,
                };
                self.holder.send_replace(Some(now));
                Ok(Turn {
                    queue: self.clone(),
                    _permit: permit,
                })
            }
            Ok(Err(_)) => Err(closed()),
            Err(_) => Err(self
                .holder
                .borrow()
                .as_ref()
                .map_or_else(closed, Holder::busy)),
        }
    }

    /// The method that holds the turn and for how long it has.
    pub(crate) fn holder(&self) -> Option<(String, Duration)> {
        self.holder
            .borrow()
            .as_ref()
            .map(|h| (h.method.clone(), h.since.elapsed()))
    }
}

fn closed() -> DriverError {
    DriverError::Unavailable("the instance is closing".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_for_the_one_before_and_gives_up_after_the_limit() {
        let queue = Queue::new();
        let first = queue
            .acquire("on", false, CancellationToken::new())
            .await
            .unwrap();
        let started = Instant::now();
        let error = queue
            .acquire("off", false, CancellationToken::new())
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "busy: on since 30 s");
        assert_eq!(started.elapsed(), MAX_WAIT);
        drop(first);
        queue
            .acquire("off", false, CancellationToken::new())
            .await
            .unwrap();
        assert!(queue.holder().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_meets_a_transfer_is_refused_at_once() {
        let queue = Queue::new();
        let write = queue
            .acquire("write", true, CancellationToken::new())
            .await
            .unwrap();
        tokio::time::advance(Duration::from_secs(12)).await;
        let error = queue
            .acquire("host", false, CancellationToken::new())
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "busy: write since 12 s");
        drop(write);
        queue
            .acquire("host", false, CancellationToken::new())
            .await
            .unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_is_refused_when_a_transfer_gets_the_turn_before_it() {
        let queue = Queue::new();
        let first = queue
            .acquire("host", false, CancellationToken::new())
            .await
            .unwrap();
        let transfer = tokio::spawn({
            let queue = queue.clone();
            async move { queue.acquire("write", true, CancellationToken::new()).await }
        });
        tokio::task::yield_now().await;
        let waiter = tokio::spawn({
            let queue = queue.clone();
            async move {
                queue
                    .acquire("dut", false, CancellationToken::new())
                    .await
                    .map(|_| ())
            }
        });
        tokio::task::yield_now().await;
        drop(first);
        let turn = transfer.await.unwrap().unwrap();
        assert_eq!(
            waiter.await.unwrap().unwrap_err().to_string(),
            "busy: write since 0 s"
        );
        drop(turn);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_for_a_transfer_whose_caller_is_gone() {
        let queue = Queue::new();
        let caller = CancellationToken::new();
        let write = queue.acquire("write", true, caller.clone()).await.unwrap();
        caller.cancel();
        let next = tokio::spawn({
            let queue = queue.clone();
            async move {
                queue
                    .acquire("write", true, CancellationToken::new())
                    .await
                    .map(|_| ())
            }
        });
        tokio::task::yield_now().await;
        assert!(!next.is_finished());
        drop(write);
        next.await.unwrap().unwrap();
    }
}
