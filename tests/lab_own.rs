//! What the tests' own controller and router promise to tests, shown without the released packages.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

mod lab;

use std::time::{Duration, Instant};

use lab::{Fault, Lab, Memory, NAMESPACE, Part, Rpc, What};
use rigd_proto::v1::{
    ExporterStatus, GetServiceEndpointsRequest, ListenRequest, ListenResponse, LogEntry,
    PushLogsRequest, RegisterRequest, ReportStatusRequest, StatusRequest, StatusResponse,
    StreamRequest, StreamResponse, controller_service_client::ControllerServiceClient,
    router_service_client::RouterServiceClient, telemetry_service_client::TelemetryServiceClient,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Request, Status, Streaming,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

const SOON: Duration = Duration::from_secs(10);
/// Long enough for an answer that must not come.
const SHORT: Duration = Duration::from_millis(150);

/// An exporter that does what a test tells it, and nothing by itself.
struct Stub {
    token: String,
    channel: Channel,
    controller: ControllerServiceClient<Channel>,
}

impl Stub {
    async fn new(lab: &Lab) -> Self {
        let channel = connect(lab).await.unwrap();
        let controller = ControllerServiceClient::new(channel.clone());
        Self {
            token: lab.exporter_token("rig"),
            channel,
            controller,
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = with_bearer(&self.token, message);
        for (key, value) in [
            ("kind", "Exporter"),
            ("namespace", NAMESPACE),
            ("name", "rig"),
        ] {
            let key: tonic::metadata::AsciiMetadataKey =
                format!("jumpstarter-{key}").parse().unwrap();
            request.metadata_mut().insert(key, value.parse().unwrap());
        }
        request
    }

    async fn register(&mut self) -> Result<(), Status> {
        let request = self.request(RegisterRequest::default());
        self.controller.register(request).await.map(|_| ())
    }

    async fn report(&mut self, status: ExporterStatus) -> Result<(), Status> {
        let request = self.request(ReportStatusRequest {
            status: status.into(),
            ..ReportStatusRequest::default()
        });
        self.controller.report_status(request).await.map(|_| ())
    }

    async fn status(&mut self) -> Result<Streaming<StatusResponse>, Status> {
        let request = self.request(StatusRequest {});
        let stream = self.controller.status(request).await?;
        Ok(stream.into_inner())
    }

    /// Ends with the headers of the answer.
    fn listen(
        &self,
        lease: &str,
    ) -> tokio::task::JoinHandle<Result<Streaming<ListenResponse>, Status>> {
        let lease_name = lease.to_owned();
        let request = self.request(ListenRequest { lease_name });
        let mut controller = self.controller.clone();
        tokio::spawn(async move { Ok(controller.listen(request).await?.into_inner()) })
    }
}

fn with_bearer<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

async fn connect(lab: &Lab) -> Result<Channel, String> {
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(lab.ca_pem()));
    let endpoint = Endpoint::from_shared(format!("https://{}", lab.endpoint())).unwrap();
    let endpoint = endpoint.tls_config(tls).unwrap();
    match timeout(Duration::from_secs(1), endpoint.connect()).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => Err(format!("{error:?}")),
        Err(_) => Err("no answer".to_owned()),
    }
}

/// A router stream whose headers may not have come yet.
fn router(
    channel: &Channel,
    token: &str,
) -> (
    mpsc::Sender<StreamRequest>,
    tokio::task::JoinHandle<Result<Streaming<StreamResponse>, Status>>,
) {
    let (tx, rx) = mpsc::channel(4);
    let request = with_bearer(token, ReceiverStream::new(rx));
    let mut client = RouterServiceClient::new(channel.clone());
    let call = tokio::spawn(async move { Ok(client.stream(request).await?.into_inner()) });
    (tx, call)
}

fn frame(frame_type: i32, payload: &'static [u8]) -> StreamRequest {
    StreamRequest {
        payload: payload.into(),
        frame_type,
    }
}

fn listening(lab: &Lab, lease: &str, count: usize) {
    let wanted = What::Listen {
        lease: lease.to_owned(),
    };
    tokio::task::block_in_place(|| {
        lab.wait(SOON, |heard| {
            heard.iter().filter(|it| it.what == wanted).count() == count
        })
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_wait_for_the_first_message_and_frames_pass_verbatim() {
    let lab = Lab::start();
    let mut stub = Stub::new(&lab).await;
    stub.register().await.unwrap();
    let lease = lab.lease("rig", "bench");
    let mut listen = stub.listen(&lease);
    listening(&lab, &lease, 1);
    timeout(SHORT, &mut listen)
        .await
        .expect_err("no headers yet");
    stub.report(ExporterStatus::LeaseReady).await.unwrap();

    let mut client = lab.raw_tunnel(&lease);
    let mut items = listen.await.unwrap().unwrap();
    let item = items.message().await.unwrap().unwrap();
    assert_eq!(item.router_endpoint, lab.router_endpoint());

    let (up, mut call) = router(&stub.channel, &item.router_token);
    up.send(frame(0, b"from the exporter")).await.unwrap();
    let got = client.recv().await.unwrap().unwrap();
    assert_eq!(got.payload, &b"from the exporter"[..]);
    // Its own frame went out, and yet it has no headers.
    timeout(SHORT, &mut call).await.expect_err("no headers yet");
    assert!(client.send(77, b"").await);
    let mut down = call.await.unwrap().unwrap();
    let got = down.message().await.unwrap().unwrap();
    assert_eq!((got.frame_type, got.payload.len()), (77, 0));

    // One direction ends, the other goes on; both over is the end of both calls.
    client.half_close();
    timeout(SHORT, down.message())
        .await
        .expect_err("the call goes on");
    up.send(frame(0, b"still")).await.unwrap();
    assert_eq!(client.recv().await.unwrap().unwrap().payload, &b"still"[..]);
    drop(up);
    assert!(client.recv().await.is_none());
    assert!(down.message().await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_listen_ends_the_older_and_a_lost_peer_the_pair() {
    let lab = Lab::start();
    let mut stub = Stub::new(&lab).await;
    stub.register().await.unwrap();
    let lease = lab.lease("rig", "bench");
    let old = stub.listen(&lease);
    listening(&lab, &lease, 1);
    assert!(lab.push_listen(&lease, "nowhere:1", "garbage"));
    let new = stub.listen(&lease);
    listening(&lab, &lease, 2);
    let mut old = old.await.unwrap().unwrap();
    assert_eq!(
        old.message().await.unwrap().unwrap().router_token,
        "garbage"
    );
    assert!(old.message().await.unwrap().is_none());
    assert!(!new.is_finished());

    let token = lab.router_token(&lease);
    let (_first_up, first) = router(&stub.channel, &token);
    let opened = |heard: &[lab::Heard]| {
        let opened = |it: &lab::Heard| matches!(it.what, What::RouterOpened { .. });
        heard.iter().any(opened)
    };
    // Only the first one's call ends with OK.
    tokio::task::block_in_place(|| lab.wait(SOON, opened));
    let (up, second) = router(&stub.channel, &token);
    up.send(frame(0, b"a")).await.unwrap();
    let mut first = first.await.unwrap().unwrap();
    assert!(first.message().await.unwrap().is_some());
    second.abort();
    assert!(first.message().await.unwrap().is_none());

    // Nobody is joined any more.
    lab.pair(false);
    let token = lab.router_token(&lease);
    let (up, first) = router(&stub.channel, &token);
    let (_up, _second) = router(&stub.channel, &token);
    up.send(frame(0, b"a")).await.unwrap();
    timeout(SHORT, first).await.expect_err("never paired");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_tells_every_change_in_order() {
    let lab = Lab::start();
    let mut stub = Stub::new(&lab).await;
    stub.register().await.unwrap();
    let mut status = stub.status().await.unwrap();
    let mut next = async || {
        let it = status.message().await.unwrap().unwrap();
        let part = |it: Option<String>| it.unwrap_or_default();
        format!(
            "{} {} {}",
            it.leased,
            part(it.lease_name),
            part(it.client_name)
        )
    };
    assert_eq!(next().await, "false  ");
    let first = lab.lease("rig", "bench");
    lab.transfer(&first, "other");
    let second = lab.switch_lease("rig", "bench");
    lab.end_lease(&second);
    let third = lab.lease_for("rig", "bench", Duration::from_millis(50));
    assert_eq!(next().await, format!("true {first} bench"));
    assert_eq!(next().await, format!("true {first} other"));
    assert_eq!(next().await, format!("true {second} bench"));
    assert_eq!(next().await, "false  ");
    assert_eq!(next().await, format!("true {third} bench"));
    assert_eq!(next().await, "false  ");
    let odd = StatusResponse {
        leased: true,
        ..StatusResponse::default()
    };
    lab.push_status("rig", odd);
    assert_eq!(next().await, "true  ");
    lab.end_status("rig", Code::Ok, "");
    assert!(status.message().await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_refuse_delay_and_go_away() {
    let lab = Lab::start();
    let mut stub = Stub::new(&lab).await;
    let fault = Fault::refuse(Rpc::Register, Code::Unauthenticated, "revoked");
    lab.inject(fault.clone().only("another"));
    stub.register().await.unwrap();
    lab.inject(fault.times(1));
    let refused = stub.register().await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::Unauthenticated, "revoked")
    );
    stub.register().await.unwrap();

    lab.inject(Fault::delay(Rpc::ReportStatus, SHORT));
    let begin = Instant::now();
    stub.report(ExporterStatus::Available).await.unwrap();
    assert!(begin.elapsed() >= SHORT);
    lab.heal();
    lab.inject(Fault::refuse(Rpc::ReportStatus, Code::Unimplemented, "old"));
    let refused = stub.report(ExporterStatus::LeaseReady).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    let (status, _) = lab.status_of("rig").unwrap();
    assert_eq!(status, ExporterStatus::Available);
    assert_eq!(
        lab.heard().last().unwrap().refused,
        Some(Code::Unimplemented)
    );

    stub.token.push('x');
    let denied = stub.register().await.unwrap_err();
    assert_eq!(denied.message(), "permission denied for exporter lab/rig");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_controller_freezes_breaks_stops_and_comes_back() {
    let lab = Lab::start();
    let mut stub = Stub::new(&lab).await;
    stub.register().await.unwrap();
    let lease = lab.lease("rig", "bench");

    lab.freeze(Part::Controller, true);
    timeout(SHORT, stub.register()).await.expect_err("frozen");
    connect(&lab).await.expect_err("a new one is frozen, too");
    lab.freeze(Part::Controller, false);
    stub.register().await.unwrap();

    let mut status = stub.status().await.unwrap();
    assert!(status.message().await.unwrap().is_some());
    assert!(lab.cut(Part::Both) > 0);
    status.message().await.unwrap_err();
    let closed = |heard: &[lab::Heard]| heard.iter().any(|it| it.what == What::StatusClosed);
    tokio::task::block_in_place(|| lab.wait(SOON, closed));

    lab.stop(Part::Both);
    connect(&lab).await.expect_err("nobody listens");
    lab.restart(Part::Both, Memory::Kept);
    Stub::new(&lab).await.register().await.unwrap();
    assert_eq!(lab.lease_of("rig"), Some(lease));
    lab.restart(Part::Both, Memory::Empty);
    Stub::new(&lab).await.register().await.unwrap();
    assert_eq!(lab.lease_of("rig"), None);

    lab.talk_nonsense(Part::Controller, true);
    connect(&lab).await.expect_err("not TLS");
    let mut plain = TcpStream::connect(("127.0.0.1", lab.port())).await.unwrap();
    plain.write_all(b"\n").await.unwrap();
    let mut said = [0; 8];
    plain.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"HTTP/1.1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_router_vanishes_alone_and_telemetry_is_kept() {
    let lab = Lab::start_with_router_port();
    let mut stub = Stub::new(&lab).await;
    lab.stop(Part::Router);
    stub.register().await.unwrap();
    let address = lab.router_endpoint().replace("localhost", "127.0.0.1");
    TcpStream::connect(&address).await.expect_err("stopped");
    lab.restart(Part::Router, Memory::Kept);
    TcpStream::connect(&address).await.unwrap();

    let ask = || stub.request(GetServiceEndpointsRequest {});
    let refused = stub.controller.clone().get_service_endpoints(ask()).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unimplemented);
    lab.offer_telemetry("info");
    let answer = stub.controller.clone().get_service_endpoints(ask()).await;
    let endpoints = answer.unwrap().into_inner().telemetry_endpoints;
    assert_eq!(endpoints[0].endpoint, lab.endpoint());
    let mut sink = TelemetryServiceClient::new(stub.channel.clone());
    let entries = vec![LogEntry {
        message: "hello".to_owned(),
        ..LogEntry::default()
    }];
    let entries = with_bearer(&stub.token, PushLogsRequest { entries });
    assert_eq!(
        sink.push_logs(entries).await.unwrap().into_inner().accepted,
        1
    );
    assert_eq!(lab.telemetry()[0].message, "hello");
}
