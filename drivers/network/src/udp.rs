//! A UDP peer: one frame is one datagram.

use std::{io, sync::Arc};

use bytes::Bytes;
use rigd_driver::{
    ByteSink, ByteStream, Call, ConfigError, Driver, DriverError, Interface, Mode, OpenCx,
    OpenError, async_trait,
};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{
    NETWORK_CLIENT, address,
    connect::{LINGER, connect},
};

/// The longest datagram that IP can carry.
const MAX_DATAGRAM: usize = 65_535;

/// How often one datagram is tried when the kernel reports refusals of earlier ones instead of
/// sending it. Each report uses up one pending refusal, and one is pending at a time.
const SEND_TRIES: usize = 3;

/// Datagrams to and from one peer; each frame is one datagram.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UdpConfig {
    /// Host name or IP address of the peer.
    pub host: String,
    /// Port of the peer.
    pub port: u16,
    /// Whether clients may ask for the address, to reach the peer directly.
    #[serde(default = "address::enabled")]
    pub enable_address: bool,
}

/// A UDP peer. Each stream has a socket of its own, connected to the peer.
///
/// UDP knows no end: the stream ends when the client is gone, or when the peer has been silent for
/// 10 s after the client sent its last datagram.
#[derive(Debug)]
pub struct UdpNetwork {
    config: UdpConfig,
}

impl Driver for UdpNetwork {
    const TYPE: &'static str = "network.udp";
    const CLIENT: &'static str = NETWORK_CLIENT;
    const CATEGORY: &'static str = "network";
    type Config = UdpConfig;

    fn interface() -> Interface<Self> {
        Interface::new().stream("connect", Self::connect).call(
            "address",
            Mode::Shared,
            Self::address,
        )
    }

    fn check(config: &UdpConfig) -> Result<(), ConfigError> {
        address::check(&config.host, config.port)
    }

    async fn open(config: &UdpConfig, _: &OpenCx) -> Result<Self, OpenError> {
        let config = config.clone();
        Ok(Self { config })
    }
}

impl UdpNetwork {
    async fn connect(self: Arc<Self>, _: Call) -> Result<ByteStream, DriverError> {
        let UdpConfig { host, port, .. } = &self.config;
        debug!(host, port, "Connecting.");
        let peer: Arc<str> = format!("udp://{host}:{port}").into();
        let socket = Arc::new(connect(&peer, open_socket(host, *port)).await?);
        let finished = CancellationToken::new();
        let receiver = Receiver {
            peer: peer.clone(),
            socket: socket.clone(),
            finished: finished.clone(),
            buffer: vec![0; MAX_DATAGRAM],
        };
        let reader = futures::stream::unfold(receiver, async |mut receiver| {
            receiver.next().await.map(|item| (item, receiver))
        });
        let sender = Sender {
            peer,
            socket,
            finished,
        };
        Ok(ByteStream::new(reader, sender).with_boundaries())
    }

    async fn address(self: Arc<Self>, _: Call) -> Result<String, DriverError> {
        let UdpConfig { host, port, .. } = &self.config;
        let address = format!("udp://{}", address::resolved(host, *port).await);
        address::disclose(self.config.enable_address, address)
    }
}

/// A socket connected to the first address of the peer that the kernel has a route to.
async fn open_socket(host: &str, port: u16) -> io::Result<UdpSocket> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in tokio::net::lookup_host((host, port)).await? {
        let any = if address.is_ipv6() {
            "[::]:0"
        } else {
            "0.0.0.0:0"
        };
        let socket = UdpSocket::bind(any).await?;
        match socket.connect(address).await {
            Ok(()) => return Ok(socket),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

struct Receiver {
    peer: Arc<str>,
    socket: Arc<UdpSocket>,
    finished: CancellationToken,
    buffer: Vec<u8>,
}

impl Receiver {
    async fn next(&mut self) -> Option<Result<Bytes, DriverError>> {
        loop {
            let quiet = async {
                self.finished.cancelled().await;
                tokio::time::sleep(LINGER).await;
            };
            // cancel-safe: `recv` takes nothing unless it completes.
            let received = tokio::select! {
                received = self.socket.recv(&mut self.buffer) => received,
                () = quiet => return None,
            };
            match received {
                Ok(length) => return Some(Ok(Bytes::copy_from_slice(&self.buffer[..length]))),
                // An ICMP answer to an earlier datagram: nobody listens yet. The next one may
                // find the board up.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    debug!(peer = %self.peer, "Nobody listens.");
                }
                Err(error) => {
                    let what = format!("cannot read {}", self.peer);
                    return Some(Err(DriverError::io(what, &error)));
                }
            }
        }
    }
}

struct Sender {
    peer: Arc<str>,
    socket: Arc<UdpSocket>,
    finished: CancellationToken,
}

#[async_trait]
impl ByteSink for Sender {
    async fn send(&mut self, bytes: Bytes) -> Result<(), DriverError> {
        for _ in 0..SEND_TRIES {
            match self.socket.send(&bytes).await {
                Ok(_) => return Ok(()),
                // The answer to an earlier datagram, in the place of sending this one.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => {
                    let length = bytes.len();
                    let what = format!("cannot send a datagram of {length} bytes to {}", self.peer);
                    return Err(DriverError::io(what, &error));
                }
            }
        }
        // Lost, as datagrams may be.
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), DriverError> {
        self.finished.cancel();
        Ok(())
    }
}
