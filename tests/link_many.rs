//! Eight exporters in one daemon: what they cost, and that one whose hardware hangs costs the others
//! nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

mod lab;
mod leased;
mod support;
mod traffic;

use std::{
    os::fd::OwnedFd,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use leased::{Board, Holder, within};
use rigd_client::{Compression, ExporterStatus};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use support::{daemon::Daemon, settings::Settings};
use tokio::{io::AsyncWriteExt as _, task::JoinSet};
use traffic::process::Process;

const BOARDS: usize = 8;
/// Leases of each exporter in one measurement.
const ROUNDS: usize = 10;
/// The goal is 24 MiB for a build with optimisation, whose code is much smaller than this one's.
const IDLE: u64 = 64 << 20;
/// How much longer the others' leases may take beside hanging hardware: a machine that compiles is
/// slow as well, and a lease that waited for the hardware would take many seconds.
const SLOWER: u32 = 5;
const AT_LEAST: Duration = Duration::from_millis(1_000);

/// As a real rig: power, a card, a console, a relay, network.
const EXPORT: &str = "\
export:
  board: {type: virtual.board, config: {card: {size: 16MiB}, boot_delay: 1ms}}
  probe: {type: power.mock}
  echo: {type: network.echo}
";

struct Farm {
    boards: Vec<Arc<Board>>,
    // Stopped before its directories go, and while its labs still listen.
    daemon: Daemon,
    _settings: Settings,
}

impl Farm {
    /// The first exporter has another configuration.
    async fn start(first: &str) -> Self {
        let settings = Settings::new();
        let boards: Vec<_> = (0..BOARDS)
            .map(|n| Arc::new(Board::new(format!("rig-{n}"))))
            .collect();
        let files: Vec<_> = boards
            .iter()
            .zip(std::iter::once(first).chain(std::iter::repeat(EXPORT)))
            .map(|(board, export)| board.configure(&settings, export))
            .collect();
        let files: Vec<&Path> = files.iter().map(AsRef::as_ref).collect();
        let marks: Vec<_> = boards.iter().map(|board| board.mark()).collect();
        let daemon = Daemon::serve(&files, &settings);
        for (board, mark) in boards.iter().zip(marks) {
            board.reports(mark, ExporterStatus::Available).await;
        }
        Self {
            boards,
            daemon,
            _settings: settings,
        }
    }

    /// From the controller's word to the free exporter, all but the first side by side: the middle
    /// and the longest.
    async fn turn_around(&self) -> (Duration, Duration) {
        let mut workers = JoinSet::new();
        for board in &self.boards[1..] {
            let board = board.clone();
            workers.spawn(async move {
                let mut times = Vec::new();
                for _ in 0..ROUNDS {
                    let begin = Instant::now();
                    within("a lease", lease(&board)).await;
                    times.push(begin.elapsed());
                }
                times
            });
        }
        let mut times = Vec::new();
        while let Some(done) = workers.join_next().await {
            times.extend(done.unwrap());
        }
        times.sort_unstable();
        (times[times.len() / 2], times[times.len() - 1])
    }
}

async fn lease(board: &Board) {
    let mark = board.mark();
    let lease = board.lab.lease(&board.name, "bench");
    board.reports(mark, ExporterStatus::LeaseReady).await;
    let holder = board.holder(&lease).await;
    holder.call("probe", "on").await.unwrap();
    let card = holder.exporter.device("board.storage").await.unwrap();
    let image = vec![5; 64 * 1024];
    let write = card.upload("write", |it| vec![it], &image[..], Compression::None);
    write.await.unwrap();
    assert!(holder.exporter.end_session().await.unwrap().accepted);
    holder.read_until_free().await;
    let mark = board.mark();
    board.lab.end_lease(&lease);
    board.reports(mark, ExporterStatus::Available).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_idle_exporters_cost_little() {
    let mut farm = Farm::start(EXPORT).await;
    let process = Process(farm.daemon.pid());
    let registered = process.resident();
    farm.turn_around().await;
    println!(
        "{BOARDS} exporters: {} KiB once registered, {} KiB after {} leases, {:?}",
        registered / 1024,
        process.resident() / 1024,
        (BOARDS - 1) * ROUNDS,
        process.holdings(),
    );
    assert!(registered < IDLE, "{registered} bytes");
    farm.daemon.stop_cleanly();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_card_reader_delays_nobody_else() {
    let stuck = EXPORT.replace(
        "boot_delay: 1ms",
        "boot_delay: 1ms, faults: {card_stall: true}",
    );
    let mut farm = Farm::start(&stuck).await;
    let alone = farm.turn_around().await;
    let (board, lease, holder) = hold(&farm).await;
    let card = holder.exporter.device("board.storage").await.unwrap();
    let (mut source, sink) = tokio::io::duplex(64 * 1024);
    let upload = tokio::spawn(async move {
        card.upload("write", |it| vec![it], sink, Compression::None)
            .await
    });
    // The call is in the driver when it no longer takes what comes.
    fill(async |bytes| source.write_all(bytes).await.is_ok()).await;
    let hanging = farm.turn_around().await;
    // And while the exporter waits for it to end the lease.
    board.lab.end_lease(&lease);
    within("the upload's end", upload)
        .await
        .unwrap()
        .unwrap_err();
    let ending = farm.turn_around().await;
    compare("a stuck card reader", alone, [hanging, ending]);
    drop(holder);
    farm.daemon.stop_cleanly();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_console_that_takes_nothing_delays_nobody_else() {
    let (_deaf, name) = pty();
    let stuck = format!("export:\n  console: {{type: serial, config: {{url: {name}}}}}\n");
    let mut farm = Farm::start(&stuck).await;
    let alone = farm.turn_around().await;
    let (board, lease, holder) = hold(&farm).await;
    let mut console = holder
        .exporter
        .device("console")
        .await
        .unwrap()
        .console()
        .open();
    console.opened().await.unwrap();
    fill(async |bytes| console.send(Bytes::copy_from_slice(bytes)).await.is_ok()).await;
    let hanging = farm.turn_around().await;
    board.lab.end_lease(&lease);
    let ending = farm.turn_around().await;
    compare("a deaf console", alone, [hanging, ending]);
    drop(holder);
    farm.daemon.stop_cleanly();
}

/// A lease of the first exporter.
async fn hold(farm: &Farm) -> (Arc<Board>, String, Holder) {
    let board = farm.boards[0].clone();
    let mark = board.mark();
    let lease = board.lab.lease(&board.name, "stuck");
    board.reports(mark, ExporterStatus::LeaseReady).await;
    let holder = board.holder(&lease).await;
    (board, lease, holder)
}

/// Sends until nothing is taken for a while.
async fn fill(mut send: impl AsyncFnMut(&[u8]) -> bool) {
    const STUCK: Duration = Duration::from_millis(500);
    let piece = vec![b'x'; 16 * 1024];
    while let Ok(taken) = tokio::time::timeout(STUCK, send(&piece)).await {
        assert!(taken, "it ended instead of hanging");
    }
}

fn compare(what: &str, alone: (Duration, Duration), beside: [(Duration, Duration); 2]) {
    println!(
        "turn-around, middle and longest: {alone:.0?}; beside {what}, in and after its lease: {beside:.0?}"
    );
    for (_, longest) in beside {
        let allowed = (alone.1 * SLOWER).max(AT_LEAST);
        assert!(
            longest < allowed,
            "{longest:?} beside {what}, {allowed:?} is allowed"
        );
    }
}

/// A terminal that nobody reads, and its name.
fn pty() -> (OwnedFd, String) {
    let board = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&board).unwrap();
    unlockpt(&board).unwrap();
    let name = ptsname(&board, Vec::new()).unwrap();
    (board, name.into_string().unwrap())
}
