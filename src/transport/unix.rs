//! Unix sockets: bind without taking over a live one, accept for ever, remove no other's file.

use std::{
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use futures::{Stream, stream};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::{
    Connection,
    killable::Killable,
    places::{MAX_CONNECTIONS, Places},
};

/// Longest path a socket address holds: `sun_path` is 108 bytes with its end, see unix(7).
const MAX_PATH: usize = 107;
/// How long to wait after an accept that failed for a reason of the whole process, such as too many
/// open files: the next attempt would fail at once as well.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The path does not fit into an address.
    #[error(
        "socket path is too long: {} has {} bytes, {MAX_PATH} fit; choose a shorter one",
        .0.display(),
        .0.as_os_str().len()
    )]
    TooLong(PathBuf),
    /// Somebody answers there.
    #[error("socket {} is in use: another server answers on it", .0.display())]
    InUse(PathBuf),
    /// Something that is not a socket stands there.
    #[error("{} exists and is not a socket; remove it or choose another path", .0.display())]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("cannot bind socket {}", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A bound socket. The file is removed when it is dropped, unless another one is in its place.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
    /// Which file it is.
    file: (u64, u64),
    places: Places,
}

/// Device and inode of what stands at `path` itself.
fn file_at(path: &Path) -> io::Result<(u64, u64)> {
    let found = std::fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Another server may have bound the path since somebody removed our file. The number of
        // ours is not given anew while the socket, still open here, holds the inode.
        if file_at(&self.path).is_ok_and(|found| found == self.file) {
            // A file that somebody removed already is what we wanted.
            std::fs::remove_file(&self.path).ok();
        }
    }
}

impl Listener {
    /// Binds `path` for the owner alone. A file that a dead server left is replaced.
    pub async fn bind(path: &Path) -> Result<Self, BindError> {
        use std::os::unix::fs::FileTypeExt;
        if path.as_os_str().len() > MAX_PATH {
            return Err(BindError::TooLong(path.into()));
        }
        let io = |source| BindError::Io {
            path: path.into(),
            source,
        };
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(BindError::NotASocket(path.into()));
            }
            Ok(_) => match UnixStream::connect(path).await {
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path).map_err(io)?;
                }
                Ok(_) => return Err(BindError::InUse(path.into())),
                Err(e) => return Err(io(e)),
            },
            Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(io)?;
        let listener = Self {
            listener,
            path: path.into(),
            file: file_at(path).map_err(io)?,
            places: Places::new(MAX_CONNECTIONS),
        };
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(path, private).map_err(io)?;
        Ok(listener)
    }

    /// Where it is bound.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Accepts connections for ever, a bounded number at once; each is cut with `cut`, or when it
    /// does not begin HTTP/2.
    pub fn incoming(
        self,
        cut: CancellationToken,
    ) -> impl Stream<Item = io::Result<Killable<UnixStream, Connection>>> + Send {
        stream::unfold((self, cut), |(listener, cut)| async move {
            let place = listener.places.take().await;
            let io = loop {
                match listener.listener.accept().await {
                    Ok((io, _)) => break io,
                    Err(error) => {
                        tracing::warn!(%error, "Cannot accept a connection.");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            };
            // gRPC clients name a unix socket by its percent-encoded path, which h2 refuses.
            let io = Killable::new(io, cut.child_token(), Connection::default());
            let io = io.with_authority_filter().with_preface_limit();
            Some((Ok(io.with_place(place)), (listener, cut)))
        })
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use tokio::{io::AsyncReadExt, time::timeout};

    use super::*;

    /// Long enough for a loaded machine, or of a paused clock.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn the_file_of_another_server_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let ours = Listener::bind(&path).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        let theirs = Listener::bind(&path).await.unwrap();
        drop(ours);
        UnixStream::connect(&path).await.unwrap();
        drop(theirs);
        assert!(!path.exists());

        let ours = Listener::bind(&path).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        drop(ours);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test(start_paused = true)]
    async fn one_too_many_waits_until_another_has_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let mut listener = Listener::bind(&path).await.unwrap();
        listener.places = Places::new(2);
        let mut incoming = Box::pin(listener.incoming(CancellationToken::new()));
        let _peers = [
            UnixStream::connect(&path).await.unwrap(),
            UnixStream::connect(&path).await.unwrap(),
            UnixStream::connect(&path).await.unwrap(),
        ];
        let first = incoming.next().await.unwrap().unwrap();
        let _second = incoming.next().await.unwrap().unwrap();
        assert!(timeout(PATIENCE, incoming.next()).await.is_err());

        tokio::time::resume();
        drop(first);
        let third = timeout(PATIENCE, incoming.next()).await;
        third.expect("still waits").unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = Listener::bind(&path).await.unwrap();
        let mut incoming = Box::pin(listener.incoming(CancellationToken::new()));
        let _peer = UnixStream::connect(&path).await.unwrap();
        let mut io = incoming.next().await.unwrap().unwrap();
        let read = timeout(PATIENCE, io.read_u8()).await.expect("never cut");
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let live = Listener::bind(&path).await.unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let error = Listener::bind(&path).await.unwrap_err();
        assert!(error.to_string().contains("is in use"), "{error}");
        drop(live);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn bad_paths_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("x".repeat(120));
        let error = Listener::bind(&long).await.unwrap_err().to_string();
        assert!(
            error.contains("too long") && error.contains("107 fit"),
            "{error}"
        );
        let file = dir.path().join("file");
        std::fs::write(&file, "precious").unwrap();
        let error = Listener::bind(&file).await.unwrap_err().to_string();
        assert!(error.contains("is not a socket"), "{error}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    }
}
