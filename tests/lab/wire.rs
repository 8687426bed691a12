//! One TCP connection of the lab, which can stall or break at command.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use futures::task::AtomicWaker;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// Stalls and breaks all connections that belong to it.
///
/// A stalled connection stays open and takes what fits into the kernel's buffers, but nothing
/// moves on: to the peer it looks like a host that went away without a word.
#[derive(Debug, Default)]
pub(super) struct Wires {
    frozen: AtomicBool,
    live: Mutex<Vec<Weak<Wire>>>,
}

#[derive(Debug, Default)]
struct Wire {
    cut: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Wires {
    pub(super) fn adopt(self: &Arc<Self>, tcp: TcpStream) -> Io {
        let wire = Arc::new(Wire::default());
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.retain(|it| it.strong_count() > 0);
        live.push(Arc::downgrade(&wire));
        Io {
            tcp,
            wire,
            all: self.clone(),
        }
    }

    /// Also holds for connections to come.
    pub(super) fn freeze(&self, frozen: bool) {
        self.frozen.store(frozen, SeqCst);
        self.wake();
    }

    /// Breaks the connections that exist now; returns how many.
    pub(super) fn cut(&self) -> usize {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let live: Vec<_> = live.iter().filter_map(Weak::upgrade).collect();
        for wire in &live {
            wire.cut.store(true, SeqCst);
            wire.reader.wake();
            wire.writer.wake();
        }
        live.len()
    }

    /// How many connections exist.
    pub(super) fn count(&self) -> usize {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.iter().filter(|it| it.strong_count() > 0).count()
    }

    fn wake(&self) {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        for wire in live.iter().filter_map(Weak::upgrade) {
            wire.reader.wake();
            wire.writer.wake();
        }
    }
}

/// The bytes of one connection.
#[derive(Debug)]
pub(super) struct Io {
    tcp: TcpStream,
    wire: Arc<Wire>,
    all: Arc<Wires>,
}

impl Io {
    /// Registers before it looks, so that no change is missed.
    fn look(&self, waker: &AtomicWaker, cx: &Context<'_>) -> Poll<io::Result<()>> {
        waker.register(cx.waker());
        if self.wire.cut.load(SeqCst) {
            Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
        } else if self.all.frozen.load(SeqCst) {
            Poll::Pending
        } else {
            Poll::Ready(Ok(()))
        }
    }
}

/// Goes on where the connection may, else returns from the caller.
macro_rules! look {
    ($io:expr, $waker:ident, $cx:expr) => {
        match $io.look(&$io.wire.$waker, $cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        look!(self, reader, cx);
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        look!(self, writer, cx);
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        look!(self, writer, cx);
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        look!(self, writer, cx);
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
