//! Owns the tunnels of one lease: from what the controller's Listen says to connections that the
//! session serves.
//!
//! ```text
//!   Listen item ─> dial ─> connect, again and again ─> RouterService.Stream ─> incoming ─> serve
//!                    └ refused: too many, unreadable       └ given up after 15 s
//! ```
//!
//! Each tunnel has a connection to the router of its own, so that a client that stops reading
//! stalls nobody else. Clients come and go without a byte: whoever asks whether a socket is open
//! makes a tunnel.

mod io;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use rigd_proto::v1::ListenResponse;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};
use tracing::Instrument;

use self::io::Life;
pub(crate) use self::io::TunnelIo;
use crate::transport::{Connection, killable::Killable};

/// Tunnels of one lease at once. One client has a handful, each `j` of a script one more; whoever
/// makes this many does not close them.
const MAX_TUNNELS: usize = 128;
/// Tunnels that are open and wait for the server to take them, which it does at once.
const WAITING_TUNNELS: usize = 16;
/// How long the way to the router is looked for. The client on the other side gives up after that
/// or dials anew.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// One attempt, so that a lost packet does not cost them all.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(5);
/// Before the second attempt; twice as long before each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(300);
/// From the open call to the client's first bytes. The client has its half of the token at the same
/// time as we do, but may have the slower way to the router.
const PREFACE_LIMIT: Duration = Duration::from_secs(60);
/// What tasks may take that have been told to end.
const CUT_LIMIT: Duration = Duration::from_secs(1);

/// A connection of a client that came through a router.
pub(crate) type Tunnel = Killable<TunnelIo, Connection>;

/// What went wrong on the way to a router.
pub(crate) type ConnectError = Box<dyn std::error::Error + Send + Sync>;

/// How a tunnel comes to a connection of its own.
pub(crate) trait Connect: Send + Sync + 'static {
    /// Connects to `host:port`; the connection fails once `cut` is cancelled, whatever is still to
    /// be sent. Cancel-safe: a connection that nobody got is closed.
    fn connect(
        &self,
        endpoint: &str,
        cut: CancellationToken,
    ) -> impl Future<Output = Result<Channel, ConnectError>> + Send;
}

/// The tunnels of one lease.
#[derive(Debug)]
pub(crate) struct Tunnels<C> {
    dialer: Arc<C>,
    incoming: mpsc::Sender<std::io::Result<Tunnel>>,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    cut: CancellationToken,
}

impl<C: Connect> Tunnels<C> {
    /// No tunnels yet, and where those to come are served from. All of them fail once `cut` is
    /// cancelled.
    pub(crate) fn new(
        dialer: Arc<C>,
        cut: CancellationToken,
    ) -> (Self, ReceiverStream<std::io::Result<Tunnel>>) {
        let (incoming, served) = mpsc::channel(WAITING_TUNNELS);
        let tunnels = Self {
            dialer,
            incoming,
            places: Arc::new(Semaphore::new(MAX_TUNNELS)),
            tasks: TaskTracker::new(),
            cut,
        };
        (tunnels, ReceiverStream::new(served))
    }

    /// Opens the tunnel that the controller asked for; returns at once. What goes wrong is in the
    /// log, and the client dials anew. To be called in a runtime.
    pub(crate) fn dial(&self, item: ListenResponse) {
        let router: Arc<str> = item.router_endpoint.into();
        let token: Arc<str> = item.router_token.into();
        let Some(bearer) = bearer(&token) else {
            tracing::warn!(%router, "Refused a tunnel: its token is empty or has characters that no header carries.");
            return;
        };
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            tracing::warn!(%router, limit = MAX_TUNNELS, "Refused a tunnel: the lease has as many as it may.");
            return;
        };
        let opening = Opening {
            dialer: self.dialer.clone(),
            router,
            token,
            bearer,
            place,
            tasks: self.tasks.clone(),
            cut: self.cut.child_token(),
        };
        let (incoming, cut) = (self.incoming.clone(), self.cut.clone());
        let task = async move {
            // cancel-safe: a tunnel that is not handed over is dropped, and cut with the rest.
            tokio::select! {
                () = open(opening, incoming) => {}
                () = cut.cancelled() => {}
            }
        };
        self.tasks.spawn(task.in_current_span());
    }

    /// How many tunnels there are, those included that are being opened or closed.
    pub(crate) fn open(&self) -> usize {
        MAX_TUNNELS - self.places.available_permits()
    }

    /// Cuts what is left and waits until its tasks are gone, at most a second.
    pub(crate) async fn end(self) {
        self.cut.cancel();
        self.tasks.close();
        if timeout(CUT_LIMIT, self.tasks.wait()).await.is_err() {
            tracing::warn!(
                left = self.tasks.len(),
                "Tunnels did not end although they were cut."
            );
        }
    }
}

/// A tunnel on its way.
struct Opening<C> {
    dialer: Arc<C>,
    router: Arc<str>,
    token: Arc<str>,
    bearer: MetadataValue<Ascii>,
    place: OwnedSemaphorePermit,
    tasks: TaskTracker,
    cut: CancellationToken,
}

fn bearer(token: &str) -> Option<MetadataValue<Ascii>> {
    if token.is_empty() {
        return None;
    }
    let mut bearer: MetadataValue<Ascii> = format!("Bearer {token}").parse().ok()?;
    // Neither shown nor kept in the tables of the connection.
    bearer.set_sensitive(true);
    Some(bearer)
}

async fn open<C: Connect>(opening: Opening<C>, incoming: mpsc::Sender<std::io::Result<Tunnel>>) {
    let router = opening.router.clone();
    let link = opening.cut.child_token();
    let channel = match connect(&*opening.dialer, &router, &link).await {
        Ok(channel) => channel,
        Err(error) => {
            tracing::warn!(%router, %error, "Cannot reach the router; the client has to dial again.");
            return;
        }
    };
    let cut = opening.cut;
    let life = Life {
        router: router.clone(),
        cut: cut.clone(),
        link: link.drop_guard(),
        tasks: opening.tasks,
        place: opening.place,
    };
    let io = TunnelIo::open(channel, opening.token, opening.bearer, life).await;
    tracing::debug!(%router, "Opened a tunnel.");
    let tunnel = Killable::new(io, cut, Connection::default())
        // The bytes inside are a client's own, which dialled a unix socket on its side.
        .with_authority_filter()
        .with_preface_within(PREFACE_LIMIT);
    if incoming.send(Ok(tunnel)).await.is_err() {
        tracing::debug!(%router, "Dropped a tunnel: the session takes no more connections.");
    }
}

/// Tries until it works or the time is over; the error is that of the last attempt.
async fn connect<C: Connect>(
    dialer: &C,
    router: &str,
    link: &CancellationToken,
) -> Result<Channel, ConnectError> {
    let deadline = Instant::now() + CONNECT_LIMIT;
    let mut pause = FIRST_PAUSE;
    loop {
        let limit = deadline.min(Instant::now() + ATTEMPT_LIMIT);
        let error = match timeout_at(limit, dialer.connect(router, link.clone())).await {
            Ok(Ok(channel)) => return Ok(channel),
            Ok(Err(error)) => error,
            Err(_) => "it did not answer in time".into(),
        };
        if Instant::now() + pause >= deadline {
            return Err(error);
        }
        tracing::debug!(router, %error, "Cannot reach the router yet.");
        sleep(pause).await;
        pause *= 2;
    }
}
