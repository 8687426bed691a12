//! The embedded controller is killed at any moment, under load and while it starts.
//!
//! | case | test |
//! |---|---|
//! | killed in a loop while clients create, change and release leases, and an administrator makes clients: what was acknowledged is there, nothing is half there, and the file passes its check | `nothing_acknowledged_is_lost_in_a_loop_of_kills` |
//! | killed while the next one starts, which repairs what the last one left | the same, every third round |
//! | killed during the first start, which makes keys and certificates | `a_first_start_that_is_killed_leaves_a_lab_or_none` |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

mod embedded;
mod support;

#[path = "embedded_killed/admin.rs"]
mod admin;
#[path = "embedded_killed/ledger.rs"]
mod ledger;
#[path = "embedded_killed/writer.rs"]
mod writer;

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use admin::Admin;
use embedded::Site;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rigd_controller::{model::World, store::Store};
use tokio::task::JoinSet;
use writer::Writer;

const KILLS: u64 = 30;
const WRITERS: u64 = 4;
/// How long a daemon may live under load, in milliseconds.
const LIFE: std::ops::Range<u64> = 5..400;
/// How long one that is killed while it starts; it serves after about as long.
const BIRTH: std::ops::Range<u64> = 0..120;
/// For a reproduction of a run, as the run printed it.
const SEED: &str = "RIGD_TEST_SEED";

fn dice() -> StdRng {
    let given = std::env::var(SEED).ok().and_then(|it| it.parse().ok());
    let seed = given.unwrap_or_else(rand::random::<u64>);
    println!("{SEED}={seed}");
    StdRng::seed_from_u64(seed)
}

/// A controller that does not get far.
async fn killed_at_birth(site: &Site, dice: &mut StdRng) {
    let mut child = site.controller_command(&[]).spawn().unwrap();
    // The moment is what this is about.
    tokio::time::sleep(Duration::from_millis(dice.random_range(BIRTH))).await;
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The state as it was left. A copy of it is opened, which checks it to its last page.
fn left(site: &Site) -> World {
    let copy = tempfile::tempdir().unwrap();
    fs::copy(site.state_file(), copy.path().join("controller.redb")).unwrap();
    let store = Store::open(copy.path()).expect("the file passes its check");
    store.load().unwrap().world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_in_a_loop_of_kills() {
    let begun = Instant::now();
    let mut dice = dice();
    let site = Site::new();
    let out = site.home("far.yaml");
    // It never comes, so that leases wait for it and do not end by themselves.
    let create = [
        "controller",
        "create",
        "exporter",
        "far",
        "-l",
        "board=far",
        "--out",
    ];
    site.ok(&[&create[..], &[out.to_str().unwrap()]].concat());
    let mut writers: Vec<_> = (0..WRITERS)
        .map(|number| {
            let name = format!("writer-{number}");
            site.create_client(&name);
            Writer::new(name, StdRng::seed_from_u64(dice.random()))
        })
        .collect();
    let mut admin = Admin::default();
    let (mut acknowledged, mut open_ends) = (0, 0);
    for round in 0..KILLS {
        if round % 3 == 2 {
            killed_at_birth(&site, &mut dice).await;
        }
        let mut daemon = site.controller(&[]);
        let killed = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for writer in writers.drain(..) {
            let caller = site.known(writer.name()).await;
            if round > 0 {
                writer.sees_the_same(&caller).await;
            }
            tasks.spawn(writer.work(caller, killed.clone()));
        }
        let socket = site.settings.path("run/control.sock");
        let endpoint = site.address();
        admin.tokens_are_good(&endpoint).await;
        let administers = tokio::spawn(admin.work(socket, killed.clone()));
        tokio::time::sleep(Duration::from_millis(dice.random_range(LIFE))).await;
        killed.store(true, SeqCst);
        daemon.kill();

        writers = tasks.join_all().await;
        admin = administers.await.unwrap();
        let world = left(&site);
        acknowledged =
            writers.iter().map(Writer::acknowledged).sum::<usize>() + admin.acknowledged();
        for writer in &mut writers {
            open_ends += writer.compare(&world);
        }
        open_ends += admin.compare(&world, WRITERS);
        let leases: usize = writers.iter().map(Writer::kept).sum();
        assert_eq!(
            world.leases.len(),
            leases,
            "there are leases that nobody asked for"
        );
        let mut numbers: Vec<_> = world.leases.values().map(|lease| lease.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(
            numbers.len(),
            leases,
            "two leases have one place in the queue"
        );
        assert!(numbers.last().is_none_or(|last| *last <= world.last_number));
    }
    println!(
        "{KILLS} kills in {:.1?}: {acknowledged} changes acknowledged, {open_ends} cut off",
        begun.elapsed()
    );
    // Otherwise the kills hit nobody at work.
    assert!(
        acknowledged > 10 * KILLS as usize,
        "{acknowledged} changes are no load"
    );
    assert!(open_ends > 0, "no change was under way at any kill");
    let mut daemon = site.controller(&[]);
    daemon.stop_cleanly();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_that_is_killed_leaves_a_lab_or_none() {
    let mut dice = dice();
    for _ in 0..10 {
        let site = Site::new();
        killed_at_birth(&site, &mut dice).await;
        killed_at_birth(&site, &mut dice).await;
        if site.state_file().exists() {
            left(&site);
        }
        let mut daemon = site.controller(&[]);
        let ci = site.client("ci").await;
        assert_eq!(ci.names("").await, [""; 0]);
        daemon.stop_cleanly();
    }
}
