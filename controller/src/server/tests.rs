//! The port: who waits for whom, and how it ends.

mod bounds;
mod full_disk;
mod idle;
mod known;
mod open;
mod strangers;
mod unfinished;

use std::time::Duration;

use rigd_proto::{
    client::v1::{CreateLeaseRequest, GetLeaseRequest, Lease, ListExportersRequest},
    v1::{
        DialRequest, DialResponse, ExporterStatus, ListenRequest, ListenResponse,
        ReportStatusRequest, StreamRequest, StreamResponse,
        controller_service_client::ControllerServiceClient,
        router_service_client::RouterServiceClient,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Streaming, transport::Channel};

use super::{
    Options, ServeError, Services, serve_while,
    site::{SOON, Site},
};
use crate::{auth::Kind, leases::Limits, sample};

fn everything() -> ListExportersRequest {
    ListExportersRequest {
        parent: "namespaces/lab".into(),
        ..ListExportersRequest::default()
    }
}

#[tokio::test]
async fn peers_that_say_nothing_or_nonsense_keep_nobody_out() {
    let site = Site::open().await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(tokio::net::TcpStream::connect(site.address).await.unwrap());
    }
    let _only_tls = site.connect().await;
    let mut plain = tokio::net::TcpStream::connect(site.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut nonsense = site.connect().await;
    nonsense.write_all(&[b'x'; 100]).await.unwrap();
    let mut rest = Vec::new();
    // Both are turned away: with an alert or a GOAWAY, and the end.
    for read in [
        tokio::time::timeout(SOON, plain.read_to_end(&mut rest)).await,
        tokio::time::timeout(SOON, nonsense.read_to_end(&mut Vec::new())).await,
    ] {
        read.expect("stays open").ok();
    }
    let mut alice = site.client("alice").await;
    let answer = tokio::time::timeout(SOON, alice.list_exporters(everything())).await;
    answer.expect("kept out").unwrap();
}

#[tokio::test]
async fn a_peer_that_does_not_begin_is_turned_away() {
    let site = Site::open().await;
    let mut silent = tokio::net::TcpStream::connect(site.address).await.unwrap();
    let mut only_tls = site.connect().await;
    // A clock that stands still goes ahead while a socket is waited for: only for this moment.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11)).await;
    tokio::time::resume();
    for read in [
        tokio::time::timeout(SOON, silent.read(&mut [0; 1])).await,
        tokio::time::timeout(SOON, only_tls.read(&mut [0; 1])).await,
    ] {
        assert!(matches!(read.expect("stays open"), Ok(0) | Err(_)));
    }
}

#[tokio::test]
async fn the_end_cuts_who_does_not_leave() {
    let mut site = Site::open().await;
    let mut alice = site.client("alice").await;
    alice.list_exporters(everything()).await.unwrap();
    // Has begun HTTP/2 and never reads the GOAWAY.
    let mut deaf = site.connect().await;
    deaf.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    deaf.read_u8().await.unwrap();
    site.shutdown.cancel();
    let ended = tokio::time::timeout(SOON, &mut site.server).await;
    ended.expect("never ends").unwrap().unwrap();
    let mut rest = Vec::new();
    let read = tokio::time::timeout(SOON, deaf.read_to_end(&mut rest)).await;
    read.expect("was not cut").ok();
    assert!(tokio::net::TcpStream::connect(site.address).await.is_err());
}

#[tokio::test]
async fn a_lab_whose_leases_are_left_alone_ends_with_an_error() {
    let site = Site::open().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let services = Services::new(site.engine.clone(), "", Limits::default());
    let options = Options {
        certs: std::sync::Arc::clone(&site.certs),
        shutdown: site.shutdown.clone(),
        grace: SOON,
    };
    let served = serve_while(services, listener, options, async {
        panic!("for the test")
    });
    let ended = tokio::time::timeout(SOON, served).await;
    let ended = ended.expect("goes on").unwrap_err();
    assert!(matches!(ended, ServeError::Leases), "{ended}");
}

#[tokio::test]
async fn failed_logins_are_counted_for_each_address_and_good_tokens_are_not_held_up() {
    let site = Site::open().await;
    let mut wrong = site.credentials(Kind::Client, "alice");
    wrong.token.push('x');
    let mut wrong = site.client_with(wrong).await;
    let mut codes = Vec::new();
    for _ in 0..12 {
        codes.push(wrong.list_exporters(everything()).await.unwrap_err().code());
    }
    assert_eq!(codes[..10], [Code::Unknown; 10]);
    assert_eq!(codes[11], Code::ResourceExhausted);
    let mut alice = site.client("alice").await;
    alice.list_exporters(everything()).await.unwrap();
}

#[tokio::test]
async fn whoever_is_not_known_learns_nothing() {
    let site = Site::open().await;
    let channel = site.channel().await;
    let mut nobody =
        rigd_proto::client::v1::client_service_client::ClientServiceClient::new(channel);
    let name = "namespaces/lab/leases/x".to_owned();
    let status = nobody
        .get_lease(GetLeaseRequest { name })
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(status.message(), "missing authorization header");
    let status = nobody.list_exporters(everything()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}

/// An end of a tunnel, until it is dropped.
struct End {
    _up: mpsc::Sender<StreamRequest>,
    down: Streaming<StreamResponse>,
}

impl End {
    /// One that says something.
    async fn open(channel: &Channel, token: &str, says: &'static [u8]) -> Self {
        let said = StreamRequest {
            payload: says.into(),
            ..StreamRequest::default()
        };
        let (up, requests) = mpsc::channel(1);
        up.send(said).await.unwrap();
        let mut request = Request::new(ReceiverStream::new(requests));
        let bearer = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        let mut router = RouterServiceClient::new(channel.clone());
        let down = router.stream(request).await.unwrap().into_inner();
        Self { _up: up, down }
    }

    async fn hears(&mut self) -> Vec<u8> {
        let heard = tokio::time::timeout(SOON, self.down.message()).await;
        let heard = heard.expect("never joined").unwrap();
        heard.expect("not the end").payload.to_vec()
    }
}

/// What `alice` and `rig` are told of a tunnel of the lease `one`, which they have then.
async fn dial(site: &Site) -> (DialResponse, ListenResponse) {
    let channel = site.channel().await;
    let wish = CreateLeaseRequest {
        parent: "namespaces/lab".into(),
        lease_id: "one".into(),
        lease: Some(Lease {
            selector: "board=rpi4".into(),
            duration: sample::seconds(60),
            ..Lease::default()
        }),
    };
    site.client("alice").await.create_lease(wish).await.unwrap();

    let rig = site.credentials(Kind::Exporter, "rig");
    let mut rig = ControllerServiceClient::with_interceptor(channel.clone(), rig);
    let alice = site.credentials(Kind::Client, "alice");
    let mut alice = ControllerServiceClient::with_interceptor(channel, alice);
    let lease_name = "one".to_owned();
    let listen = rig.listen(ListenRequest { lease_name }).await;
    let mut tunnels = listen.unwrap().into_inner();
    let ready = ReportStatusRequest {
        status: ExporterStatus::LeaseReady.into(),
        ..ReportStatusRequest::default()
    };
    rig.report_status(ready).await.unwrap();
    let lease_name = "one".to_owned();
    let dialed = alice.dial(DialRequest { lease_name }).await;
    let offered = tunnels.message().await.unwrap().unwrap();
    (dialed.unwrap().into_inner(), offered)
}

#[tokio::test]
async fn a_lease_and_its_tunnel_go_through_one_port() {
    let site = Site::open().await;
    site.add(|world| sample::exporter(world, "rig", &[("board", "rpi4")]))
        .await;
    let channel = site.channel().await;
    let (dialed, offered) = dial(&site).await;
    assert_eq!(dialed.router_endpoint, site.address.to_string());
    assert_eq!(offered.router_endpoint, dialed.router_endpoint);

    let mut alice = End::open(&channel, &dialed.router_token, b"from alice").await;
    let mut rig = End::open(&channel, &offered.router_token, b"from rig").await;
    assert_eq!(alice.hears().await, b"from rig");
    assert_eq!(rig.hears().await, b"from alice");
}
