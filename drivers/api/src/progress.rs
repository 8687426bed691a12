//! How far a transfer has come, for whoever waits for it.

use std::time::Duration;

/// What a transfer is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferPhase {
    /// Bytes go to the medium.
    Write,
    /// The medium makes sure of what it has taken.
    Sync,
    /// What was written is read back.
    Verify,
}

/// How far a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransferProgress {
    /// What it is doing.
    pub phase: TransferPhase,
    /// Bytes that this phase is done with.
    pub done: u64,
    /// Bytes that this phase has to do, where that is known.
    pub total: Option<u64>,
    /// How long this phase has lasted.
    pub spent: Duration,
}
