//! A websocket peer: one frame is one binary message.

use std::sync::Arc;

use bytes::Bytes;
use futures::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use rigd_driver::{
    ByteSink, ByteStream, Call, ConfigError, Driver, DriverError, Interface, Mode, OpenCx,
    OpenError, async_trait,
};
use rustls::{ClientConfig, RootCertStore};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
    tungstenite::{self, Error, Message, client::IntoClientRequest, protocol::WebSocketConfig},
};
use tokio_util::sync::CancellationToken;
use tracing::{Span, info, warn};

use crate::{
    NETWORK_CLIENT, address,
    connect::{CONNECT_LIMIT, LINGER, timed_out},
};

/// The longest message taken from a peer. A frame is one gRPC message, which clients accept up to
/// 4 MiB; the difference is for its envelope.
const MAX_MESSAGE: usize = 4 * 1024 * 1024 - 64 * 1024;

/// Messages to and from a websocket server.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebsocketConfig {
    /// URL of the peer, `ws://` or `wss://`. Certificates are checked against those that the lab
    /// host trusts.
    pub url: String,
    /// Whether clients may ask for the address, to connect to the peer directly.
    #[serde(default = "address::enabled")]
    pub enable_address: bool,
}

/// A websocket peer. Each stream is a connection; text messages are delivered as their bytes.
///
/// Websockets have no half-close: after the client's last frame the closing handshake begins, and
/// what the peer sends until its part of it still arrives.
pub struct WebsocketNetwork {
    config: WebsocketConfig,
    connector: Connector,
}

impl std::fmt::Debug for WebsocketNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let config = &self.config;
        f.debug_struct("WebsocketNetwork")
            .field("config", config)
            .finish_non_exhaustive()
    }
}

impl Driver for WebsocketNetwork {
    const TYPE: &'static str = "network.websocket";
    const CLIENT: &'static str = NETWORK_CLIENT;
    const CATEGORY: &'static str = "network";
    type Config = WebsocketConfig;

    fn interface() -> Interface<Self> {
        Interface::new().stream("connect", Self::connect).call(
            "address",
            Mode::Shared,
            Self::address,
        )
    }

    fn check(config: &WebsocketConfig) -> Result<(), ConfigError> {
        let wrong = |why: &dyn std::fmt::Display| {
            let text = format!("{why}; write ws://HOST[:PORT]/PATH or wss://HOST[:PORT]/PATH");
            ConfigError::new("url", text)
        };
        let request = config.url.as_str().into_client_request();
        let request = request.map_err(|error| wrong(&error))?;
        match request.uri().scheme_str() {
            Some("ws" | "wss") => Ok(()),
            _ => Err(wrong(&format_args!("{:?} is no websocket URL", config.url))),
        }
    }

    async fn open(config: &WebsocketConfig, cx: &OpenCx) -> Result<Self, OpenError> {
        let config = config.clone();
        let connector = if config.url.starts_with("wss:") {
            cx.blocking(trusting_the_host).await?
        } else {
            Connector::Plain
        };
        Ok(Self { config, connector })
    }
}

/// TLS with the certificates that the lab host trusts, read once.
fn trusting_the_host() -> Result<Connector, OpenError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err(OpenError::Faulty(
            "this host trusts no certificates: install its CA certificates, or use ws://".into(),
        ));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| OpenError::Faulty(format!("cannot set up TLS: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Connector::Rustls(Arc::new(config)))
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl WebsocketNetwork {
    async fn connect(self: Arc<Self>, _: Call) -> Result<ByteStream, DriverError> {
        let url: Arc<str> = self.config.url.as_str().into();
        info!("Connecting to {url}");
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        let connector = Some(self.connector.clone());
        let connecting = connect_async_tls_with_config(&*url, Some(limits), true, connector);
        let (socket, _) = timeout(CONNECT_LIMIT, connecting)
            .await
            .map_err(|_| timed_out(&url))?
            .map_err(|e| DriverError::Unavailable(format!("cannot connect to {url}: {e}")))?;
        let (sink, stream) = socket.split();
        let finished = CancellationToken::new();
        let receiver = Receiver {
            stream,
            finished: finished.clone(),
            told: Disconnected {
                url: url.clone(),
                span: Span::current(),
            },
        };
        let reader = futures::stream::unfold(receiver, async |mut receiver| {
            receiver.next().await.map(|item| (item, receiver))
        });
        let sender = Sender {
            url,
            sink,
            finished,
        };
        Ok(ByteStream::new(reader, sender).with_boundaries())
    }

    async fn address(self: Arc<Self>, _: Call) -> Result<String, DriverError> {
        address::disclose(self.config.enable_address, self.config.url.clone())
    }
}

/// Says so when the stream ends, however it does.
struct Disconnected {
    url: Arc<str>,
    span: Span,
}

impl Drop for Disconnected {
    fn drop(&mut self) {
        let url = &self.url;
        self.span.in_scope(|| info!("Disconnected from {url}"));
    }
}

struct Receiver {
    stream: SplitStream<Socket>,
    finished: CancellationToken,
    told: Disconnected,
}

impl Receiver {
    async fn next(&mut self) -> Option<Result<Bytes, DriverError>> {
        loop {
            let quiet = async {
                self.finished.cancelled().await;
                tokio::time::sleep(LINGER).await;
            };
            // cancel-safe: a message is taken from the socket whole or not at all.
            let item = tokio::select! {
                item = self.stream.next() => item?,
                () = quiet => {
                    warn!(url = %self.told.url, "The peer does not close.");
                    return None;
                }
            };
            match item {
                Ok(message @ (Message::Binary(_) | Message::Text(_))) => {
                    return Some(Ok(message.into_data()));
                }
                // Pings are answered by the library; after a close it ends the stream.
                Ok(_) => {}
                Err(error) => return Some(Err(failed("read", &self.told.url, error))),
            }
        }
    }
}

struct Sender {
    url: Arc<str>,
    sink: SplitSink<Socket, Message>,
    finished: CancellationToken,
}

#[async_trait]
impl ByteSink for Sender {
    async fn send(&mut self, bytes: Bytes) -> Result<(), DriverError> {
        let sent = self.sink.send(Message::Binary(bytes)).await;
        sent.map_err(|error| failed("write", &self.url, error))
    }

    async fn finish(&mut self) -> Result<(), DriverError> {
        self.finished.cancel();
        match self.sink.send(Message::Close(None)).await {
            // The peer closed first; there is nothing left to close.
            Ok(()) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => Ok(()),
            Err(Error::Protocol(tungstenite::error::ProtocolError::SendAfterClosing)) => Ok(()),
            Err(error) => Err(failed("close", &self.url, error)),
        }
    }
}

fn failed(what: &str, url: &str, error: Error) -> DriverError {
    let what = format!("cannot {what} {url}");
    match error {
        Error::Io(error) => DriverError::io(what, &error),
        Error::Capacity(error) => DriverError::Exhausted(format!("{what}: {error}")),
        error => DriverError::Unavailable(format!("{what}: {error}")),
    }
}
