//! The one port of a lab: TLS, all services, and what runs while it is open.
//!
//! ```text
//!   accept ──place──> handshake, preface ──> Connection ──> services
//!                                                  │
//!   shutdown: GOAWAY ──grace──> cut ──1 s──> done  <──┘
//! ```
//!
//! Status and Listen streams are open for as long as an exporter is there, so the cut is what ends a
//! server, not a last resort.

mod accept;
mod connection;
mod health;
mod known;
mod open;
mod places;
mod reflection;
#[cfg(test)]
pub(crate) mod site;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use tokio::{net::TcpListener, sync::Semaphore, time::timeout};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tonic::{service::Routes, transport::Server};

use crate::{
    api::{client::ClientApi, controller::ControllerService},
    auth::FailedLogins,
    certs::{CertError, Certs, REFRESH_EVERY, Refreshed},
    engine::Engine,
    leases::Limits,
    store::StoreError,
};
use health::LabHealth;
use known::Knows;
use places::{Bounds, Places};

/// Flow-control window of one stream. With 1-byte messages (8 bytes with framing) it holds 65 536
/// unread frames, which cost 16.3 MB of the budget below: one stalled stream never ends its
/// connection.
const STREAM_WINDOW: u32 = 512 * 1024;
/// Flow-control window of a connection. Half of it is h2's budget for unread tiny frames (32 MiB):
/// twice what a stalled stream takes.
const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;
/// Frames carry the 64 KiB messages of tunnels in one piece.
const MAX_FRAME: u32 = 128 * 1024;
/// Streams of one connection: an exporter has two and those of its tunnels, a client fewer.
const MAX_STREAMS: u32 = 1024;
/// How often a silent peer is pinged; peers themselves ping as often, and may.
const PING_EVERY: Duration = Duration::from_secs(20);
/// A peer that does not answer for so long is gone.
const PING_LIMIT: Duration = Duration::from_secs(60);
/// How long a cut connection may take to notice.
const CUT_LIMIT: Duration = Duration::from_secs(1);

/// How a lab is served.
#[derive(Debug)]
pub struct Options {
    /// With which certificate. It is renewed while the port is open.
    pub certs: Arc<Certs>,
    /// Begins the end.
    pub shutdown: CancellationToken,
    /// How long calls may go on after that.
    pub grace: Duration,
}

/// A lab cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertError),
    /// The HTTP/2 server cannot be set up.
    #[error("the server of the lab failed")]
    Server(#[from] tonic::transport::Error),
    /// What the lab is told cannot be kept any more: it must begin anew from what was.
    #[error(transparent)]
    State(#[from] StoreError),
    /// What begins and ends leases in time has ended, by a mistake of ours; the log has the panic.
    #[error("leases of the lab do not begin and end any more: their task failed unexpectedly")]
    Leases,
}

/// The services of a lab. Clones are the same ones: servers of one lab, such as that for exporters of
/// the same process, must share them.
#[derive(Debug, Clone)]
pub struct Services {
    engine: Engine,
    clients: ClientApi,
    exporters: ControllerService,
    health: LabHealth,
    /// Places for streams that ask which services there are.
    described: Arc<Semaphore>,
    /// Cancelled when the end begins.
    ending: CancellationToken,
}

impl Services {
    /// The services of a lab, which count failed logins together. `router_endpoint` is the `HOST:PORT`
    /// at which both ends of a tunnel reach its router: that of [`serve`]'s port, as a rule.
    pub fn new(engine: Engine, router_endpoint: &str, limits: Limits) -> Self {
        let failed = Arc::new(Mutex::new(FailedLogins::new()));
        let ending = CancellationToken::new();
        Self {
            clients: ClientApi::new(engine.clone(), Arc::clone(&failed), limits),
            exporters: ControllerService::new(engine.clone(), failed, limits, router_endpoint),
            health: LabHealth::new(engine.clone(), ending.clone()),
            described: Arc::new(Semaphore::new(reflection::MAX_STREAMS)),
            ending,
            engine,
        }
    }

    /// For a server.
    pub fn routes(&self) -> Routes {
        let routes = Routes::new(self.clients.service())
            .add_service(self.exporters.service())
            .add_service(Knows(self.engine.router().service()))
            .add_service(self.health.service());
        match reflection::add_to(routes.clone(), &self.described) {
            Ok(routes) => routes,
            Err(error) => {
                // A lab is of use without it.
                tracing::error!(%error, "The services of the lab cannot be described.");
                routes
            }
        }
    }
}

/// Serves a lab at a bound port until `options.shutdown`, and then for at most the grace more. Leases
/// begin and end in time meanwhile. A lab that cannot keep its state ends by itself, at once: who asked
/// for what could not be written is told so. Dropping the future stops accepting, and leaves open
/// connections to their peers.
///
/// # Errors
/// What it cannot be set up with, a state that cannot be written, or a mistake of ours that leaves leases
/// without their ends; no peer can cause one.
pub async fn serve(
    services: Services,
    listener: TcpListener,
    options: Options,
) -> Result<(), ServeError> {
    let engine = services.engine.clone();
    serve_while(
        services,
        listener,
        options,
        async move { engine.run().await },
    )
    .await
}

/// Serves while `leases` does not panic.
async fn serve_while(
    services: Services,
    listener: TcpListener,
    options: Options,
    leases: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let Options {
        certs,
        shutdown,
        grace,
    } = options;
    let tls = certs.server_config()?;
    let ending = services.ending.clone();
    let (failed, stop) = (services.engine.failed(), shutdown.child_token());
    let mut leases = AbortOnDropHandle::new(tokio::spawn(leases));
    let _renewal = AbortOnDropHandle::new(tokio::spawn(renew(certs)));
    let cut = CancellationToken::new();
    let incoming = accept::incoming(listener, tls, cut.clone(), Places::new(Bounds::of));
    let server = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_concurrent_streams(MAX_STREAMS)
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_LIMIT))
        .add_routes(services.routes())
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    let mut server = std::pin::pin!(server);
    // cancel-safe: `server` is pinned outside of the select, and the others only wait.
    let (grace, ended) = tokio::select! {
        result = &mut server => return Ok(result?),
        () = shutdown.cancelled() => (grace, Ok(())),
        // Only for those to be answered who wait for the disk.
        why = failed => (grace.min(CUT_LIMIT), Err(why.into())),
        () = panicked(&mut leases) => (grace.min(CUT_LIMIT), Err(ServeError::Leases)),
    };
    ending.cancel();
    stop.cancel();
    if let Ok(result) = timeout(grace, &mut server).await {
        return ended.and(Ok(result?));
    }
    cut.cancel();
    match timeout(CUT_LIMIT, server).await {
        Ok(result) => ended.and(Ok(result?)),
        Err(_) => {
            tracing::warn!("Connections to the lab did not end although they were cut.");
            ended
        }
    }
}

/// Ends when the task panicked. It also ends by itself, when the state fails: that is told elsewhere.
async fn panicked(task: &mut AbortOnDropHandle<()>) {
    if task.await.is_ok() {
        std::future::pending().await
    }
}

/// Keeps the certificate fresh, for ever.
async fn renew(certs: Arc<Certs>) {
    loop {
        tokio::time::sleep(REFRESH_EVERY).await;
        let certs = Arc::clone(&certs);
        let refreshed = tokio::task::spawn_blocking(move || certs.refresh(SystemTime::now())).await;
        match refreshed {
            Ok(Ok(Refreshed::Same)) => {}
            Ok(Ok(Refreshed::Renewed)) => tracing::info!("The lab's certificate is a new one."),
            Ok(Ok(Refreshed::Distrusted)) => {
                tracing::warn!(
                    "The lab's certificate is a new one, and what clients and exporters trust did not \
                     sign it: they cannot connect until they have new configuration files, or a \
                     certificate of the same authority is given."
                );
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "The lab's certificate cannot be renewed; the old one stays.");
            }
            Err(error) => tracing::error!(%error, "The renewal of the lab's certificate failed."),
        }
    }
}
