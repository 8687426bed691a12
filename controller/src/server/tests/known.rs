//! Connections on which nobody has good credentials.

use rigd_proto::v1::StatusRequest;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::*;

/// Much sooner than the pings of the server would end a peer that does not answer.
const AT_ONCE: Duration = Duration::from_secs(20);

/// The half minute that a connection has passes.
async fn time_passes() {
    // A clock that stands still goes ahead while a socket is waited for: only for this moment.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(31)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn whoever_says_nothing_or_asks_only_what_everybody_may_is_closed() {
    let site = Site::open().await;
    let mut silent = site.connect().await;
    silent
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    silent.read_u8().await.unwrap();
    let mut health = HealthClient::new(site.channel().await);
    let watched = health.watch(HealthCheckRequest::default()).await;
    let mut watched = watched.unwrap().into_inner();
    watched.message().await.unwrap().unwrap();
    let mut wrong = site.credentials(Kind::Client, "alice");
    wrong.token.push('x');
    let mut wrong = site.client_with(wrong).await;
    wrong.list_exporters(everything()).await.unwrap_err();

    time_passes().await;
    let read = tokio::time::timeout(AT_ONCE, silent.read_to_end(&mut Vec::new())).await;
    read.expect("stays open").ok();
    let told = tokio::time::timeout(AT_ONCE, watched.message()).await;
    told.expect("stays open").unwrap_err();
    // A new connection has its own half minute.
    health.check(HealthCheckRequest::default()).await.unwrap();
}

#[tokio::test]
async fn whoever_is_known_stays() {
    let site = Site::open().await;
    site.add(|world| sample::exporter(world, "rig", &[("board", "rpi4")]))
        .await;
    let (dialed, offered) = dial(&site).await;
    // Ends of a tunnel have connections of their own, with the tokens of streams.
    let (near, far) = (site.channel().await, site.channel().await);
    let mut alice = End::open(&near, &dialed.router_token, b"from alice").await;
    let mut rig = End::open(&far, &offered.router_token, b"from rig").await;
    alice.hears().await;
    rig.hears().await;
    let credentials = site.credentials(Kind::Exporter, "rig");
    let status = site.channel().await;
    let mut exporter = ControllerServiceClient::with_interceptor(status.clone(), credentials);
    let mut held = exporter
        .status(StatusRequest {})
        .await
        .unwrap()
        .into_inner();
    held.message().await.unwrap().unwrap();

    time_passes().await;
    // Each connection is looked at: it has a call to serve.
    for channel in [near, far, status] {
        let mut health = HealthClient::new(channel);
        health.check(HealthCheckRequest::default()).await.unwrap();
    }
    assert!(futures::poll!(std::pin::pin!(alice.down.message())).is_pending());
    assert!(futures::poll!(std::pin::pin!(rig.down.message())).is_pending());
    assert!(futures::poll!(std::pin::pin!(held.message())).is_pending());
}
