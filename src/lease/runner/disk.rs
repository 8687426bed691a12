//! The disk, which may be slow, full or gone: it costs its promise, not the lease.

use std::{io, time::Duration};

use tokio::{task::JoinHandle, time::timeout};

use crate::lease::{hold::Hold, journal::Journal, machine::Entry};

/// How long the disk has to answer.
const LIMIT: Duration = Duration::from_secs(5);

async fn within<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, String> {
    match timeout(LIMIT, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(Ok(done))) => Ok(done),
        Ok(Ok(Err(error))) => Err(error.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the disk does not answer".into()),
    }
}

pub(super) async fn read(journal: Journal) -> Option<Entry> {
    within(move || journal.read())
        .await
        .unwrap_or_else(|error| {
            tracing::error!(
                error,
                "The journal cannot be read: what the last lease left is unknown."
            );
            None
        })
}

/// Writes the journal, one entry at a time: a disk that hangs holds one thread and not one for each
/// entry, and is waited for once.
#[derive(Debug)]
pub(super) struct Writer {
    journal: Journal,
    unanswered: Option<JoinHandle<io::Result<()>>>,
}

impl Writer {
    pub(super) fn new(journal: Journal) -> Self {
        Self {
            journal,
            unanswered: None,
        }
    }

    /// When this returns the entry is on the disk, or the log says that it is not.
    pub(super) async fn write(&mut self, entry: Entry) {
        if let Err(error) = self.attempt(entry).await {
            tracing::error!(
                error,
                "The journal cannot be written: a crash would not be made good."
            );
        }
    }

    async fn attempt(&mut self, entry: Entry) -> Result<(), String> {
        if self
            .unanswered
            .take_if(|write| write.is_finished())
            .is_none()
            && self.unanswered.is_some()
        {
            return Err("the disk still does not answer".into());
        }
        let journal = self.journal.next();
        let mut write = tokio::task::spawn_blocking(move || journal.write(&entry));
        match timeout(LIMIT, &mut write).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(error.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => {
                self.unanswered = Some(write);
                Err("the disk does not answer".into())
            }
        }
    }
}

pub(super) async fn read_hold(hold: Hold) -> Option<String> {
    within(move || hold.read()).await.unwrap_or_else(|error| {
        // It may have been held for a reason.
        tracing::error!(error, "Whether the exporter is held cannot be read: it is.");
        Some(format!("its state cannot be read: {error}"))
    })
}

/// # Errors
/// What went wrong, for people.
pub(super) async fn write_hold(hold: Hold, reason: Option<String>) -> Result<(), String> {
    within(move || hold.write(reason.as_deref())).await
}
