//! A TCP peer.

use std::sync::Arc;

use rigd_driver::{
    ByteStream, Call, ConfigError, Driver, DriverError, Interface, Mode, OpenCx, OpenError,
};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::net::TcpStream;
use tracing::debug;

use crate::{NETWORK_CLIENT, address, connect::connect};

/// TCP connections to one peer, such as an SSH server on the board.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpConfig {
    /// Host name or IP address of the peer.
    pub host: String,
    /// Port of the peer.
    pub port: u16,
    /// Whether clients may ask for the address, to connect to the peer directly.
    #[serde(default = "address::enabled")]
    pub enable_address: bool,
}

/// A TCP peer. Each stream is a connection; either direction closes by itself.
#[derive(Debug)]
pub struct TcpNetwork {
    config: TcpConfig,
}

impl Driver for TcpNetwork {
    const TYPE: &'static str = "network.tcp";
    const CLIENT: &'static str = NETWORK_CLIENT;
    const CATEGORY: &'static str = "network";
    type Config = TcpConfig;

    fn interface() -> Interface<Self> {
        Interface::new().stream("connect", Self::connect).call(
            "address",
            Mode::Shared,
            Self::address,
        )
    }

    fn check(config: &TcpConfig) -> Result<(), ConfigError> {
        address::check(&config.host, config.port)
    }

    async fn open(config: &TcpConfig, _: &OpenCx) -> Result<Self, OpenError> {
        let config = config.clone();
        Ok(Self { config })
    }
}

impl TcpNetwork {
    async fn connect(self: Arc<Self>, _: Call) -> Result<ByteStream, DriverError> {
        let TcpConfig { host, port, .. } = &self.config;
        debug!(host, port, "Connecting.");
        let peer = format!("tcp://{host}:{port}");
        let stream = connect(&peer, TcpStream::connect((host.as_str(), *port))).await?;
        // Frames are what a client typed or a whole chunk; waiting to fill a packet only delays.
        stream
            .set_nodelay(true)
            .map_err(|e| DriverError::io(format_args!("cannot set up {peer}"), &e))?;
        Ok(ByteStream::from_io(peer, stream))
    }

    async fn address(self: Arc<Self>, _: Call) -> Result<String, DriverError> {
        let TcpConfig { host, port, .. } = &self.config;
        let address = format!("tcp://{}", address::resolved(host, *port).await);
        address::disclose(self.config.enable_address, address)
    }
}
