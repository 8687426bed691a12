//! What a console needs of a device: where it can be opened ([`Source`]), and an open one
//! ([`Wire`]).
//!
//! A new kind of port implements these two and nothing else: that it is opened again after a loss,
//! shared by streams, paced and recorded is the console's business.

use std::{fmt, future::pending, io, time::Duration};

use rigd_driver::{DriverError, OpenError, async_trait};

use crate::settings::Settings;

/// How long one attempt to open may take. Less than the 10 s that the instance gives its driver.
pub(crate) const OPEN_LIMIT: Duration = Duration::from_secs(8);
/// How long an order may take beyond its own duration. A USB transfer that has not ended by then
/// never does.
pub(crate) const ORDER_LIMIT: Duration = Duration::from_secs(5);

/// Something to be done with the line itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Set speed, format and flow control; the lines stay. When the device refuses, everything
    /// stays as it was.
    Set(Settings),
    /// Raise or lower DTR.
    Dtr(bool),
    /// Raise or lower RTS.
    Rts(bool),
    /// Send a break of this length.
    Break(Duration),
}

impl Order {
    /// What `settings` are once it is done.
    pub(crate) fn applied(self, settings: Settings) -> Settings {
        match self {
            Self::Set(set) => Settings {
                dtr: settings.dtr,
                rts: settings.rts,
                ..set
            },
            Self::Dtr(dtr) => Settings { dtr, ..settings },
            Self::Rts(rts) => Settings { rts, ..settings },
            Self::Break(_) => settings,
        }
    }
}

/// An open device or connection. Reads, writes and orders run side by side.
#[async_trait]
pub(crate) trait Wire: fmt::Debug + Send + Sync + 'static {
    /// Reads what is there, at least a byte; 0 when the other side is gone. Cancel-safe.
    async fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Takes a part of `bytes`, at least a byte, and returns how much. What was taken is on its way,
    /// not yet on the line: this never drains. Cancel-safe.
    async fn write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Does what is ordered, or ends with an error within [`ORDER_LIMIT`] beyond its duration. Once
    /// begun it is done to the end even when the future is dropped: a break ends.
    async fn order(&self, order: Order) -> Result<(), DriverError>;

    /// Lets the device go. Returns when others can have it, or after a second. Dropping does the
    /// same without waiting; neither may block.
    async fn close(self: Box<Self>) {}
}

/// Where a console finds its device.
#[async_trait]
pub(crate) trait Source: fmt::Debug + Send + Sync + 'static {
    /// One attempt to open and set the device, at most [`OPEN_LIMIT`]. A dropped attempt may not
    /// leave an open device behind.
    async fn open(&self, settings: &Settings) -> Result<Box<dyn Wire>, OpenError>;

    /// Resolves when something happened that makes a new attempt worthwhile before its time, e.g. a
    /// device was plugged in. Never by default: then the back-off alone decides. Cancel-safe.
    async fn hint(&self) {
        pending().await
    }
}
