//! A disk that does not keep up, and steps that are not taken twice.

use std::path::Path;

use futures::FutureExt;
use tokio_util::task::AbortOnDropHandle;
use tonic::Code;

use super::*;
use crate::{
    model::{ExporterState, Lease},
    sample,
};

/// Nothing here takes so long unless it hangs.
const SOON: Duration = Duration::from_secs(20);

/// With the client `alice`, and the exporter `rig-1`, which is there.
async fn lab(directory: &Path) -> Engine {
    let store = Store::open(directory).unwrap();
    let engine = Engine::open("lab".into(), store, Settings::default()).unwrap();
    let mut world = World::default();
    sample::client(&mut world, "alice", &[]);
    sample::exporter(&mut world, "rig-1", &[("board", "rpi4")]);
    let (alice, rig) = (
        world.clients.remove("alice"),
        world.exporters.remove("rig-1"),
    );
    let all = vec![
        Change::Client("alice".into(), alice),
        Change::Exporter("rig-1".into(), rig),
    ];
    engine.change(|_, _| Ok(((), all))).await.unwrap();
    engine
}

async fn ask(engine: &Engine, name: &str, seconds: i64) -> Result<(), Status> {
    let asked = engine.change(|world, now| {
        let mut next = world.clone();
        let mut request = sample::request("board");
        request.times.duration = sample::seconds(seconds);
        sample::ask(&mut next, name, "alice", request, now);
        let lease = next.leases.remove(name);
        Ok(((), vec![Change::Lease(name.to_owned(), lease)]))
    });
    asked.await
}

async fn until(engine: &Engine, lease: &str, so: impl Fn(&Lease) -> bool) {
    let mut version = engine.version();
    let wait = async {
        while !engine.read(|world| so(&world.leases[lease])) {
            version.changed().await.unwrap();
        }
    };
    tokio::time::timeout(SOON, wait).await.expect(lease);
}

fn report(engine: &Engine, state: ExporterState) {
    let told = engine.presence("rig-1", |exporter, now| {
        exporter.presence.reported(Some(state), String::new(), now);
    });
    told.unwrap();
}

#[tokio::test]
async fn a_disk_that_does_not_keep_up_is_told_and_nothing_runs_ahead_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let engine = lab(directory.path()).await;
    report(&engine, ExporterState::AfterLeaseHook);
    ask(&engine, "one", 60).await.unwrap();
    let of_task = engine.clone();
    let run = tokio::spawn(async move { of_task.run().await });
    let _run = AbortOnDropHandle::new(run);

    let held = engine.0.store.hold();
    let mut waiting = Vec::new();
    while engine.0.store.room() > 0 {
        let nothing = engine.change(|_, _| Ok(((), Vec::new())));
        // Queued by its first poll.
        let mut nothing = Box::pin(nothing);
        assert!(nothing.as_mut().now_or_never().is_none());
        waiting.push(nothing);
    }
    let before = engine.read(World::clone);
    let mut version = engine.version();
    let refused = ask(&engine, "two", 60).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(engine.read(World::clone), before);
    assert!(!version.has_changed().unwrap());

    // Who waits for the exporter hears of it, but the lease has its turn when that can be kept.
    let holding = engine.holding("rig-1");
    report(&engine, ExporterState::Available);
    assert!(version.has_changed().unwrap());
    version.mark_unchanged();
    version.changed().await.unwrap();
    assert_eq!(engine.read(|world| world.leases["one"].held.clone()), None);
    assert_eq!(holding.borrow().lease, "");
    drop(held);
    until(&engine, "one", |one| one.held.is_some()).await;
    assert_eq!(holding.borrow().lease, "one");
    for one in waiting {
        one.await.unwrap();
    }
    ask(&engine, "two", 60).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_written_down_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let engine = lab(directory.path()).await;
    let before = engine.read(World::clone);
    let mut alice = before.clients["alice"].clone();
    alice.created = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    let changes = vec![
        Change::Exporter("rig-1".into(), None),
        Change::Client("alice".into(), Some(alice)),
    ];
    let refused = engine.change(|_, _| Ok(((), changes))).await.unwrap_err();
    assert_eq!(refused.code(), Code::Internal);
    assert_eq!(engine.read(World::clone), before);
    assert!(engine.poisoned().is_none());
    ask(&engine, "one", 60).await.unwrap();
}

#[tokio::test]
async fn a_change_takes_one_step_and_moves_the_time_of_the_next_one() {
    let directory = tempfile::tempdir().unwrap();
    let engine = lab(directory.path()).await;
    let mut version = engine.version();
    let of_task = engine.clone();
    let run = tokio::spawn(async move { of_task.run().await });
    let _run = AbortOnDropHandle::new(run);
    version.changed().await.unwrap();
    let before = *version.borrow_and_update();
    ask(&engine, "long", 3600).await.unwrap();
    ask(&engine, "short", 3600).await.unwrap();
    // The one that runs has its turn after each of these.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(*version.borrow_and_update(), before + 2);

    let ended = engine.change(|world, now| {
        let long = crate::leases::delete(world, "alice", "long", "long", now);
        Ok(((), vec![Change::Lease("long".into(), long.unwrap())]))
    });
    ended.await.unwrap();
    until(&engine, "short", |short| short.held.is_some()).await;
    // Sooner than the step that is taken anyhow.
    let shorter = engine.change(|world, _| {
        let mut short = world.leases["short"].clone();
        short.duration = Some(Duration::from_secs(1));
        Ok(((), vec![Change::Lease("short".into(), Some(short))]))
    });
    shorter.await.unwrap();
    until(&engine, "short", |short| short.over.is_some()).await;
}
