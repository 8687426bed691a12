//! A console: what a port and the streams of its clients share, over every loss of the port.
//!
//! ```text
//!   presence:  lent ──wanted──> open ──lost──> away ──found again──> open
//!                ^───unwanted────┴───────────────┘
//! ```
//!
//! The keeper moves the presence and records what comes; streams live in `streams`. What is sent
//! while the port is away is discarded, never kept: a board that comes back must not be typed at
//! what somebody meant for the one before.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use rigd_driver::{ByteRing, ConsoleTap, DriverError, KeyKind, RingReader, async_trait};
use rustix::io::Errno;
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    capture::Capture,
    pace::Pace,
    port::Port,
    settings::Settings,
    streams::{Streams, send_frame},
    wire::{OPEN_LIMIT, Order},
};

/// What a reader may fall behind before it loses bytes: 90 s at 115200 baud.
pub(crate) const RING: usize = 1024 * 1024;
/// How long a user of a port that is lent waits for its opening: one attempt, and the release of the
/// one before.
const TAKE_LIMIT: Duration = Duration::from_secs(OPEN_LIMIT.as_secs() + 2);

/// Whether there is a port to talk to.
#[derive(Debug, Clone)]
pub(crate) enum Presence {
    /// Nobody wants it: others may have it.
    Lent,
    /// It is open.
    Open(Arc<Port>),
    /// It is wanted, and cannot be had for this reason.
    Away(String),
}

/// What of the record belongs to the lease that lasts.
#[derive(Debug)]
struct Mine {
    /// Place in the record where it began; past every place while there is none.
    start: u64,
    /// A client has attached in it.
    attached: bool,
}

/// What a console is made from.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What the port is called, in the log and in errors.
    pub(crate) name: String,
    /// How the line is set when a lease begins.
    pub(crate) settings: Settings,
    pub(crate) pace: Pace,
    /// Bytes of its own lease for the first client of a lease.
    pub(crate) history: usize,
    /// Where everything that is said goes as well.
    pub(crate) capture: Option<Capture>,
}

/// A port, what it has said, and the streams of its clients.
#[derive(Debug)]
pub(crate) struct Console {
    name: String,
    pub(crate) pace: Pace,
    record: ByteRing,
    capture: Option<Capture>,
    pub(crate) streams: Streams,
    presence: watch::Sender<Presence>,
    wanted: watch::Sender<usize>,
    configured: Settings,
    now: Mutex<Settings>,
    history: usize,
    mine: Mutex<Mine>,
    /// Bytes sent since the port went away.
    discarded: AtomicU64,
    closed: CancellationToken,
}

impl Console {
    /// A console whose port nobody wants yet.
    pub(crate) fn new(plan: Plan) -> Self {
        let Plan {
            name,
            settings,
            pace,
            history,
            capture,
        } = plan;
        Self {
            name,
            pace,
            record: ByteRing::new(RING),
            capture,
            streams: Streams::default(),
            presence: watch::Sender::new(Presence::Lent),
            wanted: watch::Sender::new(0),
            configured: settings,
            now: Mutex::new(settings),
            history,
            mine: Mutex::new(Mine {
                start: u64::MAX,
                attached: false,
            }),
            discarded: AtomicU64::new(0),
            closed: CancellationToken::new(),
        }
    }

    /// What the port is called.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The port said this, now.
    pub(crate) fn heard(&self, bytes: &[u8]) {
        let now = SystemTime::now();
        self.record.push_at(now, bytes);
        if let Some(capture) = &self.capture {
            capture.offer(now, bytes);
        }
    }

    /// Wants the port until the result is dropped.
    pub(crate) fn want(self: &Arc<Self>) -> Want {
        self.wanted.send_modify(|count| *count += 1);
        Want(self.clone())
    }

    /// How many want it.
    pub(crate) fn wanted(&self) -> watch::Receiver<usize> {
        self.wanted.subscribe()
    }

    /// How the port is to be set now.
    pub(crate) fn settings(&self) -> Settings {
        *lock(&self.now)
    }

    /// The port is open.
    pub(crate) fn opened(&self, port: Arc<Port>) {
        self.presence.send_replace(Presence::Open(port));
    }

    /// The port cannot be had.
    pub(crate) fn away(&self, reason: String) {
        self.presence.send_replace(Presence::Away(reason));
    }

    /// Others may have the port.
    pub(crate) fn lent(&self) {
        self.presence.send_replace(Presence::Lent);
    }

    /// Bytes that were sent and discarded since the last question.
    pub(crate) fn take_discarded(&self) -> u64 {
        self.discarded.swap(0, Ordering::Relaxed)
    }

    /// The port, which the caller wants: waits while it is being opened.
    ///
    /// # Errors
    /// Unavailable: it cannot be had.
    pub(crate) async fn port(&self) -> Result<Arc<Port>, DriverError> {
        let mut presence = self.presence.subscribe();
        let decided = presence.wait_for(|presence| match presence {
            Presence::Lent => false,
            // One that is being let go is no port any more; the keeper says so next.
            Presence::Open(port) => !port.is_closed(),
            Presence::Away(_) => true,
        });
        match timeout(TAKE_LIMIT, decided).await {
            Ok(Ok(decided)) => match &*decided {
                Presence::Open(port) => Ok(port.clone()),
                Presence::Away(reason) => Err(DriverError::Unavailable(reason.clone())),
                Presence::Lent => Err(self.not_opened()),
            },
            Ok(Err(_)) | Err(_) => Err(self.not_opened()),
        }
    }

    fn not_opened(&self) -> DriverError {
        let limit = TAKE_LIMIT.as_secs();
        DriverError::Unavailable(format!("{} was not opened within {limit} s", self.name))
    }

    /// Sends a piece to the port, or to nowhere while it is away.
    pub(crate) async fn send(&self, bytes: &[u8]) -> Result<(), DriverError> {
        let presence = self.presence.borrow().clone();
        let port = match presence {
            Presence::Open(port) => port,
            Presence::Lent => self.port().await?,
            Presence::Away(_) => {
                self.discard(bytes);
                return Ok(());
            }
        };
        let Err(error) = port.write_all(bytes).await else {
            return Ok(());
        };
        if is_gone(&error) {
            // The keeper reads this now, if it has not heard by itself.
            port.fail(error.to_string());
        }
        if port.is_closed() {
            self.discard(bytes);
            return Ok(());
        }
        Err(DriverError::io(
            format_args!("cannot write {}", self.name),
            &error,
        ))
    }

    fn discard(&self, bytes: &[u8]) {
        let count = bytes.len() as u64;
        self.discarded.fetch_add(count, Ordering::Relaxed);
    }

    /// Does what is ordered; what it sets stays until the lease ends. When the device refuses,
    /// everything stays as it was.
    pub(crate) async fn order(self: &Arc<Self>, order: Order) -> Result<(), DriverError> {
        let _want = self.want();
        self.port().await?.order(order).await?;
        let mut now = lock(&self.now);
        *now = order.applied(*now);
        Ok(())
    }

    /// A lease begins: DTR and RTS are as configured again, which is the only time that their level
    /// changes by itself.
    pub(crate) async fn lease_start(&self) -> Result<(), DriverError> {
        *lock(&self.mine) = Mine {
            start: self.record.position(),
            attached: false,
        };
        let before = {
            let mut now = lock(&self.now);
            std::mem::replace(&mut *now, self.configured)
        };
        let Presence::Open(port) = self.presence.borrow().clone() else {
            return Ok(());
        };
        if before.dtr != self.configured.dtr {
            port.order(Order::Dtr(self.configured.dtr)).await?;
        }
        if before.rts != self.configured.rts {
            port.order(Order::Rts(self.configured.rts)).await?;
        }
        Ok(())
    }

    /// The lease is over: its streams end, nothing of it is readable any more, and the line is set
    /// as configured; DTR and RTS keep their level.
    pub(crate) async fn lease_end(&self) -> Result<(), DriverError> {
        self.streams.end();
        lock(&self.mine).start = u64::MAX;
        let (before, wanted) = {
            let mut now = lock(&self.now);
            let before = *now;
            *now = Settings {
                dtr: before.dtr,
                rts: before.rts,
                ..self.configured
            };
            (before, *now)
        };
        let Presence::Open(port) = self.presence.borrow().clone() else {
            // It is opened with the new ones.
            return Ok(());
        };
        if before == wanted {
            return Ok(());
        }
        let done = port.order(Order::Set(wanted)).await;
        if done.is_err() {
            // The next lease must not find what this one set: it is opened anew.
            port.fail("it cannot be set back to what is configured".into());
        }
        done
    }

    /// A reader for a stream that begins now: the first client of a lease gets what the lease has
    /// printed, at most `history` bytes.
    pub(crate) fn reader(&self, kind: KeyKind) -> RingReader {
        let mut mine = lock(&self.mine);
        if kind != KeyKind::Client || std::mem::replace(&mut mine.attached, true) {
            return self.record.reader();
        }
        self.record.reader_of_last(self.history, mine.start)
    }

    /// Waits until others can have the port. Cancel-safe.
    pub(crate) async fn released(&self) {
        let mut presence = self.presence.subscribe();
        let free = |presence: &Presence| !matches!(presence, Presence::Open(_));
        // An error would mean that the console itself is gone.
        presence.wait_for(free).await.ok();
    }

    /// Lets the port go for good; streams read what is left and end.
    pub(crate) async fn close(&self) {
        self.closed.cancel();
        let gone = Presence::Away("the daemon stops".into());
        if let Presence::Open(port) = self.presence.send_replace(gone) {
            port.close().await;
        }
        self.record.close();
        if let Some(capture) = &self.capture {
            capture.close().await;
        }
    }

    /// Resolves when the console is closed for good. Cancel-safe.
    pub(crate) async fn closed(&self) {
        self.closed.cancelled().await;
    }
}

/// Keeps the port open as long as it is held.
#[derive(Debug)]
pub(crate) struct Want(Arc<Console>);

impl Drop for Want {
    fn drop(&mut self) {
        self.0.wanted.send_modify(|count| *count -= 1);
    }
}

/// The console as a person on the lab host has it.
pub(crate) struct Tap(pub(crate) Arc<Console>);

#[async_trait]
impl ConsoleTap for Tap {
    fn record(&self) -> &ByteRing {
        &self.0.record
    }

    async fn send(&self, frame: Bytes) -> Result<(), DriverError> {
        let _want = self.0.want();
        self.0.port().await?;
        send_frame(&self.0, frame).await
    }
}

/// Whether an error says that there is no device any more.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    let numbers = [Errno::IO, Errno::NXIO, Errno::NODEV].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|n| numbers.contains(&n))
        || matches!(
            error.kind(),
            K::BrokenPipe | K::ConnectionReset | K::ConnectionAborted | K::TimedOut
        )
}

fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}
