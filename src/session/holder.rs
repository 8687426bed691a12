//! What the holder of a lease tells the exporter, beside what it asks of instruments.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// One holder's word; cloned into the session that serves it.
#[derive(Debug, Clone)]
pub struct Holder {
    end: CancellationToken,
    read: Arc<watch::Sender<u64>>,
}

impl Default for Holder {
    fn default() -> Self {
        Self {
            end: CancellationToken::new(),
            read: Arc::new(watch::Sender::new(0)),
        }
    }
}

impl Holder {
    /// It is done with the lease.
    pub(super) fn end_session(&self) {
        self.end.cancel();
    }

    /// It said so.
    pub(super) fn has_ended(&self) -> bool {
        self.end.is_cancelled()
    }

    /// It has seen this version of the status.
    pub(super) fn has_read(&self, version: u64) {
        self.read.send_if_modified(|read| {
            let news = version > *read;
            *read = version.max(*read);
            news
        });
    }

    /// Waits until it is done with the lease. Cancel-safe.
    pub async fn ended(&self) {
        self.end.cancelled().await;
    }

    /// Waits until it has seen this version of the status, or a later one. Cancel-safe.
    pub async fn saw(&self, version: u64) {
        // Fails only when the sender is gone, and that is us.
        self.read
            .subscribe()
            .wait_for(|read| *read >= version)
            .await
            .ok();
    }
}
