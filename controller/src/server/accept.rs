//! Owns how connections come in: a bounded number, each with a deadline for its first words.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures::{Stream, stream};
use rustls::ServerConfig;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, mpsc},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{
    connection::{Connection, PREFACE, Preface},
    places::{Place, Places, Refused},
};

/// Time for a TLS handshake and the preface of HTTP/2, which clients send at once. The server pings
/// silent peers only after that.
const FIRST_WORDS: Duration = Duration::from_secs(10);
/// How long a connection may wait for its turn to say them: three times as long as those take that say
/// nothing.
const TURN: Duration = Duration::from_secs(30);
/// A failed accept is a failure of the whole process, such as too many open files: others must end
/// first.
const PAUSE: Duration = Duration::from_millis(100);

/// The connections to a port, for ever. Each fails with `cut`.
pub(super) fn incoming(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    cut: CancellationToken,
    places: Places,
) -> impl Stream<Item = io::Result<Connection>> + Send {
    let (ready, taken) = mpsc::channel(1);
    let accepting = Box::pin(accept_all(
        listener,
        TlsAcceptor::from(tls),
        cut,
        places,
        ready,
    ));
    stream::unfold(
        (accepting, taken),
        |(mut accepting, mut taken)| async move {
            // cancel-safe: `accepting` is pinned in the state, `recv` loses nothing.
            let connection = tokio::select! {
                () = &mut accepting => return None,
                connection = taken.recv() => connection?,
            };
            Some((Ok(connection), (accepting, taken)))
        },
    )
}

async fn accept_all(
    listener: TcpListener,
    tls: TlsAcceptor,
    cut: CancellationToken,
    places: Places,
    ready: mpsc::Sender<Connection>,
) {
    let mut new = JoinSet::new();
    let mut failing = false;
    loop {
        // cancel-safe: both arms only take what is there.
        let (any, accepted) = tokio::select! {
            accepted = next(&listener, &places) => accepted,
            Some(_) = new.join_next() => continue,
        };
        let (io, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Once per jam: it is tried again ten times a second.
                if !failing {
                    tracing::warn!(%error, "The lab cannot accept a connection.");
                }
                failing = true;
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        failing = false;
        let place = match places.take(any, peer.ip()) {
            Ok(place) => place,
            Err(refused) => {
                tell(refused, peer);
                continue;
            }
        };
        let (tls, ready, cut) = (tls.clone(), ready.clone(), cut.clone());
        new.spawn(async move {
            let Ok(turn) = timeout(TURN, place.turn()).await else {
                tracing::debug!(%peer, "Too many connections said nothing in time: one had no turn.");
                return;
            };
            let begun = timeout(FIRST_WORDS, begin(io, peer, tls, cut, place)).await;
            drop(turn);
            match begun {
                // The server is gone when nobody takes the connection.
                Ok(Ok(connection)) => ready.send(connection).await.unwrap_or_default(),
                // Clients that look at the certificate only, and scanners.
                Ok(Err(error)) => tracing::debug!(%peer, %error, "A connection came to nothing."),
                Err(_) => tracing::debug!(%peer, "A connection said nothing in time."),
            }
        });
    }
}

/// Not of each of thousands.
fn tell(refused: Refused, peer: SocketAddr) {
    let address = peer.ip();
    match refused {
        Refused::Network {
            tell: true,
            open,
            new,
        } => {
            tracing::warn!(%address, open, new, "An address has too many connections: more of it are closed.");
        }
        Refused::Outside { tell: true } => {
            tracing::warn!(%address, "Other hosts have too many connections: more of them are closed.");
        }
        Refused::Network { .. } | Refused::Outside { .. } => {}
    }
}

/// Cancel-safe: a place that nobody got is free.
async fn next(
    listener: &TcpListener,
    places: &Places,
) -> (
    Option<OwnedSemaphorePermit>,
    io::Result<(TcpStream, SocketAddr)>,
) {
    let place = places.any().await;
    (place, listener.accept().await)
}

async fn begin(
    io: TcpStream,
    peer: SocketAddr,
    tls: TlsAcceptor,
    cut: CancellationToken,
    mut place: Place,
) -> io::Result<Connection> {
    // Frames are written whole; waiting to join them only delays key strokes. A connection that ended
    // meanwhile shows at its first read.
    io.set_nodelay(true).ok();
    let mut io = tls.accept(io).await?;
    let mut preface: Preface = [0; PREFACE];
    io.read_exact(&mut preface).await?;
    place.begun();
    Ok(Connection::new(io, preface, peer, &cut, place))
}
