//! Unix sockets: bind without taking over a live one, accept for ever.

use std::{
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::{Stream, stream};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::{Connection, killable::Killable};

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

/// A bound socket. The file is removed when it is dropped.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Listener {
    fn drop(&mut self) {
        // A file that somebody removed already is what we wanted.
        std::fs::remove_file(&self.path).ok();
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
        };
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(path, private).map_err(io)?;
        Ok(listener)
    }

    /// Where it is bound.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Accepts connections for ever; each is cut with `cut`.
    pub fn incoming(
        self,
        cut: CancellationToken,
    ) -> impl Stream<Item = io::Result<Killable<UnixStream, Connection>>> + Send {
        stream::unfold((self, cut), |(listener, cut)| async move {
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
            Some((Ok(io.with_authority_filter()), (listener, cut)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
