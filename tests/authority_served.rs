//! A tonic server behind `Killable`: the authorities it accepts, and how its connections end.

#![expect(
    clippy::unwrap_used,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

use std::{convert::Infallible, future::ready, io, task, time::Duration};

use hyper_util::rt::TokioIo;
use rigd::transport::killable::Killable;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex},
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tonic::{
    body::Body,
    server::NamedService,
    transport::{Endpoint, Server},
};
use tower::{Service, ServiceExt, service_fn};

const PATIENCE: Duration = Duration::from_secs(10);
const CONNECTION: &str = "connection 7";

/// The authority of a request, and the connect info that came with it.
type Seen = (String, Option<&'static str>);

/// Answers every call with status OK and tells what it saw.
#[derive(Clone)]
struct Witness(mpsc::Sender<Seen>);

impl NamedService for Witness {
    const NAME: &'static str = "test.Witness";
}

impl Service<http::Request<Body>> for Witness {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), Infallible>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let authority = request
            .uri()
            .authority()
            .map(ToString::to_string)
            .unwrap_or_default();
        let info = request.extensions().get::<&'static str>().copied();
        self.0.try_send((authority, info)).unwrap();
        let response = http::Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", "0")
            .body(Body::empty());
        ready(Ok(response.unwrap()))
    }
}

/// A server with one connection.
struct Served {
    seen: mpsc::Receiver<Seen>,
    token: CancellationToken,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
}

fn serve<I>(io: I, filtered: bool) -> Served
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, seen) = mpsc::channel(8);
    let (stop, stopped) = oneshot::channel();
    let token = CancellationToken::new();
    let io = Killable::new(io, token.clone(), CONNECTION);
    let io = if filtered {
        io.with_authority_filter()
    } else {
        io
    };
    let incoming = tokio_stream::once(Ok::<_, io::Error>(io)).chain(tokio_stream::pending());
    let server = tokio::spawn(
        Server::builder()
            .add_service(Witness(sender))
            .serve_with_incoming_shutdown(incoming, async {
                stopped.await.ok();
            }),
    );
    Served {
        seen,
        token,
        stop,
        server,
    }
}

/// The opening of a connection, and one request, in the way of gRPC C-core: nothing is
/// Huffman-coded, and the name of each field is spelled out.
fn request_like_c_core(authority: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    for (name, value) in [
        (":path", "/test.Witness/Look"),
        (":authority", authority),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ] {
        block.push(0x40);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    out.extend([0, 0, 0, 0x4, 0, 0, 0, 0, 0]);
    // END_STREAM and END_HEADERS on stream 1.
    out.extend([
        0,
        0,
        u8::try_from(block.len()).unwrap(),
        0x1,
        0x5,
        0,
        0,
        0,
        1,
    ]);
    out.extend(block);
    out
}

#[derive(Debug, PartialEq)]
enum Answer {
    Headers,
    Reset { code: u32 },
}

/// The first frame that answers stream 1.
async fn answer(io: &mut UnixStream) -> Answer {
    loop {
        let mut head = [0; 9];
        io.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        io.read_exact(&mut payload).await.unwrap();
        match (head[3], head[8]) {
            (0x1, 1) => return Answer::Headers,
            (0x3, 1) => {
                return Answer::Reset {
                    code: u32::from_be_bytes(payload.try_into().unwrap()),
                };
            }
            _ => {}
        }
    }
}

/// Both ends of a unix socket, the server's first.
async fn unix_pair() -> (UnixStream, UnixStream) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let client = UnixStream::connect(&path).await.unwrap();
    (listener.accept().await.unwrap().0, client)
}

#[tokio::test]
async fn without_the_filter_a_socket_path_is_refused() {
    let (server, mut client) = unix_pair().await;
    let mut served = serve(server, false);
    client
        .write_all(&request_like_c_core("tmp%2Fdir%2Fsocket"))
        .await
        .unwrap();

    // PROTOCOL_ERROR. When this fails, h2 has learnt to take such an authority, and the filter
    // can go.
    let answer = timeout(PATIENCE, answer(&mut client)).await.unwrap();
    assert_eq!(answer, Answer::Reset { code: 1 });
    assert!(served.seen.try_recv().is_err());
}

#[tokio::test]
async fn with_the_filter_a_socket_path_is_served() {
    let (server, mut client) = unix_pair().await;
    let mut served = serve(server, true);
    client
        .write_all(&request_like_c_core("tmp%2Fdir%2Fsocket"))
        .await
        .unwrap();

    assert_eq!(
        timeout(PATIENCE, answer(&mut client)).await.unwrap(),
        Answer::Headers
    );
    let seen = served.seen.recv().await.unwrap();
    assert_eq!(seen, ("tmp-2Fdir-2Fsocket".to_owned(), Some(CONNECTION)));
}

/// Calls the server with h2's own client, which Huffman-codes; returns the authority seen.
async fn call_with_h2(authority: &str) -> String {
    let (near, far) = duplex(64 * 1024);
    let mut served = serve(near, true);
    let mut far = Some(far);
    let connector = service_fn(move |_: http::Uri| {
        let io = far
            .take()
            .ok_or_else(|| io::Error::other("there was one connection only"));
        ready(io.map(TokioIo::<DuplexStream>::new))
    });
    let mut channel = Endpoint::from_shared(format!("http://{authority}"))
        .unwrap()
        .connect_with_connector(connector)
        .await
        .unwrap();
    // The second time the field comes from the dynamic table.
    for _ in 0..2 {
        let request = http::Request::post("/test.Witness/Look")
            .body(Body::empty())
            .unwrap();
        let response = channel.ready().await.unwrap().call(request).await.unwrap();
        assert_eq!(response.headers()["grpc-status"], "0");
    }
    let (first, _) = served.seen.recv().await.unwrap();
    let (second, _) = served.seen.recv().await.unwrap();
    assert_eq!(first, second);
    first
}

#[tokio::test]
async fn what_other_clients_send_stays_whole() {
    // Coded, "cm8" begins with the bytes of "%/"; a port survives because its ':' is coded too.
    for authority in [
        "cm8",
        "localhost",
        "board-7.lab.example",
        "rigd:19090",
        "[::1]:19090",
    ] {
        let seen = timeout(PATIENCE, call_with_h2(authority)).await.unwrap();
        assert_eq!(seen, authority);
    }
}

#[tokio::test]
async fn a_silent_peer_cannot_keep_the_server_up() {
    let (near, mut far) = duplex(1024);
    let served = serve(near, true);
    // Half a preface: hyper waits for the rest, even when it has been told to stop.
    far.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    // The server's SETTINGS tell that the connection was accepted.
    timeout(PATIENCE, far.read_u8()).await.unwrap().unwrap();
    served.stop.send(()).unwrap();

    served.token.cancel();
    let ended = timeout(PATIENCE, served.server).await;
    ended.expect("the server is still up").unwrap().unwrap();
    let mut rest = Vec::new();
    let closed = timeout(PATIENCE, far.read_to_end(&mut rest)).await;
    closed.expect("the connection is still open").unwrap();
}
