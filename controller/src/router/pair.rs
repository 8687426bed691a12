//! Two calls whose frames are copied to each other.
//!
//! ```text
//!   first's requests  ──> lane of the first  ──> second's responses
//!   second's requests ──> lane of the second ──> first's responses
//! ```
//!
//! There is no task and no queue in between: whoever writes a call's responses reads the other
//! call's requests, so that a peer which does not read stops the other one through HTTP/2's own flow
//! control, and nobody else. What is on its way belongs to HTTP/2 but for the frame in hand. Only
//! what a peer that left had sent may have to wait for a reader that does not come: for that there
//! is [`LINGER`].
//!
//! A pair is settled once, by the first of: both lanes ended, one call failed or left, time ran out,
//! cut. What was sent before an end left still arrives, unless the pair was cut.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use futures::Stream as _;
use rigd_proto::v1::{StreamRequest, StreamResponse};
use tokio::task::coop::poll_proceed;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::{Pass, Passes, table::Serial};

/// How long frames of an end that left wait for the other one to read them. A live peer takes a
/// window full of them within this also over a slow line (512 KiB at 0.5 Mbit/s).
pub(super) const LINGER: Duration = Duration::from_secs(10);

/// Which of the two came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    First,
    Second,
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// How a pair came to its end.
#[derive(Debug, Clone)]
pub(super) enum Fate {
    /// Both directions ended.
    Over,
    /// One end left.
    Left,
    /// What this end sent could not be read; it is told why.
    Failed(Side, Status),
    /// Both are told this.
    Ended(Status),
}

/// What two calls share.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) serial: Serial,
    fate: OnceLock<Fate>,
    /// Of lanes that ended cleanly.
    ended: AtomicU8,
    first: Lane,
    second: Lane,
    /// From when the first end has come until one has left.
    tunnel: Mutex<Option<Tunnel>>,
    /// Cancelled when both ends have left.
    pub(super) last_left: CancellationToken,
}

/// A stream, as those see it who count them; dropping it is its end.
pub(super) struct Tunnel {
    passes: Arc<dyn Passes>,
    pass: Pass,
}

impl Tunnel {
    pub(super) fn open(passes: &Arc<dyn Passes>, pass: &Pass) -> Self {
        passes.opened(pass);
        Self {
            passes: Arc::clone(passes),
            pass: pass.clone(),
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.passes.closed(&self.pass);
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Tunnel").field(&self.pass).finish()
    }
}

/// What one call sends.
#[derive(Debug, Default)]
struct Lane(Mutex<LaneState>);

#[derive(Debug, Default)]
struct LaneState {
    source: Source,
    /// The call that it is for.
    reader: Option<Waker>,
}

#[derive(Debug, Default)]
enum Source {
    /// Its call has not come.
    #[default]
    Vacant,
    // Boxed, as most of a pair's life is spent without moving it.
    Open(Box<Streaming<StreamRequest>>),
    Ended,
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, LaneState> {
        // A reader that panicked left a stream at worst in the middle of a frame, and it fails then.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        let reader = self.lock().reader.take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl Pair {
    pub(super) fn new(serial: Serial) -> Self {
        Self {
            serial,
            fate: OnceLock::new(),
            ended: AtomicU8::new(0),
            first: Lane::default(),
            second: Lane::default(),
            tunnel: Mutex::new(None),
            last_left: CancellationToken::new(),
        }
    }

    fn lane(&self, of: Side) -> &Lane {
        match of {
            Side::First => &self.first,
            Side::Second => &self.second,
        }
    }

    /// The call of this end is there.
    pub(super) fn open(&self, of: Side, requests: Streaming<StreamRequest>) {
        let mut lane = self.lane(of).lock();
        // It may have been cut in this moment.
        if matches!(lane.source, Source::Vacant) {
            lane.source = Source::Open(Box::new(requests));
        }
        drop(lane);
        self.lane(of).wake();
    }

    /// The first end has come, and leaves only after this.
    pub(super) fn count(&self, tunnel: Tunnel) {
        *self.tunnel() = Some(tunnel);
    }

    /// An end has left. Must not be called under a lock of those who count tunnels.
    pub(super) fn part(&self) {
        let tunnel = self.tunnel().take();
        drop(tunnel);
    }

    fn tunnel(&self) -> MutexGuard<'_, Option<Tunnel>> {
        // It is only ever replaced.
        self.tunnel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Settles how it ends, unless that was settled before.
    pub(super) fn settle(&self, fate: Fate) {
        if self.fate.set(fate).is_ok() {
            self.first.wake();
            self.second.wake();
        }
    }

    /// Ends it for both; nothing that is on its way arrives.
    pub(super) fn cut(&self, status: Status) {
        self.settle(Fate::Ended(status));
        self.close(Side::First);
        self.close(Side::Second);
    }

    /// Reads no more of what this end sends.
    pub(super) fn close(&self, of: Side) {
        self.lane(of).lock().source = Source::Ended;
        self.lane(of).wake();
    }

    /// Whether this end's call is there and may have sent what was not read.
    pub(super) fn is_open(&self, of: Side) -> bool {
        matches!(self.lane(of).lock().source, Source::Open(_))
    }

    /// The next response of this end's call, or how the call ends.
    pub(super) fn poll_response(
        &self,
        to: Side,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StreamResponse, Option<Status>>> {
        // A pair that always has something to copy must not keep others from the processor.
        let budget = ready!(poll_proceed(cx));
        if let Some(frame) = ready!(self.poll_lane(to.other(), cx)) {
            budget.made_progress();
            return Poll::Ready(Ok(frame));
        }
        let Some(fate) = self.fate.get() else {
            return Poll::Pending;
        };
        budget.made_progress();
        Poll::Ready(Err(fate.told(to)))
    }

    /// The next frame of this lane, or `None` when there is none before the pair's fate is known.
    /// Pending only while neither is known; the reader is woken by both.
    fn poll_lane(&self, of: Side, cx: &mut Context<'_>) -> Poll<Option<StreamResponse>> {
        let mut lane = self.lane(of).lock();
        let polled = match &mut lane.source {
            Source::Open(requests) => std::pin::Pin::new(&mut **requests).poll_next(cx),
            Source::Vacant | Source::Ended => Poll::Pending,
        };
        let fate = match polled {
            Poll::Ready(Some(Ok(StreamRequest {
                payload,
                frame_type,
            }))) => {
                return Poll::Ready(Some(StreamResponse {
                    payload,
                    frame_type,
                }));
            }
            Poll::Ready(None) => {
                lane.source = Source::Ended;
                let both = self.ended.fetch_add(1, Ordering::AcqRel) == 1;
                both.then_some(Fate::Over)
            }
            Poll::Ready(Some(Err(status))) => {
                lane.source = Source::Ended;
                Some(Fate::Failed(of, status))
            }
            Poll::Pending => None,
        };
        // Before the fate is looked at, or its news would be missed.
        match &mut lane.reader {
            Some(reader) => reader.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        drop(lane);
        if let Some(fate) = fate {
            self.settle(fate);
        }
        if self.fate.get().is_some() {
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}

impl Fate {
    /// The status of this end's call; `None` is OK.
    fn told(&self, to: Side) -> Option<Status> {
        match self {
            Self::Over => None,
            Self::Ended(status) => Some(status.clone()),
            Self::Failed(side, status) if *side == to => Some(status.clone()),
            // As Jumpstarter's router: the first one's call ends well however the second one does.
            Self::Failed(..) | Self::Left if to == Side::First => None,
            Self::Failed(..) | Self::Left => Some(left()),
        }
    }
}

/// What the second one is told when the first one left. Peers take this code for a normal end.
pub(super) fn left() -> Status {
    Status::cancelled("the other end of this stream has left")
}
