//! A peer behind a unix socket of the lab host, e.g. an emulator's monitor.

use std::{os::unix::ffi::OsStrExt, path::PathBuf, sync::Arc};

use rigd_driver::{
    ByteStream, Call, ConfigError, Driver, DriverError, Interface, OpenCx, OpenError,
};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::net::UnixStream;
use tracing::debug;

use crate::{NETWORK_CLIENT, connect::connect};

/// What fits into `sockaddr_un` beside the final zero: unix(7).
const MAX_PATH: usize = 107;

/// Connections to a unix socket on the lab host.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnixConfig {
    /// Path of the peer's stream socket.
    pub path: PathBuf,
}

/// A peer behind a unix stream socket. Each stream is a connection; either direction closes by
/// itself.
#[derive(Debug)]
pub struct UnixNetwork {
    path: PathBuf,
}

impl Driver for UnixNetwork {
    const TYPE: &'static str = "network.unix";
    const CLIENT: &'static str = NETWORK_CLIENT;
    const CATEGORY: &'static str = "network";
    type Config = UnixConfig;

    fn interface() -> Interface<Self> {
        Interface::new().stream("connect", Self::connect)
    }

    fn check(config: &UnixConfig) -> Result<(), ConfigError> {
        match config.path.as_os_str().as_bytes().len() {
            0 => Err(ConfigError::new("path", "needs the path of a socket")),
            length if length > MAX_PATH => Err(ConfigError::new(
                "path",
                format!("is {length} bytes long; a socket's path has at most {MAX_PATH}"),
            )),
            _ => Ok(()),
        }
    }

    async fn open(config: &UnixConfig, _: &OpenCx) -> Result<Self, OpenError> {
        let path = config.path.clone();
        Ok(Self { path })
    }
}

impl UnixNetwork {
    async fn connect(self: Arc<Self>, _: Call) -> Result<ByteStream, DriverError> {
        debug!(path = %self.path.display(), "Connecting.");
        let peer = format!("unix://{}", self.path.display());
        let stream = connect(&peer, UnixStream::connect(&self.path)).await?;
        Ok(ByteStream::from_io(peer, stream))
    }
}
