//! Each driver against a real peer on loopback, through an instance as a session uses it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use rigd_driver::{
    Blueprint, Boundaries, ByteStream, Driver, DriverError, Instance, KeyKind, KeyOwner, contract,
};
use rigd_drivers_network::{
    EchoConfig, EchoNetwork, TcpConfig, TcpNetwork, UdpConfig, UdpNetwork, UnixConfig, UnixNetwork,
    WebsocketConfig, WebsocketNetwork,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket, UnixListener},
    task::JoinSet,
    time::timeout,
};
use tokio_tungstenite::tungstenite::Message;

/// Longer than any answer on loopback takes, shorter than a person's patience.
const SOON: Duration = Duration::from_secs(5);

struct Open {
    instance: Arc<Instance>,
    owner: KeyOwner,
    _dir: tempfile::TempDir,
}

impl Open {
    async fn new<D: Driver>(config: D::Config) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let instance = contract::instance(Blueprint::new::<D>(config), dir.path(), None);
        instance.start().await;
        Self {
            instance,
            owner: KeyOwner::issue(KeyKind::Client),
            _dir: dir,
        }
    }

    async fn connect(&self) -> Result<ByteStream, DriverError> {
        self.instance.stream(&self.owner.key(), "connect").await
    }

    async fn address(&self) -> Result<Value, DriverError> {
        let key = self.owner.key();
        self.instance.call(&key, None, "address", vec![]).await
    }
}

async fn next(stream: &mut ByteStream) -> Option<Result<Bytes, DriverError>> {
    timeout(SOON, stream.reader.next()).await.expect("an item")
}

async fn send(stream: &mut ByteStream, bytes: &'static [u8]) {
    let sent = timeout(SOON, stream.writer.send(Bytes::from_static(bytes))).await;
    sent.expect("room").unwrap();
}

/// A config as it is read from a file.
fn config<C: serde::de::DeserializeOwned>(value: Value) -> C {
    serde_json::from_value(value).unwrap()
}

/// Answers every connection with what it read, in one piece, once the peer has finished.
async fn tcp_peer(tasks: &mut JoinSet<()>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tasks.spawn(async move {
        while let Ok((mut peer, _)) = listener.accept().await {
            let mut all = Vec::new();
            if peer.read_to_end(&mut all).await.is_ok() {
                all.extend_from_slice(b" and goodbye");
                peer.write_all(&all).await.ok();
            }
        }
    });
    port
}

#[tokio::test]
async fn tcp_closes_each_direction_by_itself() {
    let mut tasks = JoinSet::new();
    let port = tcp_peer(&mut tasks).await;
    let tcp = Open::new::<TcpNetwork>(config(json!({"host": "localhost", "port": port}))).await;
    let mut stream = tcp.connect().await.unwrap();
    assert_eq!(stream.boundaries, Boundaries::Free);
    send(&mut stream, b"hello").await;
    stream.writer.finish().await.unwrap();
    let mut got = Vec::new();
    while let Some(bytes) = next(&mut stream).await {
        got.extend_from_slice(&bytes.unwrap());
    }
    assert_eq!(got, b"hello and goodbye");
    // The host is resolved to whichever family the system prefers.
    let address = tcp.address().await.unwrap();
    let wanted = [
        json!(format!("tcp://127.0.0.1:{port}")),
        json!(format!("tcp://[::1]:{port}")),
    ];
    assert!(wanted.contains(&address), "{address}");
}

#[tokio::test]
async fn tcp_nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let tcp = Open::new::<TcpNetwork>(config(
        json!({"host": "127.0.0.1", "port": port, "enable_address": false}),
    ))
    .await;
    let error = tcp.connect().await.unwrap_err();
    assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
    let text = error.to_string();
    let start = format!("cannot connect to tcp://127.0.0.1:{port}: ");
    assert!(
        text.starts_with(&start) && text.contains("refused"),
        "{text}"
    );
    let error = tcp.address().await.unwrap_err();
    let text = "enable_address mode is not true in the exporter configuration";
    assert_eq!(error.to_string(), text);
}

async fn udp_peer(tasks: &mut JoinSet<()>) -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tasks.spawn(async move {
        let mut buffer = vec![0; 65_535];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            socket.send_to(&buffer[..length], from).await.ok();
        }
    });
    port
}

#[tokio::test]
async fn udp_keeps_datagrams_apart() {
    let mut tasks = JoinSet::new();
    let port = udp_peer(&mut tasks).await;
    let udp = Open::new::<UdpNetwork>(config(json!({"host": "127.0.0.1", "port": port}))).await;
    let mut stream = udp.connect().await.unwrap();
    assert_eq!(stream.boundaries, Boundaries::Keep);
    for datagram in [&b"one"[..], b"", b"three"] {
        send(&mut stream, datagram).await;
    }
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), "one");
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), "");
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), "three");
    let address = udp.address().await.unwrap();
    assert_eq!(address, json!(format!("udp://127.0.0.1:{port}")));
}

#[tokio::test]
async fn udp_survives_a_peer_that_is_not_up_yet() {
    let reserved = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = reserved.local_addr().unwrap().port();
    drop(reserved);
    let udp = Open::new::<UdpNetwork>(config(json!({"host": "127.0.0.1", "port": port}))).await;
    let mut stream = udp.connect().await.unwrap();
    // The kernel reports the refusal of the first one with the second or third.
    for _ in 0..3 {
        send(&mut stream, b"anybody?").await;
    }
    let peer = UdpSocket::bind(("127.0.0.1", port)).await.unwrap();
    send(&mut stream, b"now?").await;
    let mut buffer = [0; 16];
    let (length, from) = timeout(SOON, peer.recv_from(&mut buffer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&buffer[..length], b"now?");
    peer.send_to(b"yes", from).await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), "yes");
}

#[tokio::test]
async fn udp_ends_some_time_after_the_client_did() {
    let mut tasks = JoinSet::new();
    let port = udp_peer(&mut tasks).await;
    let udp = Open::new::<UdpNetwork>(config(json!({"host": "127.0.0.1", "port": port}))).await;
    let mut stream = udp.connect().await.unwrap();
    send(&mut stream, b"last").await;
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), "last");
    stream.writer.finish().await.unwrap();
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    assert!(stream.reader.next().await.is_none());
    assert_eq!(started.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn unix_reaches_its_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peer.sock");
    let unix = Open::new::<UnixNetwork>(config(json!({"path": path}))).await;
    let error = unix.connect().await.unwrap_err();
    assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
    assert!(
        error.to_string().contains("peer.sock: No such file"),
        "{error}"
    );
    let listener = UnixListener::bind(&path).unwrap();
    let mut stream = unix.connect().await.unwrap();
    let (mut peer, _) = listener.accept().await.unwrap();
    send(&mut stream, b"ping").await;
    let mut buffer = [0; 4];
    peer.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"ping");
    drop(peer);
    assert!(next(&mut stream).await.is_none());
    let missing = unix.address().await.unwrap_err();
    assert_eq!(missing.to_string(), "method address not found on driver");
}

/// Echoes binary messages, answers the text "text?" with text, and closes when asked to.
async fn websocket_peer(tasks: &mut JoinSet<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/path", listener.local_addr().unwrap());
    tasks.spawn(async move {
        while let Ok((peer, _)) = listener.accept().await {
            let Ok(mut peer) = tokio_tungstenite::accept_async(peer).await else {
                continue;
            };
            while let Some(Ok(message)) = peer.next().await {
                let answer = match message {
                    Message::Binary(bytes) if bytes == "text?" => Message::text("täxt"),
                    Message::Binary(bytes) if bytes == "huge?" => {
                        Message::binary(vec![0; 4 * 1024 * 1024])
                    }
                    Message::Binary(bytes) => Message::Binary(bytes),
                    _ => continue,
                };
                peer.send(answer).await.ok();
            }
        }
    });
    url
}

#[tokio::test]
async fn websocket_carries_messages_and_takes_text_as_bytes() {
    let mut tasks = JoinSet::new();
    let url = websocket_peer(&mut tasks).await;
    let websocket = Open::new::<WebsocketNetwork>(config(json!({"url": url}))).await;
    let mut stream = websocket.connect().await.unwrap();
    assert_eq!(stream.boundaries, Boundaries::Keep);
    for message in [&b"one"[..], b"two", b"text?"] {
        send(&mut stream, message).await;
    }
    stream.writer.finish().await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), "one");
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), "two");
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), "täxt");
    assert!(next(&mut stream).await.is_none());
    assert_eq!(websocket.address().await.unwrap(), json!(url));
}

#[tokio::test]
async fn websocket_refuses_a_message_that_no_client_takes() {
    let mut tasks = JoinSet::new();
    let url = websocket_peer(&mut tasks).await;
    let websocket = Open::new::<WebsocketNetwork>(config(json!({"url": url}))).await;
    let mut stream = websocket.connect().await.unwrap();
    send(&mut stream, b"huge?").await;
    let error = next(&mut stream).await.unwrap().unwrap_err();
    assert!(matches!(error, DriverError::Exhausted(_)), "{error:?}");
    assert!(next(&mut stream).await.is_none());
}

#[tokio::test]
async fn wss_wants_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("wss://{}/", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut peer, _)) = listener.accept().await {
            peer.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .await
                .ok();
        }
    });
    let websocket = Open::new::<WebsocketNetwork>(config(json!({"url": url}))).await;
    // A host without any certificates (a bare container) is unavailable for that reason.
    let error = timeout(SOON, websocket.connect())
        .await
        .expect("an answer")
        .unwrap_err();
    assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
}

#[test]
fn what_cannot_be_right_is_found_without_a_network() {
    let url = |url: &str| {
        let config: WebsocketConfig = config(json!({"url": url}));
        WebsocketNetwork::check(&config).map_err(|e| format!("{}: {e}", e.key))
    };
    assert_eq!(url("ws://board/x"), Ok(()));
    assert_eq!(url("wss://board:8443"), Ok(()));
    for wrong in ["http://board/", "board:80", "", "ws://"] {
        let text = url(wrong).unwrap_err();
        assert!(
            text.starts_with("url: ") && text.contains("ws://HOST"),
            "{wrong}: {text}"
        );
    }
    let tcp: TcpConfig = config(json!({"host": "board", "port": 0}));
    assert_eq!(TcpNetwork::check(&tcp).unwrap_err().key, "port");
    let udp: UdpConfig = config(json!({"host": "", "port": 1}));
    assert_eq!(UdpNetwork::check(&udp).unwrap_err().key, "host");
    let unix: UnixConfig = config(json!({"path": "x".repeat(108)}));
    let text = UnixNetwork::check(&unix).unwrap_err().to_string();
    assert_eq!(text, "is 108 bytes long; a socket's path has at most 107");
}

#[tokio::test]
async fn all_keep_the_contract() {
    let mut tasks = JoinSet::new();
    contract::check::<EchoNetwork>(EchoConfig {}).await;
    let port = tcp_peer(&mut tasks).await;
    contract::check::<TcpNetwork>(config(json!({"host": "127.0.0.1", "port": port}))).await;
    let port = udp_peer(&mut tasks).await;
    contract::check::<UdpNetwork>(config(json!({"host": "127.0.0.1", "port": port}))).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peer.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    contract::check::<UnixNetwork>(config(json!({"path": path}))).await;
    let url = websocket_peer(&mut tasks).await;
    contract::check::<WebsocketNetwork>(config(json!({"url": url}))).await;
}
