//! The queue of a lease.

use futures::StreamExt as _;
use rigd_proto::v1::{DialRequest, ListenRequest, ListenResponse};

use super::{
    super::{
        Answers,
        listen::{Offer, Refused},
    },
    log::Log,
    *,
};

fn dial(lease: &str) -> DialRequest {
    DialRequest {
        lease_name: lease.into(),
    }
}

fn offer(number: u64, epoch: u64) -> Offer {
    let place = ListenResponse {
        router_endpoint: ROUTER.into(),
        router_token: number.to_string(),
    };
    Offer { epoch, place }
}

fn peer(port: u16) -> Peer {
    Peer(Some(([192, 0, 2, 1], port).into()))
}

async fn all(mut stream: Answers<ListenResponse>) -> Vec<String> {
    let mut all = Vec::new();
    let read = async {
        while let Some(item) = stream.next().await {
            all.push(item.unwrap().router_token);
        }
    };
    timeout(SOON, read).await.expect("an end");
    all
}

/// Held by `bench`, and ready.
async fn leased(lab: &Lab) -> (Api, Streaming<StatusResponse>) {
    let (mut rig, mut status) = lab.there().await;
    lab.ask("one", "bench").await;
    assert!(next(&mut status).await.leased);
    report(&mut rig, ExporterStatus::LeaseReady).await;
    (rig, status)
}

#[tokio::test]
async fn who_may_listen() {
    let lab = Lab::new().await;
    let (mut rig, _status) = leased(&lab).await;
    lab.keep(vec![Change::Exporter("rig-2".into(), Some(exporter()))])
        .await;
    let mut foreign = lab.exporter("rig-2").await;
    let listen = |lease: &str| ListenRequest {
        lease_name: lease.into(),
    };
    let unknown = |text: &str| (Code::Unknown, text.to_owned());
    assert_eq!(
        told(rig.listen(listen("")).await),
        unknown("empty lease name")
    );
    let missing = "Lease.jumpstarter.dev \"nix\" not found";
    assert_eq!(told(rig.listen(listen("nix")).await), unknown(missing));
    assert_eq!(
        told(foreign.listen(listen("one")).await),
        unknown("permission denied")
    );
    lab.end("one").await;
    assert_eq!(
        told(rig.listen(listen("one")).await),
        unknown("lease not active")
    );
}

#[tokio::test]
async fn eight_wait_and_the_ninth_is_told_so() {
    let lab = Lab::new().await;
    let _rig = leased(&lab).await;
    // Nobody reads it.
    let stream = lab
        .service
        .do_listen("rig-1", "one".into(), peer(1))
        .unwrap();
    let mut bench = lab.client("bench").await;
    for _ in 0..8 {
        bench.dial(dial("one")).await.unwrap();
    }
    let (code, text) = told(bench.dial(dial("one")).await);
    assert_eq!(code, Code::ResourceExhausted, "{text}");
    drop(stream);
    assert_eq!(lab.service.listeners.count(), 0);
    let (code, text) = told(bench.dial(dial("one")).await);
    assert_eq!(
        (code, text.as_str()),
        (Code::Unavailable, "exporter is not listening on lease one")
    );
}

#[tokio::test]
async fn an_older_one_delivers_what_it_has_and_ends_well() {
    let lab = Lab::new().await;
    let _rig = leased(&lab).await;
    let listen = |port| {
        lab.service
            .do_listen("rig-1", "one".into(), peer(port))
            .unwrap()
    };
    let older = listen(1);
    for number in 1..=2 {
        lab.service
            .listeners
            .offer("one", offer(number, 1))
            .unwrap();
    }
    let mut newer = listen(2);
    lab.service.listeners.offer("one", offer(3, 1)).unwrap();
    assert_eq!(all(older).await, ["1", "2"]);
    assert_eq!(newer.next().await.unwrap().unwrap().router_token, "3");
    assert_eq!(
        lab.service.listeners.count(),
        1,
        "the older one's end is not the newer one's"
    );
}

#[tokio::test]
async fn it_ends_some_time_after_its_lease_and_takes_nothing_more() {
    let lab = Lab::new().await;
    let (mut rig, _status) = leased(&lab).await;
    let listen = ListenRequest {
        lease_name: "one".into(),
    };
    let mut stream = rig.listen(listen).await.unwrap().into_inner();
    lab.end("one").await;
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    assert_eq!(end(&mut stream).await.0, Code::Ok);
    assert!(began.elapsed() >= Duration::from_secs(4));
    assert_eq!(
        lab.service.listeners.offer("one", offer(1, 1)),
        Err(Refused::Nobody)
    );
}

#[tokio::test]
async fn after_a_transfer_it_serves_the_new_holder_and_forgets_the_former_ones_dials() {
    let lab = Lab::new().await;
    let _rig = leased(&lab).await;
    let mut stream = lab
        .service
        .do_listen("rig-1", "one".into(), peer(1))
        .unwrap();
    let (mut bench, mut other) = (lab.client("bench").await, lab.client("other").await);
    let former = bench.dial(dial("one")).await.unwrap().into_inner();
    lab.transfer("one", "other").await;
    let refused = told(bench.dial(dial("one")).await);
    assert_eq!(refused, (Code::Unknown, "permission denied".into()));
    let new = other.dial(dial("one")).await.unwrap().into_inner();
    let first = stream.next().await.unwrap().unwrap();
    assert_eq!(first.router_token, new.router_token);
    assert_ne!(first.router_token, former.router_token);
}

#[tokio::test]
async fn two_exporters_of_one_identity_are_told_of_once_and_slowed_down() {
    let lab = Lab::new().await;
    let _rig = leased(&lab).await;
    let log = Log::new();
    let listen = |port| {
        lab.service
            .do_listen("rig-1", "one".into(), peer(port))
            .unwrap()
    };
    let mut last = listen(0);
    tokio::time::pause();
    for port in 1..=20 {
        let newer = listen(port);
        let began = tokio::time::Instant::now();
        assert!(all(std::mem::replace(&mut last, newer)).await.is_empty());
        let slow = began.elapsed() >= Duration::from_millis(900);
        assert_eq!(slow, port > 5, "{port}");
    }
    let lines = log.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in ["rig-1", "192.0.2.1:5", "192.0.2.1:6"] {
        assert!(lines[0].contains(part), "{lines:?}");
    }
}

#[tokio::test]
async fn an_exporter_that_lost_its_connection_now_and_then_is_no_rival() {
    let lab = Lab::new().await;
    let _rig = leased(&lab).await;
    let log = Log::new();
    tokio::time::pause();
    let listen = |port| {
        lab.service
            .do_listen("rig-1", "one".into(), peer(port))
            .unwrap()
    };
    let mut last = listen(0);
    for port in 1..=30 {
        tokio::time::sleep(Duration::from_secs(15)).await;
        last = listen(port);
    }
    drop(last);
    assert_eq!(log.lines(), Vec::<String>::new());
}
