//! A thousand leases with every kind of end: nothing is left of them in the daemon.

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
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use lab::Part;
use leased::{Board, Holder, LIMIT, dice, seed, within};
use rand::{RngExt as _, rngs::StdRng};
use rigd_client::{ByteChannel, Code, Compression, ExporterStatus, Items, Logs};
use serde_json::Value;
use support::{daemon::Daemon, settings::Settings};
use tokio::task::{AbortHandle, JoinSet};
use traffic::process::Process;

/// Leases at once: most of a lease is waiting, for a client that may still want to read the end.
const BOARDS: usize = 24;
/// From here on the daemon has seen everything, and what grows does so for every lease.
const WARM_UP: usize = 200;
const LEASES: usize = 1_000;
/// For a longer run, as many leases as this says.
const HOW_MANY: &str = "RIGD_TEST_LEASES";
/// What all leases after the warm-up may leave in memory: each exporter's last 1024 log lines, which
/// come by and by, and what the allocator keeps of what was in use at once.
const GROWTH: u64 = 14 << 20;

/// Longer than a lease that expires.
const TOO_LATE: Duration = Duration::from_millis(600);

const EXPORT: &str = "\
export:
  power: {type: power.mock}
  echo: {type: network.echo}
  board: {type: virtual.board, config: {card: {size: 1MiB}, boot_delay: 1ms}}
";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// As `jmp shell` leaves: EndSession, the last status, and the lease is deleted.
    Asked,
    /// EndSession, and gone without another word.
    Hasty,
    /// The controller's, while the client reads the status.
    Controller,
    /// The controller's, while the client does nothing.
    Unread,
    Expiry,
    Transfer,
    /// The client is gone without a word, in the middle of everything; the controller notices.
    Vanish,
    /// The next lease without a word in between.
    Switch,
    /// Nobody ever came.
    Nobody,
    /// Over before the exporter had told that it is ready.
    Early,
    /// The tunnels break, in the middle of everything, and the client comes back.
    Cut,
}

/// With how often of 100: those that make the exporter wait for a client are seldom.
const ENDS: [(End, u32); 11] = [
    (End::Asked, 18),
    (End::Hasty, 4),
    (End::Controller, 16),
    (End::Unread, 4),
    (End::Expiry, 10),
    (End::Transfer, 10),
    (End::Vanish, 8),
    (End::Switch, 8),
    (End::Nobody, 6),
    (End::Early, 8),
    (End::Cut, 8),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_a_thousand_leases() {
    let begin = Instant::now();
    let seed = seed();
    let leases = std::env::var(HOW_MANY).map_or(LEASES, |text| text.parse().unwrap());
    let settings = Settings::new();
    let boards: Vec<_> = (0..BOARDS)
        .map(|n| Arc::new(Board::new(format!("rig-{n}"))))
        .collect();
    let files: Vec<_> = boards
        .iter()
        .map(|board| board.configure(&settings, EXPORT))
        .collect();
    let files: Vec<&Path> = files.iter().map(AsRef::as_ref).collect();
    let marks: Vec<_> = boards.iter().map(|board| board.mark()).collect();
    let mut daemon = Daemon::serve(&files, &settings);
    for (board, mark) in boards.iter().zip(marks) {
        board.reports(mark, ExporterStatus::Available).await;
    }
    let process = Process(daemon.pid());
    let tally = Arc::new(Tally::default());
    let idle = process.holdings();
    println!("idle: {idle:?}, {} KiB", process.resident() / 1024);

    tally.run(&boards, WARM_UP, seed).await;
    let warm = process.resident();
    println!(
        "after {WARM_UP}: {:?}, {} KiB",
        process.holdings(),
        warm / 1024
    );
    tally.run(&boards, leases, seed + 1).await;
    let left = tokio::task::block_in_place(|| process.returns_to(idle, LIMIT));
    left.unwrap_or_else(|left| {
        let open = process.descriptors().join("\n");
        panic!("{left:?} instead of {idle:?}; open are\n{open}")
    });
    let end = process.resident();
    println!(
        "after {leases} more: {:?}, {} KiB",
        process.holdings(),
        end / 1024
    );
    println!(
        "all within {:.1?}; a lease with its end, on average:",
        begin.elapsed()
    );
    for (end, (count, sum)) in &*tally.ends.lock().unwrap() {
        println!("{count:5} {end:?}: {:.0?}", *sum / *count);
    }
    assert!(
        end < warm + GROWTH,
        "{end} bytes, {warm} after {WARM_UP} leases"
    );
    let stopping = Instant::now();
    daemon.stop_cleanly();
    println!("stopped within {:.1?}", stopping.elapsed());
}

#[derive(Debug, Default)]
struct Tally {
    begun: AtomicUsize,
    /// How many, and how long they took together.
    ends: Mutex<BTreeMap<End, (u32, Duration)>>,
}

impl Tally {
    /// Leases side by side until there were `total`.
    async fn run(self: &Arc<Self>, boards: &[Arc<Board>], total: usize, seed: u64) {
        let mut workers = JoinSet::new();
        for (part, board) in (0..).zip(boards) {
            let (board, tally) = (board.clone(), self.clone());
            let mut dice = dice(seed, part);
            workers.spawn(async move {
                while tally.begun.fetch_add(1, SeqCst) < total {
                    let (end, begin) = (any(&mut dice), Instant::now());
                    let lease = within("a lease", lease(&board, end, &mut dice));
                    lease.await;
                    tally.count(end, begin.elapsed());
                }
            });
        }
        while let Some(done) = workers.join_next().await {
            if let Err(error) = done {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        self.begun.store(total, SeqCst);
    }

    fn count(&self, end: End, took: Duration) {
        let mut ends = self.ends.lock().unwrap();
        let (count, sum) = ends.entry(end).or_default();
        *count += 1;
        *sum += took;
    }
}

fn any(dice: &mut StdRng) -> End {
    let mut number = dice.random_range(0..ENDS.iter().map(|(_, weight)| weight).sum());
    for (end, weight) in ENDS {
        match number.checked_sub(weight) {
            Some(rest) => number = rest,
            None => return end,
        }
    }
    unreachable!("the number is below the sum of the weights")
}

/// One lease, from Available to Available.
async fn lease(board: &Board, end: End, dice: &mut StdRng) {
    let mark = board.mark();
    let name = match end {
        End::Expiry => {
            let time = Duration::from_millis(dice.random_range(1..300));
            board.lab.lease_for(&board.name, "bench", time)
        }
        _ => board.lab.lease(&board.name, "bench"),
    };
    if end == End::Early {
        let wait = Duration::from_millis(dice.random_range(0..8));
        tokio::time::sleep(wait).await;
    } else if end != End::Expiry {
        board.reports(mark, ExporterStatus::LeaseReady).await;
    }
    match end {
        End::Nobody | End::Early => {
            // Unless the end came first, then there is nothing to hear.
            let told = board.lab.heard().len();
            board.lab.end_lease(&name);
            free(board, told).await;
        }
        End::Expiry => {
            // It may be over before the client comes, at any moment.
            let holder = board.holder(&name).await;
            let work = async {
                holder.call("power", "on").await.ok();
                holder.read_until_free().await;
            };
            // Where the client came too late, it would try for half a minute.
            tokio::time::timeout(TOO_LATE, work).await.ok();
            drop(holder);
            board.reports(mark, ExporterStatus::Available).await;
        }
        _ => held(board, end, name, dice).await,
    }
}

/// Waits until the exporter is free again after what was heard so far.
async fn free(board: &Board, told: usize) {
    let name = board.name.as_str();
    tokio::task::block_in_place(|| {
        board.lab.wait(LIMIT, |heard| {
            let new = &heard[told..];
            let freed = |it: &lab::Heard| it.from == name && it.reports(ExporterStatus::Available);
            new.iter().any(freed)
        })
    });
}

/// The part of a lease that a client sees.
async fn held(board: &Board, end: End, name: String, dice: &mut StdRng) {
    let holder = board.holder(&name).await;
    let traffic = Traffic::start(&holder, dice).await;
    let mark = board.mark();
    match end {
        End::Asked => {
            assert!(holder.exporter.end_session().await.unwrap().accepted);
            holder.read_until_free().await;
            board.lab.end_lease(&name);
        }
        End::Hasty => {
            assert!(holder.exporter.end_session().await.unwrap().accepted);
            drop((traffic, holder));
        }
        End::Controller => {
            board.lab.end_lease(&name);
            holder.read_until_free().await;
        }
        End::Transfer => {
            // Tunnels of the last moments before a transfer are cut at once: they may be the new
            // holder's.
            tokio::time::sleep(Duration::from_millis(300)).await;
            board.lab.transfer(&name, "other");
            // Until then the exporter does not know of it, and would let the new holder in with
            // the former one.
            let refused = async {
                loop {
                    if let Err(error) = holder.call("power", "on").await {
                        return error;
                    }
                }
            };
            let refused = within("the former holder's refusal", refused).await;
            assert_eq!(refused.code(), Some(Code::FailedPrecondition), "{refused}");
            let other = board.holder(&name).await;
            other.call("power", "off").await.unwrap();
            board.lab.end_lease(&name);
            other.read_until_free().await;
        }
        End::Vanish => {
            drop((holder, traffic));
            board.lab.end_lease(&name);
        }
        End::Switch => {
            let next = board.lab.switch_lease(&board.name, "other");
            holder.read_until_free().await;
            board.reports(mark, ExporterStatus::LeaseReady).await;
            let other = board.holder(&next).await;
            other.call("power", "off").await.unwrap();
            let mark = board.mark();
            board.lab.end_lease(&next);
            other.read_until_free().await;
            board.reports(mark, ExporterStatus::Available).await;
        }
        End::Cut => {
            board.lab.cut(Part::Router);
            drop(traffic);
            let again = async {
                while let Err(error) = holder.call("power", "off").await {
                    let code = error.code();
                    assert!(code != Some(Code::FailedPrecondition), "{error}");
                }
            };
            within("the way back after a cut", again).await;
            board.lab.end_lease(&name);
            holder.read_until_free().await;
        }
        _ => board.lab.end_lease(&name),
    }
    board.reports(mark, ExporterStatus::Available).await;
}

/// What a client has open when its lease ends.
#[derive(Default)]
struct Traffic {
    _logs: Option<Logs>,
    _channels: Vec<ByteChannel>,
    _readings: Option<Items<Value>>,
    upload: Option<AbortHandle>,
}

impl Drop for Traffic {
    fn drop(&mut self) {
        if let Some(upload) = &self.upload {
            upload.abort();
        }
    }
}

impl Traffic {
    async fn start(holder: &Holder, dice: &mut StdRng) -> Self {
        let mut traffic = Self::default();
        let exporter = &holder.exporter;
        let device = async |path: &str| exporter.device(path).await.unwrap();
        holder.call("power", "on").await.unwrap();
        if dice.random_bool(0.3) {
            traffic._logs = Some(exporter.logs().await.unwrap());
        }
        if dice.random_bool(0.3) {
            let mut echo = device("echo").await.stream("connect");
            let sent = Bytes::from(vec![7; dice.random_range(1..100_000)]);
            let length = sent.len();
            echo.send(sent).await.unwrap();
            let mut back = 0;
            while back < length {
                back += echo.recv().await.unwrap().expect("all of it").len();
            }
            traffic._channels.push(echo);
        }
        if dice.random_bool(0.3) {
            holder.call("board.power", "on").await.unwrap();
            let mut console = device("board.console").await.console().open();
            console.opened().await.unwrap();
            traffic._channels.push(console);
        }
        if dice.random_bool(0.2) {
            let power = device("board.power").await;
            let mut readings = power.streaming_call("read", vec![]).await.unwrap();
            readings.next().await.unwrap().unwrap();
            traffic._readings = Some(readings);
        }
        if dice.random_bool(0.2) {
            let storage = device("board.storage").await;
            let (mut source, sink) = tokio::io::duplex(64 * 1024);
            let sent = dice.random_range(1..200_000);
            let upload = tokio::spawn(async move {
                use tokio::io::AsyncWriteExt as _;
                let feeding = async {
                    source.write_all(&vec![1; sent]).await.ok();
                    std::future::pending::<()>().await;
                };
                let upload = storage.upload("write", |it| vec![it], sink, Compression::None);
                tokio::select! { _ = upload => {}, () = feeding => {} }
            });
            traffic.upload = Some(upload.abort_handle());
        }
        traffic
    }
}
