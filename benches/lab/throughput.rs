//! Bytes through tunnels, beside the same without a controller: gRPC in gRPC, whose outer server
//! answers itself.
//!
//! ```text
//!   client ── TLS ──> router ── TLS ──> exporter: echo
//!   client ── TLS ──> bare server: echo
//! ```

use std::{io, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, future::try_join_all, stream::BoxStream};
use rigd_proto::v1::{
    FrameType, StreamRequest, StreamResponse,
    router_service_client::RouterServiceClient,
    router_service_server::{RouterService, RouterServiceServer},
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Channel, Identity, Server, ServerTlsConfig},
};

use crate::{
    Effort, Failure,
    client::{Client, inside},
    connection::{CONNECTION_WINDOW, MAX_FRAME, STREAM_WINDOW, connect},
    echo_server::Echo,
    frames::{QUEUE, Tunnel},
    running::Running,
    site::{Site, free_endpoint, selector},
};

/// What peers read from a socket at once, at most.
const FRAME: usize = 64 * 1024;
/// Through each tunnel before the bytes that count.
const WARM_UP: usize = 1024 * 1024;
/// Of one measurement; none takes more than some seconds.
const LIMIT: Duration = Duration::from_secs(60);
/// A server of this process listens at once.
const START_LIMIT: Duration = Duration::from_secs(5);

/// Bytes a second that came back, of the bare echo and through the router.
#[derive(Debug)]
pub(crate) struct Rates {
    pub(crate) tunnels: usize,
    pub(crate) bare: f64,
    pub(crate) router: f64,
}

pub(crate) async fn measure(running: &Running, effort: &Effort) -> Result<Vec<Rates>, Failure> {
    let bare = Bare::start(&running.site).await?;
    let mut all = Vec::new();
    for tunnels in [1, effort.tunnels] {
        let bytes = effort.echoed / tunnels;
        let (mut without, mut with) = (vec![], vec![]);
        for _ in 0..effort.repetitions {
            let ends = (0..tunnels).map(|_| bare.dial(&running.site));
            without.push(rate(try_join_all(ends).await?, bytes).await?);
            with.push(through_router(running, tunnels, bytes).await?);
        }
        all.push(Rates {
            tunnels,
            bare: median(without),
            router: median(with),
        });
    }
    Ok(all)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Each tunnel is of another lease and client.
async fn through_router(running: &Running, tunnels: usize, bytes: usize) -> Result<f64, Failure> {
    let exporters = running.exporters.len();
    let clients = running.clients.iter().cloned().enumerate().take(tunnels);
    let leased = clients.map(|(number, mut client)| async move {
        let lease = client.acquire(selector(number, exporters)).await?;
        let exporter = client.dial(&lease).await?;
        Ok::<_, Failure>((client, lease, exporter))
    });
    let leased: Vec<(Client, String, Channel)> = try_join_all(leased).await?;
    let ends = leased.iter().map(|(_, _, exporter)| exporter.clone());
    let rate = rate(ends.collect(), bytes).await?;
    for (mut client, lease, _) in leased {
        client.release(&lease).await?;
    }
    Ok(rate)
}

/// Through all of them at once; bytes a second.
async fn rate(ends: Vec<Channel>, bytes: usize) -> Result<f64, Failure> {
    let all = |bytes: usize| {
        let echoes = ends
            .iter()
            .map(|end| tokio::spawn(echo(end.clone(), bytes)));
        let echoes = try_join_all(echoes.collect::<Vec<_>>());
        async move {
            for echoed in timeout(LIMIT, echoes).await?? {
                echoed?;
            }
            Ok::<(), Failure>(())
        }
    };
    all(WARM_UP).await?;
    let began = Instant::now();
    all(bytes).await?;
    Ok((bytes * ends.len()) as f64 / began.elapsed().as_secs_f64())
}

/// Sends so many bytes and waits until they came back.
async fn echo(channel: Channel, bytes: usize) -> Result<(), Failure> {
    let (frames, queue) = mpsc::channel(QUEUE);
    let sending = tokio::spawn(async move {
        let payload = Bytes::from(vec![0x5a; FRAME]);
        let frame = StreamRequest {
            payload,
            frame_type: FrameType::Data.into(),
        };
        for _ in 0..bytes.div_ceil(FRAME) {
            if frames.send(frame.clone()).await.is_err() {
                break;
            }
        }
    });
    let _sending = AbortOnDropHandle::new(sending);
    let mut service = RouterServiceClient::new(channel);
    let mut back = service
        .stream(ReceiverStream::new(queue))
        .await?
        .into_inner();
    let mut come = 0;
    while let Some(frame) = back.message().await? {
        come += frame.payload.len();
    }
    if come < bytes {
        return Err(format!("{come} of {bytes} bytes came back").into());
    }
    Ok(())
}

/// The outer server: it hands the bytes of each stream to the inner one.
struct Bare {
    endpoint: String,
    _servers: [AbortOnDropHandle<()>; 2],
}

struct Unpack(mpsc::Sender<io::Result<Tunnel>>);

impl Bare {
    async fn start(site: &Site) -> Result<Self, Failure> {
        let endpoint = free_endpoint()?;
        let pem = site.identity()?;
        let (incoming, connections) = mpsc::channel(QUEUE);
        let outer = windows(Server::builder())
            .tls_config(ServerTlsConfig::new().identity(Identity::from_pem(&pem, &pem)))?
            .add_service(RouterServiceServer::new(Unpack(incoming)))
            .serve(endpoint.parse()?);
        let inner = windows(Server::builder())
            .add_service(RouterServiceServer::new(Echo))
            .serve_with_incoming(ReceiverStream::new(connections));
        // How they end shows at the clients.
        let servers = [
            tokio::spawn(async { outer.await.unwrap_or_default() }),
            tokio::spawn(async { inner.await.unwrap_or_default() }),
        ];
        let began = Instant::now();
        while connect(&endpoint, &site.ca).await.is_err() {
            if began.elapsed() > START_LIMIT {
                return Err("the bare echo does not listen".into());
            }
            tokio::task::yield_now().await;
        }
        Ok(Self {
            endpoint,
            _servers: servers.map(AbortOnDropHandle::new),
        })
    }

    async fn dial(&self, site: &Site) -> Result<Channel, Failure> {
        let outer = RouterServiceClient::new(connect(&self.endpoint, &site.ca).await?);
        inside(Tunnel::through(outer, "none")?).await
    }
}

fn windows(server: Server) -> Server {
    server
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
}

#[tonic::async_trait]
impl RouterService for Unpack {
    type StreamStream = BoxStream<'static, Result<StreamResponse, Status>>;

    async fn stream(
        &self,
        request: Request<Streaming<StreamRequest>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let (up, queue) = mpsc::channel(QUEUE);
        let down = request.into_inner().map(|frame| Ok(frame?.payload));
        let tunnel = Ok(Tunnel::new(down, up));
        let gone = |_| Status::unavailable("the inner server has ended");
        self.0.send(tunnel).await.map_err(gone)?;
        let frames = ReceiverStream::new(queue).map(|payload| {
            Ok(StreamResponse {
                payload,
                frame_type: FrameType::Data.into(),
            })
        });
        Ok(Response::new(frames.boxed()))
    }
}
