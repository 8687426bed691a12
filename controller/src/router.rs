//! RouterService: joins the two calls that come with one stream's token, and copies their frames.
//!
//! ```text
//!   client ──requests──> ┌────────┐ ──responses──> exporter
//!          <─responses── └────────┘ <──requests──
//! ```
//!
//! Frames are copied as they are, of unknown types and empty ones too. Every call is answered at
//! once; what the first end sends while it waits is held back by flow control.
//!
//! **Memory** of an end is what HTTP/2 may hold of it, its server's stream window (tiny frames cost
//! some 30 times their bytes there), and two messages in hand, at most 4 MiB each, with the peers'
//! frames 64 KiB. Nothing else grows with what peers send. An end that is not read holds a window of
//! its own connection and of no other.
//!
//! **Windows** are the server's to set: the tiny frames that fit a stream's must stay within h2's
//! budget for them, half of the connection's window, or an end that nobody reads ends its
//! connection. With 512 KiB and 64 MiB there is room for one such end. Both known peers open a
//! connection for each stream.
//!
//! What it must never do: print a token, or wait for one end before it serves another.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use rigd_proto::v1::{
    StreamRequest,
    router_service_server::{RouterService, RouterServiceServer},
};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

use crate::auth::{Token, stream_token};

mod outbound;
mod pair;
mod table;
#[cfg(test)]
mod tests;

pub use outbound::Outbound;

use pair::{Pair, Side, Tunnel};
use table::{Arrival, Bounds, Refused, Table};

/// Longer than hooks take that run before a client's end is served.
const WAIT: Duration = Duration::from_secs(10 * 60);
/// Streams of a lease that may wait. Every command of a client is one, and they all wait for the
/// lease's hook.
const WAITING_OF_A_LEASE: usize = 64;
/// Streams that may wait in all: a shelf of exporters whose hooks run.
const WAITING: usize = 4096;

/// Decides who may open a stream.
pub trait Passes: Send + Sync {
    /// What the token is good for, now: the lease is still in that epoch. It is asked twice for each
    /// call, so that no call slips in beside a [`Router::cut`]; it must not block.
    ///
    /// # Errors
    /// The status for the caller, UNAUTHENTICATED.
    #[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
    fn admit(&self, token: &Token) -> Result<Pass, Status>;

    /// The first end of a stream has come. It is called once for a stream, and [`Passes::closed`]
    /// after it, neither of them from within [`Router::cut`]; they must not block.
    fn opened(&self, pass: &Pass) {
        let _ = pass;
    }

    /// An end of the stream has left, or nobody came to join the first one.
    fn closed(&self, pass: &Pass) {
        let _ = pass;
    }
}

/// What a good token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// The stream, the same for both of its ends and for no other.
    pub stream: String,
    /// Name of the lease that it belongs to.
    pub lease: String,
    /// Epoch of that lease.
    pub epoch: u64,
}

/// How long and how many streams may wait for their other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouterLimits {
    /// How long each of them.
    pub wait: Duration,
    /// How many of one lease.
    pub waiting_of_a_lease: usize,
    /// How many in all.
    pub waiting: usize,
}

impl Default for RouterLimits {
    fn default() -> Self {
        Self {
            wait: WAIT,
            waiting_of_a_lease: WAITING_OF_A_LEASE,
            waiting: WAITING,
        }
    }
}

/// Why streams of a lease are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// It ended: all of them.
    Ended,
    /// It has another holder since this epoch: those of earlier ones.
    Transferred {
        /// The lowest epoch that stays.
        epoch: u64,
    },
}

/// What the router does and did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RouterStats {
    /// Streams that wait for their other end.
    pub waiting: usize,
    /// Streams that were joined and of which an end is still there.
    pub pairs: usize,
    /// Streams joined since the start.
    pub joined: u64,
    /// Calls with a good token that were refused since the start.
    pub refused: u64,
    /// Streams cut since the start.
    pub cut: u64,
    /// Payload bytes handed on since the start.
    pub bytes: u64,
}

/// Joins streams; clones are the same router.
#[derive(Clone)]
pub struct Router {
    passes: Arc<dyn Passes>,
    shared: Arc<Shared>,
}

/// What calls need of the router.
#[derive(Debug)]
struct Shared {
    limits: RouterLimits,
    table: Mutex<Table<Arc<Pair>>>,
    counts: Counts,
    /// Those that give a reader some time for what a peer that left had sent.
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct Counts {
    joined: AtomicU64,
    refused: AtomicU64,
    cut: AtomicU64,
    bytes: AtomicU64,
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table<Arc<Pair>>> {
        // Nothing of the table panics half-way; what is in it is decided before it is changed.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = self.stats();
        out.debug_struct("Router").field("stats", &stats).finish()
    }
}

impl Router {
    /// A router for those whom `passes` admits.
    pub fn new(passes: Arc<dyn Passes>, limits: RouterLimits) -> Self {
        let bounds = Bounds {
            of_a_lease: limits.waiting_of_a_lease,
            in_all: limits.waiting,
        };
        let shared = Shared {
            limits,
            table: Mutex::new(Table::new(bounds)),
            counts: Counts::default(),
            tasks: TaskTracker::new(),
        };
        Self {
            passes,
            shared: Arc::new(shared),
        }
    }

    /// The service for a server.
    pub fn service(&self) -> RouterServiceServer<Self> {
        RouterServiceServer::new(self.clone())
    }

    /// Ends streams of a lease with ABORTED, joined ones and those that wait, and gives how many.
    ///
    /// When it returns, nothing more is read of them. What was handed to a peer's connection before
    /// may still arrive, and a peer that does not read is told when it reads. What
    /// [`Passes::admit`] knows of the lease must have changed before this is called.
    pub fn cut(&self, lease: &str, cut: Cut) -> usize {
        let pairs = self.shared.table().cut(lease, cut, Instant::now());
        let status = Status::aborted(match cut {
            Cut::Ended => "the lease of this stream has ended",
            Cut::Transferred { .. } => "the lease of this stream has another holder now",
        });
        for pair in &pairs {
            pair.cut(status.clone());
        }
        if !pairs.is_empty() {
            self.shared
                .counts
                .cut
                .fetch_add(pairs.len() as u64, Relaxed);
            tracing::debug!(
                lease,
                ?cut,
                streams = pairs.len(),
                "Streams of a lease were cut."
            );
        }
        pairs.len()
    }

    /// What it does and did.
    pub fn stats(&self) -> RouterStats {
        let table = self.shared.table();
        let counts = &self.shared.counts;
        RouterStats {
            waiting: table.waiting(),
            pairs: table.joined(),
            joined: counts.joined.load(Relaxed),
            refused: counts.refused.load(Relaxed),
            cut: counts.cut.load(Relaxed),
            bytes: counts.bytes.load(Relaxed),
        }
    }

    /// Gives the call its place. There is nothing to await in it: a call that is dropped leaves
    /// either no trace or through its [`Outbound`].
    fn join(&self, pass: &Pass, requests: Streaming<StreamRequest>) -> Result<Outbound, Refused> {
        let arrival = self
            .shared
            .table()
            .arrive(pass, Instant::now(), |serial| Arc::new(Pair::new(serial)));
        let (pair, side) = match arrival {
            Arrival::First(pair) => {
                pair.count(Tunnel::open(&self.passes, pass));
                (pair, Side::First)
            }
            Arrival::Second(pair) => {
                self.shared.counts.joined.fetch_add(1, Relaxed);
                (pair, Side::Second)
            }
            Arrival::Refused(why) => {
                self.shared.counts.refused.fetch_add(1, Relaxed);
                tracing::debug!(lease = pass.lease, ?why, "A stream was refused.");
                // An answer like any other that ends, as if it had come a moment sooner.
                return match why {
                    Refused::Gone => Ok(Outbound::late()),
                    why => Err(why),
                };
            }
        };
        pair.open(side, requests);
        let (shared, stream) = (Arc::clone(&self.shared), pass.stream.clone());
        Ok(Outbound::new(shared, pair, side, stream))
    }

    #[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
    fn refusal(&self, why: Refused) -> Status {
        let limits = &self.shared.limits;
        match why {
            Refused::Lease => Status::resource_exhausted(format!(
                "{} streams of this lease wait for their other end already",
                limits.waiting_of_a_lease
            )),
            Refused::All => Status::resource_exhausted(format!(
                "{} streams wait for their other end already",
                limits.waiting
            )),
            Refused::Third => Status::already_exists(
                "both ends of this stream have come already; a new one begins with Dial",
            ),
            Refused::Gone => pair::left(),
            // Not a pass that this controller gave.
            Refused::Other => Status::unauthenticated("invalid jwt token"),
        }
    }
}

#[tonic::async_trait]
impl RouterService for Router {
    type StreamStream = Outbound;

    async fn stream(
        &self,
        request: Request<Streaming<StreamRequest>>,
    ) -> Result<Response<Outbound>, Status> {
        let token = stream_token(request.metadata())?;
        let pass = self.passes.admit(&token)?;
        let outbound = self
            .join(&pass, request.into_inner())
            .map_err(|why| self.refusal(why))?;
        // A cut between the two lines above did not see this call.
        if let Err(status) = self.passes.admit(&token) {
            // Only streams of this call's epoch or earlier ones: the other end is no better.
            outbound.cut(status.clone());
            return Err(status);
        }
        Ok(Response::new(outbound))
    }
}
