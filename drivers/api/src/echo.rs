//! A byte stream that gives back what it is sent: `loop://` and the echo network.

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::{ByteSink, ByteStream, DriverError, async_trait};

/// Chunks an echo holds before its writer waits: what upstream buffers. With the usual frames of at
/// most 64 KiB that is 2 MiB.
const CHUNKS: usize = 32;

/// A new echo. Each chunk comes back as it was sent; `finish` ends the reader after the last one.
pub fn echo_stream() -> ByteStream {
    let (tx, rx) = mpsc::channel(CHUNKS);
    let reader = futures::stream::unfold(rx, async |mut rx| {
        rx.recv().await.map(|bytes| (Ok(bytes), rx))
    });
    ByteStream::new(reader, EchoSink(Some(tx)))
}

struct EchoSink(Option<mpsc::Sender<Bytes>>);

#[async_trait]
impl ByteSink for EchoSink {
    async fn send(&mut self, bytes: Bytes) -> Result<(), DriverError> {
        let gone = || DriverError::Unavailable("cannot echo: nobody reads any more".into());
        let tx = self.0.as_ref().ok_or_else(gone)?;
        tx.send(bytes).await.map_err(|_| gone())
    }

    async fn finish(&mut self) -> Result<(), DriverError> {
        self.0 = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt};

    use super::*;

    #[tokio::test]
    async fn what_is_sent_comes_back_and_then_the_end() {
        let mut echo = echo_stream();
        echo.writer.send(Bytes::from_static(b"a")).await.unwrap();
        echo.writer.send(Bytes::from_static(b"bc")).await.unwrap();
        echo.writer.finish().await.unwrap();
        assert_eq!(echo.reader.next().await.unwrap().unwrap(), "a");
        assert_eq!(echo.reader.next().await.unwrap().unwrap(), "bc");
        assert!(echo.reader.next().await.is_none());
    }

    #[tokio::test]
    async fn the_33rd_unread_chunk_waits() {
        let mut echo = echo_stream();
        for _ in 0..CHUNKS {
            let sent = echo.writer.send(Bytes::from_static(b"x")).now_or_never();
            sent.expect("there is room").unwrap();
        }
        let chunk = Bytes::from_static(b"x");
        assert!(echo.writer.send(chunk.clone()).now_or_never().is_none());
        echo.reader.next().await.unwrap().unwrap();
        assert!(echo.writer.send(chunk).now_or_never().is_some());
    }
}
