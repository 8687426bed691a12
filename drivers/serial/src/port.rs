//! One opening of a device: reads, writes and orders at the same time, and an end that takes effect
//! at once.
//!
//! ```text
//!   open ──fail(reason), close──> closed: everything under way ends, the device is let go
//! ```

use std::{
    io,
    sync::{Mutex, PoisonError},
};

use rigd_driver::DriverError;
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

use crate::wire::{Order, Wire};

/// An open port. One task reads; writers take turns by themselves.
#[derive(Debug)]
pub(crate) struct Port {
    /// Shared by all that use it; taken by `close`, once they have ended. Empty from then on.
    wire: RwLock<Option<Box<dyn Wire>>>,
    closed: CancellationToken,
    reason: Mutex<Option<String>>,
}

impl Port {
    pub(crate) fn new(wire: Box<dyn Wire>) -> Self {
        Self {
            wire: RwLock::new(Some(wire)),
            closed: CancellationToken::new(),
            reason: Mutex::default(),
        }
    }

    /// Reads what is there, at least a byte; 0 when the other side is gone. Cancel-safe.
    pub(crate) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let reading = async {
            match &*self.wire.read().await {
                Some(wire) => wire.read(buffer).await,
                None => Err(closed()),
            }
        };
        // cancel-safe: a read that is dropped has taken nothing.
        tokio::select! {
            biased;
            () = self.closed.cancelled() => Err(closed()),
            read = reading => read,
        }
    }

    /// Hands all of `bytes` over. Not cancel-safe: a part may have gone.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let writing = async {
                match &*self.wire.read().await {
                    Some(wire) => wire.write(bytes).await,
                    None => Err(closed()),
                }
            };
            // cancel-safe: a write that is dropped has given nothing.
            let written = tokio::select! {
                biased;
                () = self.closed.cancelled() => return Err(closed()),
                written = writing => written?,
            };
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// Carries out an order.
    pub(crate) async fn order(&self, order: Order) -> Result<(), DriverError> {
        let gone = || DriverError::Unavailable("the port was closed meanwhile".into());
        let working = async {
            match &*self.wire.read().await {
                Some(wire) => wire.order(order).await,
                None => Err(gone()),
            }
        };
        // cancel-safe: an order ends by itself.
        tokio::select! {
            biased;
            () = self.closed.cancelled() => Err(gone()),
            done = working => done,
        }
    }

    /// Ends everything under way because the device is gone. The first reason stays.
    pub(crate) fn fail(&self, reason: String) {
        let mut slot = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        slot.get_or_insert(reason);
        self.closed.cancel();
    }

    /// Why it failed, if it did.
    pub(crate) fn failure(&self) -> Option<String> {
        let slot = self.reason.lock();
        slot.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether nothing can be done with it any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Ends all reads, writes and orders and lets the device go.
    pub(crate) async fn close(&self) {
        self.closed.cancel();
        let wire = self.wire.write().await.take();
        if let Some(wire) = wire {
            wire.close().await;
        }
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the port is closed")
}
