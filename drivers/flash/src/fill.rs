//! Puts the parts of an image together into whole buffers. Pure but for where buffers come from.

use rigd_driver::DriverError;

use crate::{
    buffer::Buffer,
    layout::{Gaps, Sink},
    pages::{BLOCKS, BUFFER},
};

/// Zeros that are worth leaving out: less would only make writes short.
const GAP: usize = 64 * 1024;

/// Where empty buffers come from and full ones go.
pub(crate) trait Exchange {
    /// Waits for an empty buffer.
    fn empty(&mut self) -> Result<Buffer, DriverError>;
    /// Hands a full one over.
    fn full(&mut self, buffer: Buffer) -> Result<(), DriverError>;
}

/// Fills buffers.
#[derive(Debug)]
pub(crate) struct Filler<E> {
    exchange: E,
    current: Option<Buffer>,
    gaps: Gaps,
    bytes: u64,
}

impl<E: Exchange> Filler<E> {
    pub(crate) fn new(exchange: E, gaps: Gaps) -> Self {
        Self {
            exchange,
            current: None,
            gaps,
            bytes: 0,
        }
    }

    pub(crate) fn exchange(&mut self) -> &mut E {
        &mut self.exchange
    }

    /// The rest is not wanted.
    pub(crate) fn give_up(self) -> E {
        self.exchange
    }

    /// Hands the last buffer over. Gives how many bytes there are to write: less than the image has
    /// where parts of it are left out.
    pub(crate) fn finish(mut self) -> Result<(E, u64), (E, DriverError)> {
        match self.flush() {
            Ok(()) => Ok((self.exchange, self.bytes)),
            Err(error) => Err((self.exchange, error)),
        }
    }

    fn flush(&mut self) -> Result<(), DriverError> {
        let Some(mut buffer) = self.current.take() else {
            return Ok(());
        };
        if self.gaps == Gaps::Leave {
            buffer.drop_zeros(GAP);
        }
        for run in buffer.runs([true; BLOCKS]) {
            self.bytes += run.len() as u64;
        }
        self.exchange.full(buffer)
    }
}

impl<E: Exchange> Sink for Filler<E> {
    fn put(&mut self, mut at: u64, mut bytes: &[u8]) -> Result<(), DriverError> {
        while !bytes.is_empty() {
            let base = at / BUFFER as u64 * BUFFER as u64;
            if self.current.as_ref().is_some_and(|b| b.at != base) {
                self.flush()?;
            }
            let buffer = match &mut self.current {
                Some(buffer) => buffer,
                empty => {
                    let mut fresh = self.exchange.empty()?;
                    fresh.reset(base);
                    empty.insert(fresh)
                }
            };
            let start = (at - base) as usize;
            let take = bytes.len().min(BUFFER - start);
            buffer
                .put(start..start + take)
                .copy_from_slice(&bytes[..take]);
            at += take as u64;
            bytes = &bytes[take..];
        }
        Ok(())
    }
}
