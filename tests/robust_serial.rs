//! A serial port that prints as fast as it can, or for long, while readers stall, come and go: memory
//! is bounded, and neither the other readers nor the device wait.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

mod support;
mod traffic;

#[path = "robust_serial/under_load.rs"]
mod under_load;

use std::{fs::File, io::Write, time::Duration};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use support::daemon::Listen;
use traffic::{
    process::Process,
    rig::{Rig, within},
};

const LINES: usize = 1_000_000;
const PATIENCE: Duration = Duration::from_secs(120);
const MIB: u64 = 1 << 20;
/// What the port keeps for readers, and what the allocator does with megabytes passing by.
const ALLOWED: u64 = 12 * MIB;
const END: &str = "that was all";

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_stalled_reader_of_a_port_costs_little_and_slows_nobody() {
    let board = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&board).unwrap();
    unlockpt(&board).unwrap();
    let name = ptsname(&board, Vec::new()).unwrap();
    let yaml = format!(
        "metadata: {{name: port}}\nexport:\n  console: {{type: serial, config: {{url: {}}}}}\n  \
         probe: {{type: power.mock}}\n",
        name.to_str().unwrap()
    );
    let mut rig = Rig::serve(&yaml, Listen::Unix);
    let process = Process(rig.daemon.pid());
    let (stalled, reading) = (rig.connect().await, rig.connect().await);
    let open = async |client: &rigd_client::Exporter| {
        let mut stream = client.device("console").await.unwrap().console().open();
        stream.opened().await.unwrap();
        stream
    };
    let unread = open(&stalled).await;
    let (_typist, mut reader) = open(&reading).await.split();
    let probe = stalled.device("probe").await.unwrap();
    probe.call("on", vec![]).await.unwrap();
    let before = process.resident();
    process.forget_peak();

    let mut board = File::from(board);
    let printing = tokio::task::spawn_blocking(move || {
        let mut sent = 0;
        for n in (0..LINES).step_by(100) {
            let lines: String = (n..n + 100).map(|n| format!("line {n}\r\n")).collect();
            board.write_all(lines.as_bytes()).unwrap();
            sent += lines.len();
        }
        board.write_all(END.as_bytes()).unwrap();
        (board, sent + END.len())
    });
    let read = async {
        let mut seen = Vec::new();
        while !seen.ends_with(END.as_bytes()) {
            seen.extend_from_slice(&reader.recv().await.unwrap().expect("the port goes on"));
        }
        seen
    };
    let calls = async {
        for _ in 0..200 {
            probe.call("on", vec![]).await.unwrap();
        }
    };
    let work = async { futures::join!(printing, read, calls) };
    let (printed, seen, ()) = within(PATIENCE, "a burst beside a stalled reader", work).await;
    let peak = process.peak();
    assert!(
        peak < before + ALLOWED,
        "{before} bytes before, at most {peak} meanwhile"
    );
    let (_board, sent) = printed.unwrap();
    let told = || rig.daemon.output.text().contains("A stream is too slow");
    // A reader on a busy machine may fall behind as well; the log then says so.
    let came = seen.len();
    assert!(came == sent || told(), "{came} of {sent} bytes came");
    // The stalled one gets the newest, and the log says what it missed.
    let (_typist2, mut late) = unread.split();
    let read = async {
        let mut seen = Vec::new();
        while !seen.ends_with(END.as_bytes()) {
            seen.extend_from_slice(&late.recv().await.unwrap().expect("the port goes on"));
        }
        seen.len()
    };
    let came = within(PATIENCE, "what the stalled reader missed", read).await;
    assert!(came < sent, "{came} of {sent} bytes were kept for it");
    rig.daemon.expect_line("word of lost bytes", |line| {
        line.contains("A stream is too slow") && line.contains("bytes were lost to it")
    });
    drop((late, reader, _typist, _typist2, probe, stalled, reading));
    rig.daemon.stop_cleanly();
}
