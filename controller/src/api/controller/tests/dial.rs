//! What a client that dials is told.

use rigd_proto::v1::{DialRequest, ListenRequest, UnregisterRequest};

use super::*;

fn dial(lease: &str) -> DialRequest {
    DialRequest {
        lease_name: lease.into(),
    }
}

fn is(code: Code, text: &str) -> (Code, String) {
    (code, text.to_owned())
}

#[tokio::test]
async fn each_status_has_its_answer() {
    let lab = Lab::new().await;
    let (mut rig, mut status) = lab.there().await;
    let mut bench = lab.client("bench").await;
    assert_eq!(
        told(bench.dial(dial("")).await),
        is(Code::Unknown, "empty lease name")
    );
    let missing = "Lease.jumpstarter.dev \"nix\" not found";
    assert_eq!(
        told(bench.dial(dial("nix")).await),
        is(Code::Unknown, missing)
    );
    lab.ask("one", "bench").await;
    lab.ask("waits", "bench").await;
    assert!(next(&mut status).await.leased);
    assert_eq!(
        told(bench.dial(dial("waits")).await),
        is(Code::Unknown, "lease not active")
    );
    let mut other = lab.client("other").await;
    assert_eq!(
        told(other.dial(dial("one")).await),
        is(Code::Unknown, "permission denied")
    );
    let nobody = is(Code::Unavailable, "exporter is not listening on lease one");
    let failed = |text| is(Code::FailedPrecondition, text);
    for (status, expected) in [
        (ExporterStatus::LeaseReady, nobody.clone()),
        (ExporterStatus::BeforeLeaseHook, nobody.clone()),
        (ExporterStatus::AfterLeaseHook, nobody.clone()),
        (ExporterStatus::Unspecified, nobody.clone()),
        (ExporterStatus::Offline, failed("exporter is offline")),
        (
            ExporterStatus::BeforeLeaseHookFailed,
            failed("exporter beforeLease hook failed"),
        ),
        (
            ExporterStatus::AfterLeaseHookFailed,
            failed("exporter afterLease hook failed"),
        ),
    ] {
        report(&mut rig, status).await;
        assert_eq!(told(bench.dial(dial("one")).await), expected, "{status:?}");
    }
    report(&mut rig, ExporterStatus::LeaseReady).await;
    rig.unregister(UnregisterRequest::default()).await.unwrap();
    assert_eq!(
        told(bench.dial(dial("one")).await),
        failed("exporter is offline")
    );
    lab.end("one").await;
    assert_eq!(
        told(bench.dial(dial("one")).await),
        is(Code::Unknown, "lease not active")
    );
}

#[tokio::test]
async fn an_exporter_that_was_killed_is_not_listening_and_then_offline() {
    let lab = Lab::new().await;
    let (mut rig, status) = lab.there().await;
    lab.ask("one", "bench").await;
    report(&mut rig, ExporterStatus::LeaseReady).await;
    drop((rig, status));
    lab.until("closed", |world| {
        world.exporters["rig-1"].presence.streams == 0
    })
    .await;
    let mut bench = lab.client("bench").await;
    assert_eq!(told(bench.dial(dial("one")).await).0, Code::Unavailable);
    // A minute and a bit later.
    lab.engine.presence("rig-1", |rig, now| {
        rig.presence.last_seen = Some(now - Duration::from_secs(61));
    });
    let lost = told(bench.dial(dial("one")).await);
    assert_eq!(lost, is(Code::FailedPrecondition, "exporter is offline"));
    // A controller that was restarted has not seen it at all: the client is to try again.
    lab.engine
        .presence("rig-1", |rig, _| rig.presence = Presence::default());
    assert_eq!(told(bench.dial(dial("one")).await).0, Code::Unavailable);
}

#[tokio::test]
async fn both_ends_get_one_token_for_the_lease_and_its_epoch() {
    let lab = Lab::new().await;
    let (mut rig, _status) = lab.there().await;
    lab.ask("one", "bench").await;
    report(&mut rig, ExporterStatus::LeaseReady).await;
    let listen = ListenRequest {
        lease_name: "one".into(),
    };
    let mut stream = rig.listen(listen).await.unwrap().into_inner();
    let mut bench = lab.client("bench").await;
    let answer = bench.dial(dial("one")).await.unwrap().into_inner();
    let item = next(&mut stream).await;
    assert_eq!(item.router_token, answer.router_token);
    assert_eq!(
        (
            item.router_endpoint.as_str(),
            answer.router_endpoint.as_str()
        ),
        (ROUTER, ROUTER)
    );
    let again = bench.dial(dial("one")).await.unwrap().into_inner();
    let read = |token: String| {
        let claim = lab
            .engine
            .tokens()
            .verify_stream(&Token::new(token), SystemTime::now());
        claim.unwrap()
    };
    let (first, second) = (read(answer.router_token), read(again.router_token));
    assert_eq!((first.lease.as_str(), first.epoch), ("one", 1));
    assert_ne!(first.stream, second.stream);
}

/// Until so many wait: nobody else follows the lab here.
async fn dials(engine: &Engine, count: usize) {
    let so = async {
        while engine.followers() != count {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, so).await.unwrap();
}

/// A Dial under way, which waits for its exporter.
async fn waiting(lab: &Lab) -> (Api, AbortOnDropHandle<(Code, String)>) {
    let (mut rig, mut status) = lab.there().await;
    lab.ask("one", "bench").await;
    assert!(next(&mut status).await.leased);
    let mut bench = lab.client("bench").await;
    let call = tokio::spawn(async move { told(bench.dial(dial("one")).await) });
    dials(&lab.engine, 1).await;
    assert!(!call.is_finished());
    // The stream stays open without being read.
    tokio::spawn(async move { while let Ok(Some(_)) = status.message().await {} });
    report(&mut rig, ExporterStatus::Available).await;
    (rig, AbortOnDropHandle::new(call))
}

#[tokio::test]
async fn a_waiting_dial_goes_on_at_once_when_the_exporter_is_ready() {
    let lab = Lab::new().await;
    let (mut rig, call) = waiting(&lab).await;
    let listen = ListenRequest {
        lease_name: "one".into(),
    };
    let mut stream = rig.listen(listen).await.unwrap().into_inner();
    let began = std::time::Instant::now();
    report(&mut rig, ExporterStatus::LeaseReady).await;
    assert_eq!(call.await.unwrap().0, Code::Ok);
    next(&mut stream).await;
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_waiting_dial_hears_that_its_lease_is_over_or_somebody_elses() {
    for (transfer, text) in [(true, "permission denied"), (false, "lease not active")] {
        let lab = Lab::new().await;
        let (_rig, call) = waiting(&lab).await;
        match transfer {
            true => lab.transfer("one", "other").await,
            false => lab.end("one").await,
        }
        assert_eq!(
            timeout(SOON, call).await.unwrap().unwrap(),
            is(Code::Unknown, text)
        );
    }
}

#[tokio::test]
async fn a_dial_waits_for_half_a_minute_and_no_longer() {
    let lab = Lab::new().await;
    let (_rig, call) = waiting(&lab).await;
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let text = "exporter is not ready (status: Available)";
    assert_eq!(call.await.unwrap(), is(Code::FailedPrecondition, text));
    let waited = began.elapsed();
    assert!(
        waited > Duration::from_secs(20) && waited < Duration::from_secs(31),
        "{waited:?}"
    );
}

#[tokio::test]
async fn a_dial_that_was_given_up_leaves_nothing() {
    let lab = Lab::new().await;
    let (mut rig, call) = waiting(&lab).await;
    let listen = ListenRequest {
        lease_name: "one".into(),
    };
    let mut stream = rig.listen(listen).await.unwrap().into_inner();
    drop(call);
    dials(&lab.engine, 0).await;
    report(&mut rig, ExporterStatus::LeaseReady).await;
    let mut bench = lab.client("bench").await;
    let answer = bench.dial(dial("one")).await.unwrap().into_inner();
    assert_eq!(
        next(&mut stream).await.router_token,
        answer.router_token,
        "the first item"
    );
}
