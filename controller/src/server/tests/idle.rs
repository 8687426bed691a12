//! A lease that nobody uses.

use std::time::SystemTime;

use super::*;
use crate::schedule::{Idle, Settings};

/// Longer than anything here takes: the clock of the exporter is set back instead.
const LIMIT: Duration = Duration::from_secs(3600);

/// Waits until the lab is so.
async fn until(site: &Site, what: &str, so: impl Fn(&crate::model::World) -> bool) {
    let mut version = site.engine.version();
    let wait = async {
        while !site.engine.read(&so) {
            version.changed().await.unwrap();
        }
    };
    let waited = tokio::time::timeout(SOON, wait).await;
    waited.unwrap_or_else(|_| panic!("never: {what}"));
}

fn tunnels(site: &Site) -> usize {
    let tunnels = |world: &crate::model::World| world.exporters["rig"].presence.tunnels;
    site.engine.read(tunnels)
}

#[tokio::test]
async fn it_ends_when_its_tunnels_are_gone_and_not_while_one_is_open() {
    let idle = Idle {
        limit: LIMIT,
        from: SystemTime::now(),
    };
    let site = Site::open_with(Settings { idle: Some(idle) }).await;
    site.add(|world| sample::exporter(world, "rig", &[("board", "rpi4")]))
        .await;
    let (dialed, offered) = dial(&site).await;
    let channel = site.channel().await;
    let mut alice = End::open(&channel, &dialed.router_token, b"from alice").await;
    let mut rig = End::open(&channel, &offered.router_token, b"from rig").await;
    alice.hears().await;
    rig.hears().await;
    assert_eq!(tunnels(&site), 1);
    used(&site, SystemTime::now() - 2 * LIMIT);
    assert!(site.engine.read(|world| world.leases["one"].over.is_none()));

    let open = SystemTime::now();
    drop(alice);
    until(&site, "the tunnel is gone", |world| {
        world.exporters["rig"].presence.tunnels == 0
    })
    .await;
    site.engine.read(|world| {
        assert!(world.leases["one"].over.is_none());
        let last_used = world.exporters["rig"].presence.last_used;
        assert!(last_used.is_some_and(|used| used >= open), "{last_used:?}");
    });
    // The end is a moment away, and comes by itself.
    let last = SystemTime::now() + Duration::from_millis(200) - LIMIT;
    used(&site, last);
    until(&site, "the lease is over", |world| {
        world.leases["one"].over.is_some()
    })
    .await;
    site.engine.read(|world| {
        let lease = &world.leases["one"];
        let over = lease.over.as_ref().unwrap();
        assert_eq!(over.how, crate::model::End::Expired);
        assert!(over.at >= last + LIMIT);
        let why = "No connection for 60 min";
        let told = lease.conditions.iter().any(|one| one.message == why);
        assert!(told, "{:?}", lease.conditions);
    });
}

/// The exporter was last used then.
fn used(site: &Site, at: SystemTime) {
    let set = site
        .engine
        .presence("rig", |rig, _| rig.presence.last_used = Some(at));
    set.unwrap();
}

#[tokio::test]
async fn tunnels_are_counted_from_when_the_first_end_came() {
    let site = Site::open().await;
    site.add(|world| sample::exporter(world, "rig", &[("board", "rpi4")]))
        .await;
    let (dialed, offered) = dial(&site).await;
    let channel = site.channel().await;
    let alice = End::open(&channel, &dialed.router_token, b"from alice").await;
    assert_eq!(tunnels(&site), 1);
    let rig = End::open(&channel, &offered.router_token, b"from rig").await;
    assert_eq!(tunnels(&site), 1);
    site.engine.router().cut("one", crate::router::Cut::Ended);
    none_is_left(&site).await;
    drop((alice, rig));
    assert_eq!(tunnels(&site), 0);
}

#[tokio::test]
async fn one_that_waits_in_vain_counts_until_it_leaves() {
    let site = Site::open().await;
    site.add(|world| sample::exporter(world, "rig", &[("board", "rpi4")]))
        .await;
    let (dialed, _) = dial(&site).await;
    let channel = site.channel().await;
    let alice = End::open(&channel, &dialed.router_token, b"from alice").await;
    assert_eq!(tunnels(&site), 1);
    drop(alice);
    none_is_left(&site).await;
}

/// Nothing tells of it: without a limit for idle leases, nothing follows.
async fn none_is_left(site: &Site) {
    let gone = async {
        while tunnels(site) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let gone = tokio::time::timeout(SOON, gone).await;
    gone.expect("a tunnel that ended is gone");
}

#[tokio::test]
async fn a_dial_and_another_holder_are_use() {
    let site = Site::open().await;
    site.add(|world| sample::exporter(world, "rig", &[("board", "rpi4")]))
        .await;
    let used_at = |site: &Site| {
        let used = |world: &crate::model::World| world.exporters["rig"].presence.last_used;
        site.engine.read(used)
    };
    let forget = |site: &Site| {
        let forget = site
            .engine
            .note("rig", |rig, _| rig.presence.last_used = None);
        forget.unwrap();
    };
    dial(&site).await;
    forget(&site);
    let alice = site.credentials(Kind::Client, "alice");
    let mut alice = ControllerServiceClient::with_interceptor(site.channel().await, alice);
    let dialed = alice.dial(DialRequest {
        lease_name: "one".to_owned(),
    });
    // Nobody listens any more, and it counts all the same.
    dialed.await.ok();
    assert!(used_at(&site).is_some());

    forget(&site);
    let transfer = |client: Option<&str>| {
        let client = client.map(str::to_owned);
        let times = crate::leases::WantedTimes {
            duration: sample::seconds(90),
            ..Default::default()
        };
        let update = crate::leases::Update { times, client };
        let limits = crate::leases::Limits::default();
        site.engine.change(move |world, _| {
            let lease = crate::leases::update(world, &limits, "alice", "one", &update)?;
            let change = crate::store::Change::Lease("one".into(), Some(lease));
            Ok(((), vec![change]))
        })
    };
    transfer(None).await.unwrap();
    assert_eq!(used_at(&site), None);
    transfer(Some("bob")).await.unwrap();
    assert!(used_at(&site).is_some());
}
