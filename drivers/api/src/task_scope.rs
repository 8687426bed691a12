//! Background tasks of a driver: who spawns, joins.

use std::future::Future;

use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

/// Where a driver spawns its background tasks. They end when the instance closes.
#[derive(Debug, Clone)]
pub struct TaskScope {
    tracker: TaskTracker,
    token: CancellationToken,
    span: tracing::Span,
}

impl TaskScope {
    pub(crate) fn new(span: tracing::Span) -> Self {
        Self {
            tracker: TaskTracker::new(),
            token: CancellationToken::new(),
            span,
        }
    }

    /// Runs `task` until it ends or the instance closes; it is then dropped at its next await.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let token = self.token.clone();
        let task = async move {
            // cancel-safe: the task is dropped for good, nothing of it is polled again.
            tokio::select! { () = token.cancelled() => {}, () = task => {} }
        };
        self.tracker.spawn(task.instrument(self.span.clone()));
    }

    /// Cancelled when the instance closes.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Ends all tasks and waits for them. Cancel-safe.
    pub(crate) async fn close(&self) {
        self.token.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}
