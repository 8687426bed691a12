//! Finds the control socket of a running daemon and connects to it.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rigd_proto::control::v1::control_client::ControlClient;
use tokio::{net::UnixStream, time::timeout};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use super::{GROUP, SOCKET};

/// A daemon on the same host accepts at once.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The runtime directory of the service.
const SYSTEM: &str = "/run/rigd";
/// A path is no host name, and HTTP servers refuse its percent-encoded form.
const AUTHORITY: &str = "http://localhost";

/// A connected client.
pub(crate) type Client = ControlClient<Channel>;

/// There is no daemon to ask.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// Nobody answers.
    #[error(
        "no rigd answers: tried {0}; start one with `rigd run` or `systemctl start rigd`, or name \
         its socket with --socket PATH"
    )]
    Nobody(Tried),
    /// It is somebody else's.
    #[error(
        "you may not use the control socket {}; add yourself to group {GROUP} (sudo usermod -aG \
         {GROUP} USER) and log in again, or run the command as the daemon's user",
        .0.display()
    )]
    Denied(PathBuf),
    /// What answers does not speak HTTP/2.
    #[error("cannot talk to the daemon on {}", .0.display())]
    Transport(PathBuf, #[source] tonic::transport::Error),
}

/// Sockets and why nobody was found there.
#[derive(Debug)]
pub(crate) struct Tried(Vec<(PathBuf, io::Error)>);

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (path, error)) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{} (", path.display())?;
            match error.kind() {
                io::ErrorKind::NotFound => f.write_str("not there)"),
                io::ErrorKind::ConnectionRefused => f.write_str("left by a daemon that is gone)"),
                _ => write!(f, "{error})"),
            }?;
        }
        Ok(())
    }
}

/// Where the socket may be: where `named` says, or else in the user's runtime directory, then in
/// that of the service.
pub(crate) fn places(named: Option<PathBuf>, runtime_dir: &Path) -> Vec<PathBuf> {
    if let Some(named) = named {
        return vec![named];
    }
    let mut places = vec![runtime_dir.join(SOCKET), Path::new(SYSTEM).join(SOCKET)];
    places.dedup();
    places
}

/// Connects to the first of `places` where a daemon answers.
///
/// # Errors
/// Nobody answers anywhere, the one that is there is not for us, or it does not speak HTTP/2.
pub(crate) async fn connect(places: &[PathBuf]) -> Result<Client, ConnectError> {
    channel(places).await.map(ControlClient::new)
}

/// The same for another service of the socket.
///
/// # Errors
/// As [`connect`].
pub(crate) async fn channel(places: &[PathBuf]) -> Result<Channel, ConnectError> {
    let mut tried = Vec::new();
    for path in places {
        let connected = timeout(CONNECT_LIMIT, UnixStream::connect(path)).await;
        match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(io) => return speak(path, io).await,
            Err(error) => tried.push((path.clone(), error)),
        }
    }
    let denied = |(_, error): &&(_, io::Error)| error.kind() == io::ErrorKind::PermissionDenied;
    Err(match tried.iter().find(denied) {
        Some((path, _)) => ConnectError::Denied(path.clone()),
        None => ConnectError::Nobody(Tried(tried)),
    })
}

/// The connection is the one there is; a command does not outlive it.
async fn speak(path: &Path, io: UnixStream) -> Result<Channel, ConnectError> {
    let mut io = Some(TokioIo::new(io));
    let once = service_fn(move |_: Uri| {
        let io = io.take();
        async move { io.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)) }
    });
    Endpoint::from_static(AUTHORITY)
        .connect_timeout(CONNECT_LIMIT)
        .connect_with_connector(once)
        .await
        .map_err(|source| ConnectError::Transport(path.into(), source))
}
