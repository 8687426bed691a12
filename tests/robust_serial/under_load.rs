//! A port at 3 Mbaud for a minute, with ten readers: eight that read on, one that stalls, and one that
//! comes and goes. Nobody but the stalled one misses a byte, and memory is bounded.
//!
//! What is printed are records of equal length with their number, so that a byte that is lost, doubled
//! or out of order shows at once.

use std::{
    fs::File,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rigd_client::{ByteReceiver, ByteSender, Exporter};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::{
    support::daemon::Listen,
    traffic::{
        process::Process,
        rig::{Rig, within},
    },
};

/// 3 Mbaud with a start bit and a stop bit, bytes per second.
const RATE: u64 = 300_000;
const PRINTING: Duration = Duration::from_secs(60);
/// What is printed at once.
const TICK: Duration = Duration::from_millis(10);
const RECORD: usize = 32;
const RECORDS: u64 = RATE * PRINTING.as_secs() / RECORD as u64;
const TOTAL: u64 = RECORDS * RECORD as u64;

const STEADY: usize = 8;
/// How long the one that comes and goes stays.
const STAY: Duration = Duration::from_millis(1500);
/// How far a steady reader may be behind before the board waits for it: less than what the port keeps
/// for a reader (1 MiB). A machine that gives this process no time is nobody's fault; a daemon that
/// gives it no bytes makes the test late.
const LEAD: u64 = 512 * 1024;
/// Twice the time of the printing, and more.
const PATIENCE: Duration = Duration::from_secs(150);
/// What the port keeps, what is on its way to ten readers, and what the allocator makes of it.
const ALLOWED: u64 = 12 << 20;

fn record(number: u64) -> String {
    format!("{number:030}\r\n")
}

/// Checks what a reader gets.
#[derive(Default)]
struct Follower {
    rest: Vec<u8>,
    /// The number that has to come.
    next: Option<u64>,
    /// The first record may have been cut when it came.
    cut: bool,
}

impl Follower {
    fn from_the_beginning() -> Self {
        Self {
            next: Some(0),
            ..Self::default()
        }
    }

    fn from_somewhere() -> Self {
        Self {
            cut: true,
            ..Self::default()
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        if self.cut {
            let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') else {
                return;
            };
            self.rest.drain(..=end);
            self.cut = false;
        }
        let whole = self.rest.len() / RECORD * RECORD;
        for line in self.rest[..whole].chunks(RECORD) {
            let text = String::from_utf8_lossy(line);
            let number: u64 = text
                .strip_suffix("\r\n")
                .and_then(|digits| digits.parse().ok())
                .unwrap_or_else(|| panic!("{text:?} is no record; wanted {:?}", self.next));
            assert_eq!(number, self.next.unwrap_or(number), "the order of records");
            self.next = Some(number + 1);
        }
        self.rest.drain(..whole);
    }
}

/// Prints all records at the rate of the line. A board does not wait for its readers, see [`LEAD`].
fn print(mut board: File, read: &[AtomicU64]) -> File {
    let mut began = Instant::now();
    let mut printed = 0;
    let end = Instant::now() + PATIENCE;
    while printed < RECORDS {
        assert!(
            Instant::now() < end,
            "{printed} of {RECORDS} records went out"
        );
        let slowest = read.iter().map(|read| read.load(Ordering::Relaxed)).min();
        let due = RATE * began.elapsed().as_millis() as u64 / 1000 / RECORD as u64;
        if slowest.is_some_and(|slowest| printed * RECORD as u64 > slowest + LEAD) {
            // What it waits is not caught up with afterwards.
            began += TICK;
        } else if due > printed {
            let text: String = (printed..due.min(RECORDS)).map(record).collect();
            board.write_all(text.as_bytes()).unwrap();
            printed = due.min(RECORDS);
        }
        std::thread::sleep(TICK);
    }
    board
}

async fn open(client: &Exporter) -> (ByteSender, ByteReceiver) {
    let mut stream = client.device("console").await.unwrap().console().open();
    stream.opened().await.unwrap();
    stream.split()
}

async fn next(reader: &mut ByteReceiver) -> bytes::Bytes {
    let bytes = reader.recv().await.unwrap();
    bytes.expect("the port goes on")
}

async fn follow(mut reader: ByteReceiver, read: &AtomicU64) {
    let mut follower = Follower::from_the_beginning();
    let mut total = 0;
    while total < TOTAL {
        let bytes = next(&mut reader).await;
        follower.feed(&bytes);
        total += bytes.len() as u64;
        read.store(total, Ordering::Relaxed);
    }
    assert_eq!((total, follower.next), (TOTAL, Some(RECORDS)));
}

/// Comes and goes until the board has printed all; gives how often it came.
async fn come_and_go(rig: &Rig, done: &AtomicBool) -> usize {
    let mut times = 0;
    while !done.load(Ordering::Relaxed) {
        let client = rig.connect().await;
        let (_typist, mut reader) = open(&client).await;
        let mut follower = Follower::from_somewhere();
        let leave = tokio::time::Instant::now() + STAY;
        while let Ok(bytes) = tokio::time::timeout_at(leave, next(&mut reader)).await {
            follower.feed(&bytes);
        }
        assert!(follower.next.is_some() || done.load(Ordering::Relaxed));
        times += 1;
    }
    times
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn three_megabaud_for_ten_readers_lose_nothing() {
    let board = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&board).unwrap();
    unlockpt(&board).unwrap();
    let name = ptsname(&board, Vec::new()).unwrap();
    let yaml = format!(
        "metadata: {{name: port}}\nexport:\n  console:\n    type: serial\n    \
         config: {{url: {}, baudrate: 3000000}}\n",
        name.to_str().unwrap()
    );
    let mut rig = Rig::serve(&yaml, Listen::Unix);
    let process = Process(rig.daemon.pid());

    let read: Arc<[AtomicU64]> = (0..STEADY).map(|_| AtomicU64::new(0)).collect();
    let mut steady = Vec::new();
    for _ in 0..STEADY {
        let client = rig.connect().await;
        steady.push((open(&client).await, client));
    }
    let idle = rig.connect().await;
    let (_idle_typist, mut stalled) = open(&idle).await;
    let before = process.resident();
    process.forget_peak();

    let (counters, done) = (read.clone(), AtomicBool::new(false));
    let printing = async {
        let printing = tokio::task::spawn_blocking(move || print(File::from(board), &counters));
        let board = printing.await;
        done.store(true, Ordering::Relaxed);
        board.unwrap()
    };
    let readers = steady.into_iter().zip(&*read).map(async |(steady, read)| {
        let ((_typist, reader), _client) = steady;
        follow(reader, read).await;
    });
    let work = async {
        futures::join!(
            printing,
            futures::future::join_all(readers),
            come_and_go(&rig, &done)
        )
    };
    let began = Instant::now();
    let (_board, _, came) = within(PATIENCE, "a minute at 3 Mbaud", work).await;
    let took = began.elapsed();
    let peak = process.peak();
    println!(
        "{TOTAL} bytes in {took:.1?} to {STEADY} readers; one came {came} times; {} KiB before, at most {} meanwhile",
        before >> 10,
        peak >> 10
    );
    assert!(came >= 10, "it came {came} times");
    assert!(
        peak < before + ALLOWED,
        "{before} bytes before, at most {peak} meanwhile"
    );

    // The stalled one gets what was kept, the newest last, and the log says what it missed.
    let newest = record(RECORDS - 1);
    let kept = async {
        let mut seen = Vec::new();
        while !seen.ends_with(newest.as_bytes()) {
            seen.extend_from_slice(&next(&mut stalled).await);
        }
        seen.len() as u64
    };
    let kept = within(PATIENCE, "what is kept for the stalled reader", kept).await;
    assert!(kept < TOTAL / 2, "{kept} of {TOTAL} bytes were kept for it");
    rig.daemon.expect_line("word of lost bytes", |line| {
        line.contains("A stream is too slow") && line.contains("bytes were lost to it")
    });
    drop((stalled, _idle_typist, idle));
    rig.daemon.stop_cleanly();
}
