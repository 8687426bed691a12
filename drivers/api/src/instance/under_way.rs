//! Calls under way: how they end is told in the log, and a streaming one ends with its key.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::{FutureExt, Stream, StreamExt, stream::BoxStream};
use serde_json::Value;
use tokio_util::sync::DropGuard;
use tracing::Instrument;

use crate::{DriverError, Key, device_thread::panicked, interlock::Permit};

/// Tells in the log how a call ended that did not end well.
pub(super) struct Watch {
    pub(super) transfer: bool,
    pub(super) span: tracing::Span,
    pub(super) done: bool,
}

impl Watch {
    pub(super) fn done(mut self, outcome: &Result<Value, DriverError>) {
        self.done = true;
        let Err(error) = outcome else { return };
        let _in = self.span.enter();
        match error {
            // A half-done transfer leaves a card that does not boot: somebody must act.
            _ if self.transfer => tracing::error!(%error, "Transfer failed."),
            // The client's own mistakes are its own business, and a lease ends every day.
            DriverError::InvalidArgument(_)
            | DriverError::Unimplemented(_)
            | DriverError::Busy { .. }
            | DriverError::FailedPrecondition(_)
            | DriverError::Fenced(_) => tracing::debug!(%error, "Call refused."),
            error => tracing::warn!(%error, "Call failed."),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let _in = self.span.enter();
        const GONE: &str = "The caller went away before the call was done.";
        if self.transfer {
            tracing::error!("{GONE}")
        } else {
            tracing::warn!("{GONE}")
        }
    }
}

/// A streaming call under way.
pub(super) struct Live {
    pub(super) items: BoxStream<'static, Result<Value, DriverError>>,
    pub(super) key: Key,
    pub(super) span: tracing::Span,
    // Dropped with the stream, which tells the driver that its caller is gone.
    pub(super) _gone: DropGuard,
    pub(super) _permit: Option<Arc<Permit>>,
}

impl Live {
    /// Its items.
    pub(super) fn items(self) -> impl Stream<Item = Result<Value, DriverError>> + Send {
        futures::stream::unfold(Some(self), async |live| live?.next().await)
    }

    /// One item, or the end when the key was revoked. An error is the last item.
    async fn next(mut self) -> Option<(Result<Value, DriverError>, Option<Self>)> {
        let next = AssertUnwindSafe(self.items.next()).catch_unwind();
        // cancel-safe: after `revoked` the stream is not polled again.
        let item = tokio::select! {
            biased;
            fenced = self.key.revoked() => return Some((Err(fenced.into()), None)),
            item = next.instrument(self.span.clone()) => item,
        };
        match item {
            Ok(Some(Ok(value))) => Some((Ok(value), Some(self))),
            Ok(Some(Err(error))) => Some((Err(error), None)),
            Ok(None) => None,
            Err(_) => Some((Err(panicked()), None)),
        }
    }
}
