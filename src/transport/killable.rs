//! Owns the cutting of a client's connection from outside of the server that serves it.
//!
//! tonic spawns each connection as a task of its own: dropping the server future does not end it,
//! and its graceful shutdown waits for as long as the peer is silent or a stream is open
//! (hyperium/hyper #4170). [`Killable`] makes the connection itself fail once its token is
//! cancelled, and the task with it. It must never hold a connection open on its own, and never
//! swallow a wake-up.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use super::{
    authority::AuthorityFilter,
    places::Place,
    preface::{PREFACE_LIMIT, Preface},
};

/// A byte stream that fails with [`io::ErrorKind::ConnectionAborted`] once its token is cancelled.
///
/// All four operations fail from then on, shutdown too; one that is pending at that moment is
/// woken. Bytes that the inner stream still holds are lost, as with a reset connection.
///
/// `C` is what handlers see of the connection: tonic puts it into each request's extensions.
pub struct Killable<I, C> {
    io: I,
    info: C,
    token: CancellationToken,
    // One for each direction: a future wakes only the task that polled it last, and the halves of
    // a split stream may live in two tasks.
    read_cut: Pin<Box<WaitForCancellationFutureOwned>>,
    write_cut: Pin<Box<WaitForCancellationFutureOwned>>,
    filter: Option<AuthorityFilter>,
    preface: Option<Preface>,
    // Last, since fields are dropped in order: the place is free when the connection is closed.
    place: Option<Place>,
}

impl<I, C> Killable<I, C> {
    /// Ties `io` to `token`; `info` becomes its tonic `ConnectInfo`.
    #[must_use]
    pub fn new(io: I, token: CancellationToken, info: C) -> Self {
        Self {
            io,
            info,
            read_cut: Box::pin(token.clone().cancelled_owned()),
            write_cut: Box::pin(token.clone().cancelled_owned()),
            token,
            filter: None,
            preface: None,
            place: None,
        }
    }

    /// Sends what is read through an [`AuthorityFilter`]: for unix sockets and tunnels, before
    /// the first byte is read.
    #[must_use]
    pub fn with_authority_filter(mut self) -> Self {
        self.filter = Some(AuthorityFilter::new());
        self
    }

    /// Reads fail with [`io::ErrorKind::ConnectionAborted`] when the peer has not sent the preface
    /// of HTTP/2 ten seconds from now. To be called in a runtime, before the first byte is read.
    #[must_use]
    pub fn with_preface_limit(self) -> Self {
        self.with_preface_within(PREFACE_LIMIT)
    }

    /// As [`with_preface_limit`](Self::with_preface_limit), for peers that may come later than
    /// their connection.
    #[must_use]
    pub fn with_preface_within(mut self, limit: Duration) -> Self {
        self.preface = Some(Preface::within(limit));
        self
    }

    /// Keeps the connection's place at its listener until the connection is dropped.
    #[must_use]
    pub(super) fn with_place(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
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
    cut: Pin<&mut WaitForCancellationFutureOwned>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<T>> {
    if result.is_pending() {
        // Also registers the waker, so that a later cut ends this wait.
        ready!(cut.poll(cx));
        return Poll::Ready(Err(aborted()));
    }
    result
}

fn aborted() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "connection was cut by its session",
    )
}

// The info is never pinned.
impl<I: Unpin, C> Unpin for Killable<I, C> {}

impl<I: AsyncRead + Unpin, C> AsyncRead for Killable<I, C> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check()?;
        if let Some(preface) = &this.preface {
            preface.check()?;
        }
        let before = buf.filled().len();
        let result = Pin::new(&mut this.io).poll_read(cx, buf);
        if let (Some(filter), Some(new)) = (&mut this.filter, buf.filled_mut().get_mut(before..)) {
            filter.feed(new);
        }
        let read = buf.filled().len().saturating_sub(before);
        if let Some(preface) = &mut this.preface
            && preface.read(read, cx)?
        {
            this.preface = None;
        }
        unless_cut(result, this.read_cut.as_mut(), cx)
    }
}

impl<I: AsyncWrite + Unpin, C> AsyncWrite for Killable<I, C> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check()?;
        let result = Pin::new(&mut this.io).poll_write(cx, buf);
        unless_cut(result, this.write_cut.as_mut(), cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check()?;
        let result = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        unless_cut(result, this.write_cut.as_mut(), cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check()?;
        let result = Pin::new(&mut this.io).poll_flush(cx);
        unless_cut(result, this.write_cut.as_mut(), cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check()?;
        let result = Pin::new(&mut this.io).poll_shutdown(cx);
        unless_cut(result, this.write_cut.as_mut(), cx)
    }
}

impl<I, C: Clone + Send + Sync + 'static> Connected for Killable<I, C> {
    type ConnectInfo = C;

    fn connect_info(&self) -> C {
        self.info.clone()
    }
}

impl<I: fmt::Debug, C: fmt::Debug> fmt::Debug for Killable<I, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Killable")
            .field("io", &self.io)
            .field("info", &self.info)
            .field("cut", &self.token.is_cancelled())
            .field("filtered", &self.filter.is_some())
            .field("preface", &self.preface)
            .field("place", &self.place)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split},
        task::JoinHandle,
        time::timeout,
    };

    use super::*;

    /// Long enough for a loaded machine; a wake-up that is lost takes for ever.
    const PATIENCE: Duration = Duration::from_secs(10);

    fn pair(buffer: usize) -> (Killable<DuplexStream, ()>, DuplexStream, CancellationToken) {
        let token = CancellationToken::new();
        let (near, far) = duplex(buffer);
        (Killable::new(near, token.clone(), ()), far, token)
    }

    async fn assert_aborted<T: fmt::Debug>(task: JoinHandle<io::Result<T>>) {
        let result = timeout(PATIENCE, task)
            .await
            .expect("the pending call was not woken");
        let error = result.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    }

    /// Runs every other task of this single-threaded test until it waits.
    async fn let_others_wait() {
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn carries_bytes_until_it_is_cut() {
        let (mut near, mut far, token) = pair(64);
        near.write_all(b"out").await.unwrap();
        far.write_all(b"in").await.unwrap();
        let mut buf = [0; 8];
        assert_eq!(far.read(&mut buf).await.unwrap(), 3);
        assert_eq!(near.read(&mut buf).await.unwrap(), 2);
        assert_eq!(&buf[..2], b"in");

        far.write_all(b"too late").await.unwrap();
        token.cancel();
        let aborted = io::ErrorKind::ConnectionAborted;
        assert_eq!(near.read(&mut buf).await.unwrap_err().kind(), aborted);
        assert_eq!(near.write(b"x").await.unwrap_err().kind(), aborted);
        assert_eq!(
            near.write_vectored(&[io::IoSlice::new(b"x")])
                .await
                .unwrap_err()
                .kind(),
            aborted
        );
        assert_eq!(near.flush().await.unwrap_err().kind(), aborted);
        assert_eq!(near.shutdown().await.unwrap_err().kind(), aborted);
        assert_eq!(
            near.read(&mut buf).await.unwrap_err().kind(),
            aborted,
            "and stays so"
        );
    }

    #[tokio::test]
    async fn a_pending_read_and_write_in_two_tasks_both_end() {
        let (near, _far, token) = pair(4);
        let (mut reader, mut writer) = split(near);
        let read = tokio::spawn(async move { reader.read_u8().await });
        let write = tokio::spawn(async move { writer.write_all(&[0; 64]).await });
        let_others_wait().await;
        assert!(!read.is_finished() && !write.is_finished());

        token.cancel();
        assert_aborted(read).await;
        assert_aborted(write).await;
    }

    /// Takes nothing, ever.
    struct Stuck;

    impl AsyncWrite for Stuck {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
        fn is_write_vectored(&self) -> bool {
            true
        }
    }

    #[tokio::test]
    async fn a_pending_flush_and_shutdown_end() {
        let token = CancellationToken::new();
        let mut flushed = Killable::new(Stuck, token.clone(), ());
        let mut closed = Killable::new(Stuck, token.clone(), ());
        let flush = tokio::spawn(async move { flushed.flush().await });
        let shutdown = tokio::spawn(async move { closed.shutdown().await });
        let_others_wait().await;
        assert!(!flush.is_finished() && !shutdown.is_finished());

        token.cancel();
        assert_aborted(flush).await;
        assert_aborted(shutdown).await;
    }

    #[test]
    fn vectored_writes_are_offered_when_the_inner_stream_has_them() {
        let (plain, _far, token) = pair(1);
        assert_eq!(plain.is_write_vectored(), plain.io.is_write_vectored());
        assert!(Killable::new(Stuck, token, ()).is_write_vectored());
    }

    #[tokio::test]
    async fn filters_only_when_asked_and_only_what_is_read() {
        let request = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
            \x00\x00\x06\x01\x04\x00\x00\x00\x01\x01\x04a%2F";
        for filtered in [false, true] {
            let (mut near, mut far, _token) = pair(256);
            if filtered {
                near = near.with_authority_filter();
            }
            far.write_all(request).await.unwrap();
            let mut read = vec![0; request.len()];
            near.read_exact(&mut read).await.unwrap();
            let end: &[u8] = if filtered { b"a-2F" } else { b"a%2F" };
            assert!(read.ends_with(end), "filtered: {filtered}");

            near.write_all(request).await.unwrap();
            far.read_exact(&mut read).await.unwrap();
            assert_eq!(read, request);
        }
    }

    #[test]
    fn tells_tonic_what_the_caller_gave() {
        let (io, _far) = duplex(1);
        let killable = Killable::new(io, CancellationToken::new(), "tunnel 7");
        assert_eq!(killable.connect_info(), "tunnel 7");
    }
}
