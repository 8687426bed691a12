//! Many at once.

use futures::future::join_all;
use rigd_proto::v1::{DialRequest, ListenRequest};

use super::*;

const EXPORTERS: usize = 200;
/// Of which so many have one connection.
const EACH: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_exporters_hear_of_their_own_leases_only() {
    let lab = Lab::new().await;
    let name = |number: usize| format!("many-{number}");
    let new = (0..EXPORTERS).map(|number| Change::Exporter(name(number), Some(exporter())));
    lab.keep(new.collect()).await;
    let mut streams = Vec::new();
    for first in (0..EXPORTERS).step_by(EACH) {
        let channel = lab.connect().await;
        let open = (first..first + EACH).map(|number| {
            let who = lab.who(Kind::Exporter, &name(number));
            let mut rig = ControllerServiceClient::with_interceptor(channel.clone(), who);
            async move {
                rig.register(register_request()).await.unwrap();
                let mut status = rig.status(StatusRequest {}).await.unwrap().into_inner();
                assert!(!next(&mut status).await.leased);
                status
            }
        });
        streams.extend(join_all(open).await);
    }
    for number in 0..EXPORTERS {
        let wish = rules::Request {
            id: format!("lease-{number}"),
            exporter: Some(name(number)),
            ..request("")
        };
        let limits = Limits {
            open_per_client: usize::MAX,
            ..Limits::default()
        };
        let asked = lab.engine.change(|world, now| {
            let made = rules::create(world, &limits, "bench", &wish, Uuid::now_v7(), now)?;
            Ok(((), vec![Change::Lease(made.name, Some(made.lease))]))
        });
        asked.await.unwrap();
    }
    for (number, stream) in streams.iter_mut().enumerate() {
        let lease = next(stream).await.lease_name;
        assert_eq!(lease, Some(format!("lease-{number}")));
    }
    drop(streams);
    let away = |world: &crate::model::World| {
        world
            .exporters
            .values()
            .all(|rig| rig.presence.streams == 0)
    };
    lab.until("all away", away).await;
}

/// The engine cuts while it holds its lock, and the router asks the engine for every stream: neither
/// may wait for the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn streams_open_while_their_lease_changes_hands() {
    let lab = Arc::new(Lab::new().await);
    let (mut rig, _status) = lab.there().await;
    lab.ask("one", "bench").await;
    report(&mut rig, ExporterStatus::LeaseReady).await;
    let listen = ListenRequest {
        lease_name: "one".into(),
    };
    let mut offers = rig.listen(listen).await.unwrap().into_inner();
    let opens = |token: String| {
        let lab = Arc::clone(&lab);
        async move {
            let mut request = Request::new(futures::stream::empty());
            let value = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", value);
            if let Ok(stream) = lab.router().await.stream(request).await {
                end(&mut stream.into_inner()).await;
            }
        }
    };
    let mut exporters = tokio::task::JoinSet::new();
    let served = async {
        let mut holder = "bench";
        for _ in 0..50 {
            let mut client = lab.client(holder).await;
            let dialled = client
                .dial(DialRequest {
                    lease_name: "one".into(),
                })
                .await;
            let token = dialled.unwrap().into_inner().router_token;
            let offered = next(&mut offers).await.router_token;
            exporters.spawn(opens(offered));
            exporters.spawn(opens(token));
            holder = if holder == "bench" { "other" } else { "bench" };
            lab.transfer("one", holder).await;
        }
        while let Some(ended) = exporters.join_next().await {
            ended.unwrap();
        }
    };
    timeout(SOON, served).await.expect("no deadlock");
    assert_eq!(lab.engine.router().stats().pairs, 0);
}
