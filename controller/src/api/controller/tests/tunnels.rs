//! Dial, Listen and the router together: who has a lease has its streams, and nobody else.

use futures::stream;
use rigd_proto::v1::{
    DialRequest, FrameType, ListenRequest, ListenResponse, StreamRequest, StreamResponse,
};

use super::*;

fn dial() -> DialRequest {
    DialRequest {
        lease_name: "one".into(),
    }
}

/// An end of a stream that sends a frame and stays.
async fn open(lab: &Lab, token: &str) -> Result<Streaming<StreamResponse>, Status> {
    let frame = StreamRequest {
        payload: b"hello".to_vec().into(),
        frame_type: FrameType::Data.into(),
    };
    let frames = futures::StreamExt::chain(stream::iter([frame]), stream::pending());
    let mut request = Request::new(frames);
    let value = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    Ok(lab.router().await.stream(request).await?.into_inner())
}

struct Leased {
    rig: Api,
    offers: Streaming<ListenResponse>,
    _status: Streaming<StatusResponse>,
}

async fn leased(lab: &Lab) -> Leased {
    let (mut rig, _status) = lab.there().await;
    lab.ask("one", "bench").await;
    report(&mut rig, ExporterStatus::LeaseReady).await;
    let listen = ListenRequest {
        lease_name: "one".into(),
    };
    let offers = rig.listen(listen).await.unwrap().into_inner();
    Leased {
        rig,
        offers,
        _status,
    }
}

/// A tunnel through which both ends have heard of each other: client, exporter.
async fn tunnel(
    lab: &Lab,
    client: &mut Api,
    leased: &mut Leased,
) -> (Streaming<StreamResponse>, Streaming<StreamResponse>) {
    let dialled = client.dial(dial()).await.unwrap().into_inner();
    let offered = next(&mut leased.offers).await;
    let mut near = open(lab, &dialled.router_token).await.unwrap();
    let mut far = open(lab, &offered.router_token).await.unwrap();
    for end in [&mut near, &mut far] {
        assert_eq!(next(end).await.payload, &b"hello"[..]);
    }
    (near, far)
}

#[tokio::test]
async fn the_end_of_a_lease_cuts_its_streams_and_voids_its_tokens() {
    let lab = Lab::new().await;
    let mut leased = leased(&lab).await;
    let mut bench = lab.client("bench").await;
    let (mut near, mut far) = tunnel(&lab, &mut bench, &mut leased).await;
    let late = bench.dial(dial()).await.unwrap().into_inner().router_token;
    lab.end("one").await;
    for stream in [&mut near, &mut far] {
        assert_eq!(end(stream).await.0, Code::Aborted);
    }
    let refused = told(open(&lab, &late).await);
    assert_eq!(refused, (Code::Unauthenticated, "invalid jwt token".into()));
}

#[tokio::test]
async fn a_transfer_cuts_the_former_holders_streams_and_the_new_one_dials() {
    let lab = Lab::new().await;
    let mut leased = leased(&lab).await;
    let (mut bench, mut other) = (lab.client("bench").await, lab.client("other").await);
    let (mut near, mut far) = tunnel(&lab, &mut bench, &mut leased).await;
    let late = bench.dial(dial()).await.unwrap().into_inner().router_token;
    assert_eq!(next(&mut leased.offers).await.router_token, late);
    lab.transfer("one", "other").await;
    for stream in [&mut near, &mut far] {
        assert_eq!(end(stream).await.0, Code::Aborted);
    }
    assert_eq!(told(open(&lab, &late).await).0, Code::Unauthenticated);
    let _stays = tunnel(&lab, &mut other, &mut leased).await;
}

#[tokio::test]
async fn an_exporters_restart_goes_on_with_the_lease() {
    let lab = Lab::new().await;
    let mut before = leased(&lab).await;
    let mut bench = lab.client("bench").await;
    let _tunnel = tunnel(&lab, &mut bench, &mut before).await;
    drop(before);
    lab.until("closed", |world| {
        world.exporters["rig-1"].presence.streams == 0
    })
    .await;
    let mut rig = lab.exporter("rig-1").await;
    rig.register(register_request()).await.unwrap();
    report(&mut rig, ExporterStatus::Available).await;
    let mut status = rig.status(StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(next(&mut status).await.lease_name.as_deref(), Some("one"));
    report(&mut rig, ExporterStatus::LeaseReady).await;
    let listen = ListenRequest {
        lease_name: "one".into(),
    };
    let offers = rig.listen(listen).await.unwrap().into_inner();
    let mut after = Leased {
        rig,
        offers,
        _status: status,
    };
    let _again = tunnel(&lab, &mut bench, &mut after).await;
    report(&mut after.rig, ExporterStatus::LeaseReady).await;
}
