//! One client that asks for more than anybody may have.

use std::{
    fs,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use tonic::Code;

use super::Lab;
use crate::embedded::{Site, caller::wanted};

const ASKED: usize = 10_000;
/// What one client may have open, by `leases::Limits`.
const OPEN: usize = 100;
/// Calls at the same time.
const AT_ONCE: usize = 50;
/// What the flood may make another client wait, on a machine that compiles at the same time.
const SOON: Duration = Duration::from_secs(10);
/// What some thousand leases fit into, with the room that a database leaves between them.
const STATE_BYTES: u64 = 32 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_client_asks_for_ten_thousand_leases() {
    let site = Site::with_board();
    let mut daemon = site.run();
    // What nobody has is told at once; this one might still come.
    let out = site.home("far.yaml");
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
    let (greedy, other) = (site.client("greedy").await, site.client("other").await);
    other.sees("board=rpi4", &["rpi4"]).await;
    let asks = stream::iter(0..ASKED).map(|_| greedy.wish(wanted("board=far")));
    let flood = async {
        let (mut granted, mut refused) = (0, 0);
        let mut asks = std::pin::pin!(asks.buffer_unordered(AT_ONCE));
        while let Some(answer) = asks.next().await {
            match answer {
                Ok(_) => granted += 1,
                Err(status) => {
                    let text = "client \"greedy\" has 100 open leases, the most a client may have: \
                                release some of them first";
                    assert_eq!(
                        (status.code(), status.message()),
                        (Code::ResourceExhausted, text)
                    );
                    refused += 1;
                }
            }
        }
        (granted, refused)
    };
    let mut slowest = Duration::ZERO;
    let served = async {
        let mut turns = 0;
        // Until the flood is over, and at least once.
        loop {
            let begun = Instant::now();
            let lease = other.lease("board=rpi4").await;
            slowest = slowest.max(begun.elapsed());
            other.release(&lease).await.unwrap();
            other.sees("board=rpi4", &["rpi4"]).await;
            turns += 1;
            if turns == 3 {
                return;
            }
        }
    };
    let (counted, ()) = tokio::join!(flood, served);
    assert_eq!(counted, (OPEN, ASKED - OPEN));
    assert!(slowest < SOON, "another client waited {slowest:?}");
    // What it has, it may use up and ask again.
    let leases = greedy.leases().await.unwrap();
    assert_eq!(leases.len(), OPEN);
    let first = leases[0].name.rsplit('/').next().unwrap().to_owned();
    greedy.release(&first).await.unwrap();
    greedy.ask("board=far").await;
    let size = fs::metadata(site.state_file()).unwrap().len();
    assert!(size < STATE_BYTES, "the state has {size} bytes");
    daemon.stop_cleanly();
    // All of it is there again.
    let mut daemon = site.run();
    let greedy = site.known("greedy").await;
    assert_eq!(greedy.leases().await.unwrap().len(), OPEN);
    daemon.stop_cleanly();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_that_come_and_go_do_not_fill_the_disk() {
    let lab = Lab::new();
    let mut daemon = lab.site.controller(&[]);
    let ci = lab.site.known("ci").await;
    let turn = async || {
        let lease = ci.ask("board=rpi4").await;
        ci.release(&lease).await.unwrap();
        // What nobody has is over at once.
        ci.ask("board=none").await;
    };
    let turns = async |count: usize| {
        let turns = stream::iter(0..count).map(|_| turn());
        turns.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
        fs::metadata(lab.site.state_file()).unwrap().len()
    };
    // Ended ones are kept up to a thousand, and half as many more until somebody tidies up.
    for _ in 0..2 {
        let size = turns(800).await;
        assert!(size < STATE_BYTES, "the state has {size} bytes");
    }
    let kept = lab.site.get("leases").len();
    assert!(kept <= 1600, "{kept} leases are kept");
    daemon.stop_cleanly();
}
