//! One open port: reads and writes at the same time, and an end that takes effect at once.
//!
//! Nothing here drains: `flush` of a tty is `tcdrain`, which blocks the thread until the line has
//! sent everything, for ever when the other side holds it up.

use std::{
    io,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use futures::future::poll_fn;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_serial::{ClearBuffer, SerialPort, SerialStream};
use tokio_util::sync::CancellationToken;

/// What a port is made of.
#[derive(Debug)]
pub(crate) enum Io {
    Tty(SerialStream),
    Tcp(TcpStream),
}

/// An open port. One task reads; writers take turns by themselves.
#[derive(Debug)]
pub(crate) struct Port {
    // Locked for single non-blocking system calls only. Empty after `close`.
    io: Mutex<Option<Io>>,
    closed: CancellationToken,
}

impl Port {
    pub(crate) fn new(io: Io) -> Self {
        Self {
            io: Mutex::new(Some(io)),
            closed: CancellationToken::new(),
        }
    }

    /// Reads what is there, at least a byte; 0 when the other side is gone. Cancel-safe.
    pub(crate) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let reading = poll_fn(|cx| {
            let mut buffer = ReadBuf::new(buffer);
            match self.lock().as_mut() {
                Some(io) => io.poll_fill(cx, &mut buffer),
                None => Poll::Ready(Err(closed())),
            }
        });
        // cancel-safe: a read that is dropped has taken nothing.
        tokio::select! {
            biased;
            () = self.closed.cancelled() => Err(closed()),
            read = reading => read,
        }
    }

    /// Hands all of `bytes` to the kernel, which is not yet the line. Not cancel-safe: a part may
    /// have gone.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let writing = poll_fn(|cx| match self.lock().as_mut() {
                Some(io) => io.poll_write(cx, bytes),
                None => Poll::Ready(Err(closed())),
            });
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

    /// Ends all reads and writes and lets the device go.
    pub(crate) fn close(&self) {
        let io = self.lock().take();
        self.closed.cancel();
        if let Some(Io::Tty(tty)) = io {
            // Closing a tty waits up to 30 s for unsent output (closing_wait of the kernel's
            // serial core), so the output is dropped first; should the driver below wait all the
            // same, it is not a worker of the runtime that waits.
            tty.clear(ClearBuffer::Output).ok();
            let thread = std::thread::Builder::new().name("rigd:tty-close".into());
            // Without a thread the closure is dropped right here, which closes as well.
            thread.spawn(move || drop(tty)).ok();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Io>> {
        self.io.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.close();
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the port is closed")
}

impl Io {
    /// Reads all that is there, as far as it fits. A tty gives a page at a time, and what comes in
    /// one piece costs its readers one wake-up.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let before = buffer.filled().len();
            let read = self.poll_read(cx, buffer);
            let total = buffer.filled().len();
            return match read {
                Poll::Ready(Ok(())) if total > before && buffer.remaining() > 0 => continue,
                // An end or error that follows bytes shows again at the next read.
                _ if total > 0 => Poll::Ready(Ok(total)),
                Poll::Ready(done) => Poll::Ready(done.map(|()| total)),
                Poll::Pending => Poll::Pending,
            };
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tty(tty) => Pin::new(tty).poll_read(cx, to),
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, to),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tty(tty) => Pin::new(tty).poll_write(cx, bytes),
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(cx, bytes),
        }
    }
}
