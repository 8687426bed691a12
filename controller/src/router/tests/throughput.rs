//! A measurement: one pair, and fifty, against a server that only sends back.

use std::time::Duration;

use futures::StreamExt as _;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_stream::wrappers::TcpListenerStream;

use super::*;

const TOTAL: usize = 512 << 20;
const FRAME: usize = 65536;

struct Echo;

#[tonic::async_trait]
impl RouterService for Echo {
    type StreamStream = futures::stream::BoxStream<'static, Result<StreamResponse, Status>>;

    async fn stream(
        &self,
        request: Request<Streaming<StreamRequest>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let echo = request.into_inner().map(|frame| {
            let StreamRequest {
                payload,
                frame_type,
            } = frame?;
            Ok(StreamResponse {
                payload,
                frame_type,
            })
        });
        Ok(Response::new(echo.boxed()))
    }
}

async fn serve<S: RouterService>(
    service: RouterServiceServer<S>,
) -> (Endpoint, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .add_service(service)
        .serve_with_incoming(TcpListenerStream::new(listener));
    let server = AbortOnDropHandle::new(tokio::spawn(async move { server.await.unwrap() }));
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .initial_stream_window_size(TUNNEL_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME);
    (endpoint, server)
}

async fn open(endpoint: &Endpoint, token: &str) -> Peer {
    let mut client = RouterServiceClient::new(endpoint.connect().await.unwrap());
    Peer::open(&mut client, token).await.unwrap()
}

/// Sends `total` bytes through each of the ways and waits until they are out again.
async fn run(
    ways: Vec<(mpsc::Sender<StreamRequest>, Streaming<StreamResponse>)>,
    total: usize,
) -> Duration {
    let began = std::time::Instant::now();
    let mut tasks = JoinSet::new();
    for (up, mut down) in ways {
        tasks.spawn(async move {
            let payload = Bytes::from(vec![1; FRAME]);
            for _ in 0..total / FRAME {
                let payload = payload.clone();
                up.send(StreamRequest {
                    payload,
                    frame_type: 0,
                })
                .await
                .unwrap();
            }
        });
        tasks.spawn(async move {
            let mut left = total;
            while left > 0 {
                left -= down.message().await.unwrap().unwrap().payload.len();
            }
        });
    }
    tasks.join_all().await;
    began.elapsed()
}

/// Prints the throughput.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: run it alone with --nocapture"]
async fn throughput() {
    for count in [1, 50] {
        let total = TOTAL / count / FRAME * FRAME;
        let rate = |took: Duration| TOTAL as f64 / took.as_secs_f64() / 1e6;
        let (endpoint, _server) = serve(RouterServiceServer::new(Echo)).await;
        let mut ways = Vec::new();
        for _ in 0..count {
            let peer = open(&endpoint, "any").await;
            ways.push((peer.up.unwrap(), peer.down));
        }
        println!("{count} echo: {:.0} MB/s", rate(run(ways, total).await));
        let router = Router::new(Arc::<World>::default(), RouterLimits::default());
        let (endpoint, _server) = serve(router.service()).await;
        let (mut ways, mut others) = (Vec::new(), Vec::new());
        for number in 0..count {
            let token = format!("s{number}/lease/1");
            let first = open(&endpoint, &token).await;
            let second = open(&endpoint, &token).await;
            ways.push((first.up.unwrap(), second.down));
            others.push((second.up, first.down));
        }
        println!("{count} router: {:.0} MB/s", rate(run(ways, total).await));
    }
}
