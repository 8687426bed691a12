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

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use rigd_proto::v1::{ListenResponse, router_service_client::RouterServiceClient};
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
use super::{
    connect::{ConnectError, Phase},
    dialer::Dialer,
};
use crate::{
    config::Endpoint,
    transport::{Connection, killable::Killable},
};

/// Tunnels of one lease at once. One client has a handful, each `j` of a script one more; whoever
/// makes this many does not close them.
const MAX_TUNNELS: usize = 128;
/// Tunnels that are open and wait for the server to take them, which it does at once.
const WAITING_TUNNELS: usize = 16;
/// How long the way to the router is looked for. The client on the other side gives up after that
/// or dials anew.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// Before the second attempt; twice as long before each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(300);
/// From the open call to the client's first bytes. The client has its half of the token at the same
/// time as we do, but may have the slower way to the router.
const PREFACE_LIMIT: Duration = Duration::from_secs(60);
/// Characters that are shown of a router's address that is none.
const SHOWN: usize = 200;
/// What tasks may take that have been told to end.
const CUT_LIMIT: Duration = Duration::from_secs(1);

/// A connection of a client that came through a router.
pub(crate) type Tunnel = Killable<TunnelIo, Connection>;

/// A router at the other end of a connection of its own.
pub(crate) type RouterClient = RouterServiceClient<Channel>;

/// How a tunnel comes to its connection.
pub(crate) trait Connect: Send + Sync + 'static {
    /// Connects; the connection is to fail once `cut` is cancelled, whatever is still to be sent.
    /// Cancel-safe: a connection that nobody got is closed.
    fn connect(
        &self,
        endpoint: &Endpoint,
        cut: CancellationToken,
    ) -> impl Future<Output = Result<RouterClient, ConnectError>> + Send;
}

impl Connect for Dialer {
    async fn connect(
        &self,
        endpoint: &Endpoint,
        cut: CancellationToken,
    ) -> Result<RouterClient, ConnectError> {
        let channel = Dialer::connect(self, endpoint, cut).await?;
        let options = self.options();
        Ok(RouterServiceClient::new(channel)
            .max_decoding_message_size(options.max_receive)
            .max_encoding_message_size(options.max_send))
    }
}

/// The tunnels of one lease.
#[derive(Debug)]
pub(crate) struct Tunnels<C = Dialer> {
    dialer: Arc<C>,
    incoming: mpsc::Sender<std::io::Result<Tunnel>>,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    cut: CancellationToken,
    /// The last few, with the time at which they were asked for.
    recent: Mutex<VecDeque<(Instant, CancellationToken)>>,
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
            recent: Mutex::default(),
        };
        (tunnels, ReceiverStream::new(served))
    }

    /// Opens the tunnel that the controller asked for; returns at once. What goes wrong is in the
    /// log, and the client dials anew. To be called in a runtime.
    pub(crate) fn dial(&self, item: ListenResponse) {
        let router = match item.router_endpoint.parse::<Endpoint>() {
            Ok(router) => router,
            Err(error) => {
                let router: String = item.router_endpoint.chars().take(SHOWN).collect();
                tracing::warn!(?router, %error, "Refused a tunnel: the router's address cannot be read.");
                return;
            }
        };
        let token: Arc<str> = item.router_token.into();
        let Some(bearer) = bearer(&token) else {
            tracing::warn!(%router, "Refused a tunnel: its token is empty or has characters that no header carries.");
            return;
        };
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            tracing::warn!(%router, limit = MAX_TUNNELS, "Refused a tunnel: the lease has as many as it may.");
            return;
        };
        let own_cut = self.cut.child_token();
        self.remember(own_cut.clone());
        let opening = Opening {
            dialer: self.dialer.clone(),
            router,
            token,
            bearer,
            place,
            tasks: self.tasks.clone(),
            cut: own_cut.clone(),
        };
        let (incoming, cut) = (self.incoming.clone(), own_cut);
        let task = async move {
            // cancel-safe: a tunnel that is not handed over is dropped, and cut with the rest.
            tokio::select! {
                () = open(opening, incoming) => {}
                () = cut.cancelled() => {}
            }
        };
        self.tasks.spawn(task.in_current_span());
    }

    fn remember(&self, cut: CancellationToken) {
        if let Ok(mut recent) = self.recent.lock() {
            recent.push_back((Instant::now(), cut));
            if recent.len() > MAX_TUNNELS {
                recent.pop_front();
            }
        }
    }

    /// Cuts those that were asked for within the last `time`: they may be of a client that came in
    /// before the news that it may, and dials again.
    pub(crate) fn cut_since(&self, time: Duration) {
        if let Ok(mut recent) = self.recent.lock() {
            for (_, cut) in recent.drain(..).filter(|(asked, _)| asked.elapsed() < time) {
                cut.cancel();
            }
        }
    }

    /// How many tunnels there are, those included that are being opened or closed.
    pub(crate) fn open(&self) -> usize {
        MAX_TUNNELS - self.places.available_permits()
    }

    /// Waits until there is none; while it waits no place is free for another. Cancel-safe.
    pub(crate) async fn unused(&self) {
        // Fails only when the semaphore is closed, which nobody does.
        self.places.acquire_many(MAX_TUNNELS as u32).await.ok();
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
    router: Endpoint,
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
    let router = opening.router;
    let link = opening.cut.child_token();
    let client = match connect(&*opening.dialer, &router, &link).await {
        Ok(client) => client,
        Err(error) => {
            tracing::warn!(%error, "Cannot open a tunnel; the client has to dial again.");
            return;
        }
    };
    let cut = opening.cut;
    let life = Life {
        router: router.to_string(),
        cut: cut.clone(),
        link: link.drop_guard(),
        tasks: opening.tasks,
        place: opening.place,
    };
    let io = TunnelIo::open(client, opening.token, opening.bearer, life).await;
    tracing::debug!(%router, "Opened a tunnel.");
    let tunnel = Killable::new(io, cut, Connection::default())
        // The bytes inside are a client's own, which dialled a unix socket on its side.
        .with_authority_filter()
        .with_preface_within(PREFACE_LIMIT);
    if incoming.send(Ok(tunnel)).await.is_err() {
        tracing::debug!(%router, "Dropped a tunnel: the session takes no more connections.");
    }
}

/// Tries until it works or the time is over; the error is that of the last attempt. A router that
/// is not trusted will not be a moment later.
async fn connect<C: Connect>(
    dialer: &C,
    router: &Endpoint,
    link: &CancellationToken,
) -> Result<RouterClient, ConnectError> {
    let deadline = Instant::now() + CONNECT_LIMIT;
    let mut pause = FIRST_PAUSE;
    loop {
        let attempt = dialer.connect(router, link.clone());
        let error = match timeout_at(deadline, attempt).await {
            Ok(Ok(client)) => return Ok(client),
            Ok(Err(error)) => error,
            Err(_) => {
                let reason = format!("not connected after {} s", CONNECT_LIMIT.as_secs());
                ConnectError::new(Phase::Tcp, router, reason)
            }
        };
        if error.untrusted || Instant::now() + pause >= deadline {
            return Err(error);
        }
        tracing::debug!(%error, "Trying to reach the router again.");
        sleep(pause).await;
        pause *= 2;
    }
}
