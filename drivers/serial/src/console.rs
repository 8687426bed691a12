//! A port shared by client streams: everybody reads everything from the moment they come, and
//! whole frames go out one after the other.
//!
//! ```text
//!   stream:  open ──finish──> half-closed ──another stream opens──> ended
//!              └──────────────────┴──── close, lease end, port lost ──^
//! ```
//!
//! Clients leave their streams half-closed and go away without a word, so a half-closed stream
//! yields to the next one. The port itself ends only when it is lost or the daemon closes it.

use std::{
    io,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use rigd_driver::{
    ByteRing, ByteSink, ByteStream, DriverError, HealthHandle, RingReader, async_trait,
};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;
use tracing::{Span, info, warn};

use crate::{pace::Pace, port::Port};

/// What a stream may fall behind before it loses bytes: 90 s at 115200 baud.
const RING: usize = 1024 * 1024;
/// The most that is taken from the port at once: sixteen of the pages that the tty layer hands out.
const READ_SIZE: usize = 64 * 1024;
/// Streams on one port at a time. Twenty clients with a few consoles each are a lot; more are
/// streams that somebody forgot.
const MAX_STREAMS: usize = 64;

#[derive(Debug)]
pub(crate) struct Console {
    url: String,
    port: Port,
    pace: Pace,
    ring: ByteRing,
    /// Held for a whole frame; waiters are served in order, which is what alternates them.
    turn: tokio::sync::Mutex<()>,
    streams: Mutex<Vec<Weak<StreamState>>>,
    lost: OnceLock<String>,
}

#[derive(Debug, Default)]
struct StreamState {
    half_closed: AtomicBool,
    ended: CancellationToken,
}

impl Console {
    pub(crate) fn new(url: String, port: Port, pace: Pace) -> Self {
        Self {
            url,
            port,
            pace,
            ring: ByteRing::new(RING),
            turn: tokio::sync::Mutex::default(),
            streams: Mutex::default(),
            lost: OnceLock::new(),
        }
    }

    /// Reads the port until it is lost. The one reader of the port.
    pub(crate) async fn run(&self, health: HealthHandle) {
        let mut buffer = vec![0; READ_SIZE];
        let reason = loop {
            match self.port.read(&mut buffer).await {
                Ok(0) => break "the other side is gone".to_owned(),
                Ok(length) => self.ring.push(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break error.to_string(),
            }
        };
        let reason = format!("{} was lost: {reason}", self.url);
        // Before the ring ends, so that its readers find the reason.
        self.lost.set(reason.clone()).ok();
        self.close();
        health.lost(reason);
    }

    /// Opens a stream for a client. Half-closed ones end.
    pub(crate) fn connect(self: &Arc<Self>) -> Result<ByteStream, DriverError> {
        let stream = Arc::new(StreamState::default());
        {
            let mut streams = self.streams();
            streams.retain(|stream| {
                let Some(stream) = stream.upgrade() else {
                    return false;
                };
                if stream.half_closed.load(Ordering::Acquire) {
                    stream.ended.cancel();
                }
                !stream.ended.is_cancelled()
            });
            if streams.len() >= MAX_STREAMS {
                let url = &self.url;
                let text = format!("{url} has {MAX_STREAMS} streams open; close some");
                return Err(DriverError::Exhausted(text));
            }
            streams.push(Arc::downgrade(&stream));
        }
        let reader = StreamReader {
            console: self.clone(),
            ring: self.ring.reader(),
            stream: stream.clone(),
            loss_told: false,
            span: Span::current(),
        };
        let reader = futures::stream::unfold(reader, async |mut reader| {
            reader.next().await.map(|item| (item, reader))
        });
        let writer = StreamWriter {
            console: self.clone(),
            stream,
        };
        Ok(ByteStream::new(reader, writer))
    }

    /// Ends the streams of clients; the port stays. Tells whether there were any.
    pub(crate) fn end_streams(&self) -> bool {
        let streams = std::mem::take(&mut *self.streams());
        let mut any = false;
        for stream in streams.iter().filter_map(Weak::upgrade) {
            stream.ended.cancel();
            any = true;
        }
        any
    }

    /// Lets the port go; streams read what is left and end.
    pub(crate) fn close(&self) {
        self.port.close();
        self.ring.close();
    }

    fn streams(&self) -> std::sync::MutexGuard<'_, Vec<Weak<StreamState>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_failed(&self, error: &io::Error) -> DriverError {
        if let Some(reason) = self.lost.get() {
            return DriverError::Unavailable(reason.clone());
        }
        let what = format!("cannot write {}", self.url);
        let gone = [Errno::IO, Errno::NXIO, Errno::NODEV].map(Errno::raw_os_error);
        if error.raw_os_error().is_some_and(|n| gone.contains(&n)) {
            return DriverError::Unavailable(format!("{what}: {error}"));
        }
        DriverError::io(what, error)
    }
}

struct StreamReader {
    console: Arc<Console>,
    ring: RingReader,
    stream: Arc<StreamState>,
    loss_told: bool,
    span: Span,
}

impl StreamReader {
    async fn next(&mut self) -> Option<Result<Bytes, DriverError>> {
        // cancel-safe: `ended` only waits, the ring takes nothing unless it completes.
        let item = tokio::select! {
            biased;
            () = self.stream.ended.cancelled() => return None,
            item = self.ring.next() => item,
        };
        match item {
            Some((bytes, lost)) => {
                if lost > 0 {
                    let url = &self.console.url;
                    warn!(
                        url,
                        lost, "A stream is too slow: {lost} bytes were lost to it."
                    );
                }
                Some(Ok(bytes))
            }
            None => {
                let reason = self.console.lost.get()?.clone();
                // The error is the last item.
                let told = std::mem::replace(&mut self.loss_told, true);
                (!told).then_some(Err(DriverError::Unavailable(reason)))
            }
        }
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        let url = &self.console.url;
        self.span.in_scope(|| info!("Disconnected from {url}"));
    }
}

struct StreamWriter {
    console: Arc<Console>,
    stream: Arc<StreamState>,
}

impl StreamWriter {
    async fn write(&self, bytes: Bytes) -> Result<(), DriverError> {
        let console = &self.console;
        let _turn = console.turn.lock().await;
        for (wait, piece) in console.pace.pieces(bytes) {
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            let written = console.port.write_all(&piece).await;
            written.map_err(|error| console.write_failed(&error))?;
        }
        Ok(())
    }
}

#[async_trait]
impl ByteSink for StreamWriter {
    async fn send(&mut self, bytes: Bytes) -> Result<(), DriverError> {
        // cancel-safe: a stream that ended sends nothing more.
        tokio::select! {
            biased;
            () = self.stream.ended.cancelled() => {
                let url = &self.console.url;
                Err(DriverError::Cancelled(format!("the stream on {url} was closed")))
            }
            done = self.write(bytes) => done,
        }
    }

    async fn finish(&mut self) -> Result<(), DriverError> {
        self.stream.half_closed.store(true, Ordering::Release);
        Ok(())
    }
}
