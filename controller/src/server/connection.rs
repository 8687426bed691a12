//! Owns the cutting of a connection from outside of the server that serves it: tonic spawns each as a
//! task of its own, and its graceful end waits for as long as a stream is open.
//!
//! A connection of which nobody is known in time is cut as well: whoever has credentials makes a call with
//! them at once, and checks of health that have none begin anew.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use super::places::Place;
use crate::api::caller::Link;

/// How long a connection may be open before a call on it had good credentials.
const UNKNOWN: Duration = Duration::from_secs(30);

/// Bytes of `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n`, RFC 9113 section 3.4. What they are is the server's
/// business.
pub(super) const PREFACE: usize = 24;
/// What was read of a connection before the server got it.
pub(super) type Preface = [u8; PREFACE];

type Cut = Pin<Box<WaitForCancellationFutureOwned>>;

/// A connection that said its first words. It fails with ABORTED once it is cut.
pub(super) struct Connection {
    io: TlsStream<TcpStream>,
    preface: Preface,
    /// How much of the preface the server has read.
    read: usize,
    link: Link,
    /// Until somebody is known, or it is cut.
    unknown: Option<Pin<Box<Sleep>>>,
    token: CancellationToken,
    // One for each direction: a future wakes only the task that polled it last.
    read_cut: Cut,
    write_cut: Cut,
    // Last: the place is free when the connection is closed.
    _place: Place,
}

impl Connection {
    pub(super) fn new(
        io: TlsStream<TcpStream>,
        preface: Preface,
        peer: SocketAddr,
        cut: &CancellationToken,
        place: Place,
    ) -> Self {
        let token = cut.child_token();
        let cut = || -> Cut { Box::pin(token.clone().cancelled_owned()) };
        Self {
            io,
            preface,
            read: 0,
            link: Link::new(peer),
            unknown: Some(Box::pin(sleep(UNKNOWN))),
            read_cut: cut(),
            write_cut: cut(),
            token,
            _place: place,
        }
    }

    /// Cuts the connection when it is time and nobody is known.
    fn look(&mut self, cx: &mut Context<'_>) {
        let Some(unknown) = &mut self.unknown else {
            return;
        };
        if unknown.as_mut().poll(cx).is_pending() {
            return;
        }
        self.unknown = None;
        if !self.link.is_known() {
            let (peer, seconds) = (self.link.peer, UNKNOWN.as_secs());
            tracing::debug!(%peer, seconds, "A connection made no call with good credentials in time.");
            self.token.cancel();
        }
    }

    fn check(&self) -> io::Result<()> {
        if self.token.is_cancelled() {
            Err(aborted())
        } else {
            Ok(())
        }
    }
}

/// `result`, unless that is "pending" and the cut has come.
fn unless_cut<T>(
    result: Poll<io::Result<T>>,
    cut: &mut Cut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<T>> {
    if result.is_pending() {
        // Also registers the waker, so that a later cut ends this wait.
        ready!(cut.as_mut().poll(cx));
        return Poll::Ready(Err(aborted()));
    }
    result
}

fn aborted() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was cut")
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.look(cx);
        this.check()?;
        if let Some(rest) = this
            .preface
            .get(this.read..)
            .filter(|rest| !rest.is_empty())
        {
            let part = rest.len().min(buf.remaining());
            if let Some(part) = rest.get(..part) {
                buf.put_slice(part);
            }
            this.read += part;
            return Poll::Ready(Ok(()));
        }
        let result = Pin::new(&mut this.io).poll_read(cx, buf);
        unless_cut(result, &mut this.read_cut, cx)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check()?;
        let result = Pin::new(&mut this.io).poll_write(cx, buf);
        unless_cut(result, &mut this.write_cut, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check()?;
        let result = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        unless_cut(result, &mut this.write_cut, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check()?;
        let result = Pin::new(&mut this.io).poll_flush(cx);
        unless_cut(result, &mut this.write_cut, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check()?;
        let result = Pin::new(&mut this.io).poll_shutdown(cx);
        unless_cut(result, &mut this.write_cut, cx)
    }
}

impl Connected for Connection {
    type ConnectInfo = Link;

    fn connect_info(&self) -> Link {
        self.link.clone()
    }
}
