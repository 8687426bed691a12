//! A console as a person on the lab host sees it, past leases.

use bytes::Bytes;

use crate::{ByteRing, DriverError, async_trait};

/// The record of a console, and the way to type into it. It stays the same while the device comes
/// and goes.
#[async_trait]
pub trait ConsoleTap: Send + Sync {
    /// What the console has said, of all leases and between them.
    fn record(&self) -> &ByteRing;

    /// Types a whole frame. Not cancel-safe: a part may have gone.
    async fn send(&self, frame: Bytes) -> Result<(), DriverError>;
}
