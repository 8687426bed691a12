//! The one place where bytes meet a session.
//!
//! Shutdown has three steps, each with its deadline:
//!
//! ```text
//!   begin: stop accepting, GOAWAY ──grace──> cut: every connection fails ──1 s──> done
//!            └── all clients left ───────────────────────────────────────────────> done
//! ```
//!
//! Graceful shutdown alone can wait for ever on one idle peer (hyperium/hyper #4170) or on an open
//! console, so the cut is not a last resort but a part of it.

use std::{io, time::Duration};

use futures::Stream;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tonic::{
    service::{InterceptorLayer, Routes},
    transport::Server,
};

use super::{Connection, Passphrase, killable::Killable};

/// Flow-control window of one stream. With 1-byte messages (8 bytes with framing) it holds 65 536
/// unread frames, which cost 16.3 MB of the budget below: one stalled stream never ends its
/// connection. It still carries 25 MB/s over a 20 ms path.
pub(crate) const STREAM_WINDOW: u32 = 512 * 1024;
/// Flow-control window of a connection. Half of it is h2's budget for unread tiny frames (32 MiB):
/// twice what a stalled stream takes, since frames that wait only for their task to run count too,
/// 4000 of a single read.
pub(crate) const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;
/// Frames carry the 64 KiB messages of the peers in one piece.
pub(crate) const MAX_FRAME: u32 = 128 * 1024;
/// Streams of one connection. Consoles, log readers and transfers of one client stay far below.
const MAX_STREAMS: u32 = 1024;
/// How long a cut connection may take to notice.
const CUT_LIMIT: Duration = Duration::from_secs(1);

/// Ends a server.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Stop accepting and tell the clients.
    pub begin: CancellationToken,
    /// Fail every connection.
    pub cut: CancellationToken,
}

/// Serves `routes` to every connection of `incoming` until it ends or `shutdown` begins, and then
/// for at most `grace` more.
///
/// # Errors
/// Only what the HTTP/2 server itself cannot be set up with.
pub async fn serve<I>(
    routes: Routes,
    passphrase: Option<Passphrase>,
    incoming: impl Stream<Item = io::Result<Killable<I, Connection>>> + Send,
    shutdown: Shutdown,
    grace: Duration,
) -> Result<(), tonic::transport::Error>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let check = move |request: tonic::Request<()>| match &passphrase {
        Some(passphrase) => passphrase.check(request.metadata()).map(|()| request),
        None => Ok(request),
    };
    let mut server = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_concurrent_streams(MAX_STREAMS)
        // Finds peers that vanished without a word; they themselves ping every 20 s.
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(60)));
    // Only behind a known method: a method that nobody knows is told so without a passphrase.
    let routes = routes.into_axum_router();
    let routes = routes.route_layer(InterceptorLayer::new(check));
    let Shutdown { begin, cut } = shutdown;
    let server = server
        .add_routes(Routes::from(routes))
        .serve_with_incoming_shutdown(incoming, begin.clone().cancelled_owned());
    let mut server = std::pin::pin!(server);
    // cancel-safe: `server` is pinned outside of the select.
    tokio::select! {
        result = &mut server => return result,
        () = begin.cancelled() => {}
    }
    if let Ok(result) = timeout(grace, &mut server).await {
        return result;
    }
    cut.cancel();
    match timeout(CUT_LIMIT, server).await {
        Ok(result) => result,
        Err(_) => {
            tracing::warn!("Connections did not end although they were cut.");
            Ok(())
        }
    }
}
