//! A lab that cannot keep what it is told. It takes a process of its own: this test program, with a
//! limit for its files.

use std::{path::Path, process::Command};

use tokio::task::JoinSet;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::*;
use crate::{
    engine::Engine,
    model::{End, ExporterState, Over, World},
    server::ServeError,
    store::{Change, Store},
};

/// Before each name whose change was answered with OK.
const KEPT: &str = "kept ";
const ENDED: &str = "the lab ended with: ";
/// Who fill the file, at the same time.
const WRITERS: usize = 8;

async fn put(engine: &Engine, name: &str) -> Result<(), tonic::Status> {
    let mut world = World::default();
    sample::client(&mut world, name, &[]);
    let change = Change::Client(name.to_owned(), world.clients.remove(name));
    engine.change(|_, _| Ok(((), vec![change]))).await
}

/// Waits until the lab holds what is asked for.
async fn ask(engine: &Engine, lease: &str, client: &str, selector: &str) {
    let asked = engine.change(|world, now| {
        let mut next = world.clone();
        sample::ask(&mut next, lease, client, sample::request(selector), now);
        let change = Change::Lease(lease.to_owned(), next.leases.remove(lease));
        Ok(((), vec![change]))
    });
    asked.await.unwrap();
}

fn report(engine: &Engine, exporter: &str, state: ExporterState) {
    let told = engine.presence(exporter, |exporter, now| {
        exporter.presence.reported(Some(state), String::new(), now);
    });
    told.unwrap();
}

#[tokio::test]
#[ignore = "runs as the child of another test"]
async fn child_without_room() {
    let site = Site::open().await;
    let engine = site.engine.clone();
    // `rig` is alice's and bob waits for it; bob waits for `spare` too, which is not ready.
    site.add(|world| sample::exporter(world, "rig", &[("board", "rpi4")]))
        .await;
    site.add(|world| sample::exporter(world, "spare", &[("board", "rpi5")]))
        .await;
    report(&engine, "spare", ExporterState::AfterLeaseHook);
    ask(&engine, "one", "alice", "board=rpi4").await;
    ask(&engine, "two", "bob", "board=rpi4").await;
    ask(&engine, "three", "bob", "board=rpi5").await;
    let (rig, spare) = (engine.holding("rig"), engine.holding("spare"));
    assert_eq!(rig.borrow().lease, "one");

    let mut health = HealthClient::new(site.channel().await);
    let watched = health.watch(HealthCheckRequest::default()).await.unwrap();
    let mut watched = watched.into_inner();
    let told = watched.message().await.unwrap().unwrap();
    assert_eq!(told.status(), ServingStatus::Serving);

    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let engine = engine.clone();
        writers.spawn(async move {
            for number in 0_u64.. {
                let name = format!("client-{writer}-{number}");
                match put(&engine, &name).await {
                    Ok(()) => println!("\n{KEPT}{name}"),
                    Err(refused) => return refused.code(),
                }
            }
            Code::Ok
        });
    }
    while let Some(refused) = writers.join_next().await {
        assert_eq!(refused.unwrap(), Code::Internal);
    }

    // Nothing that would give an exporter out does so any more.
    let before = engine.read(World::clone);
    let released = engine.change(|world, now| {
        let mut lease = world.leases["one"].clone();
        let how = End::Released;
        lease.over = Some(Over { at: now, how });
        Ok(((), vec![Change::Lease("one".into(), Some(lease))]))
    });
    assert_eq!(released.await.unwrap_err().code(), Code::Internal);
    assert_eq!(
        put(&engine, "late").await.unwrap_err().code(),
        Code::Internal
    );
    assert_eq!(engine.read(World::clone), before);
    report(&engine, "spare", ExporterState::Available);
    engine.run().await;
    assert_eq!(engine.read(|world| world.leases.clone()), before.leases);
    assert_eq!(rig.borrow().lease, "one");
    assert_eq!(spare.borrow().lease, "");

    let told = tokio::time::timeout(SOON, watched.message()).await;
    let told = told.expect("told some time").unwrap().unwrap();
    assert_eq!(told.status(), ServingStatus::NotServing);
    let mut site = site;
    let ended = tokio::time::timeout(SOON, &mut site.server).await;
    let ended = ended.expect("serves on").unwrap().unwrap_err();
    assert!(matches!(ended, ServeError::State(_)), "{ended}");
    let refused = tokio::net::TcpStream::connect(site.address).await;
    assert!(refused.is_err(), "the port is still open");
    println!("\n{ENDED}{ended}");
    // The parent looks at the directory, which would go with the site.
    std::process::exit(0);
}

/// The state of the site that had its directory here.
fn state_below(directory: &Path) -> World {
    let mut sites = std::fs::read_dir(directory).unwrap();
    let site = sites.next().unwrap().unwrap().path();
    let store = Store::open(&site.join("state")).unwrap();
    store.load().unwrap().world
}

#[test]
fn a_lab_that_cannot_keep_its_state_ends_and_has_confirmed_nothing_that_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let empty = tempfile::tempdir().unwrap();
    drop(Store::open(empty.path()).unwrap());
    let state = empty.path().join("controller.redb");
    let blocks = std::fs::metadata(state).unwrap().len() / 512 + 64;
    // The shell ignores the signal that would end the child instead of failing its write.
    let output = Command::new("sh")
        .args([
            "-c",
            &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\""),
        ])
        .arg(std::env::current_exe().unwrap())
        .args([
            "server::tests::full_disk::child_without_room",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env("TMPDIR", directory.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let ended = text.lines().find_map(|line| line.strip_prefix(ENDED));
    let ended = ended.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    assert!(
        ended.starts_with("the state takes no changes since a write failed"),
        "{ended}"
    );
    let world = state_below(directory.path());
    let kept: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix(KEPT))
        .collect();
    assert!(!kept.is_empty());
    for name in kept {
        assert!(world.clients.contains_key(name), "{name} was lost");
    }
    let holds = |lease: &str| sample::holds(&world, lease).map(str::to_owned);
    assert_eq!(holds("one").as_deref(), Some("rig"));
    assert_eq!((holds("two"), holds("three")), (None, None));
}
