//! Many clients at once, readers that stall, and floods of tiny frames: nothing is lost, memory is
//! bounded, and nobody pays for somebody else.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

mod support;
mod traffic;

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use rigd_client::{ByteChannel, Compression, Exporter};
use serde_json::json;
use traffic::{
    board::{PROMPT, boot, read_until},
    process::Process,
    rig::{Rig, noise, within},
};

const CLIENTS: usize = 20;
const CALLS: usize = 50;
const MIB: u64 = 1 << 20;
/// Below what the console keeps for a reader, 1 MiB, so that nobody may lose a byte.
const LINES: usize = 50_000;
const IMAGE: usize = 24 << 20;
/// Minutes faster on an idle machine; a hang takes for ever.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_clients_at_once_lose_nothing() {
    let mut rig = Rig::start();
    boot(&rig.connect().await).await;
    let mut consoles = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let client = rig.connect().await;
        let mut console = client
            .device("board.console")
            .await
            .unwrap()
            .console()
            .open();
        console.opened().await.unwrap();
        consoles.push(console);
        clients.push(client);
    }
    let (mut senders, readers): (Vec<_>, Vec<_>) =
        consoles.into_iter().map(ByteChannel::split).unzip();
    let typed = format!("burst {LINES}\n");
    senders[0].send(typed.into()).await.unwrap();
    let readers = join_all(
        (readers.into_iter())
            .map(|mut reader| async move { read_until(&mut reader, PROMPT).await }),
    );
    let calls = join_all(clients.iter().map(|client| async move {
        let probe = client.device("probe").await.unwrap();
        for n in 0..CALLS {
            probe
                .call(if n % 2 == 0 { "on" } else { "off" }, vec![])
                .await
                .unwrap();
        }
    }));
    let uploads = join_all((["card", "card2"].iter().zip(2..)).map(|(path, seed)| {
        let client = &clients[seed as usize];
        async move {
            let image = noise(seed, IMAGE);
            upload(client, path, &image).await;
            image
        }
    }));
    let work = async { futures::join!(readers, calls, uploads) };
    let (read, _, images) = within(PATIENCE, "twenty clients' work", work).await;

    let mut wanted = format!("burst {LINES}\r\n");
    (1..=LINES).for_each(|n| wanted += &format!("burst {n}\r\n"));
    wanted += PROMPT;
    for (n, seen) in read.iter().enumerate() {
        assert!(
            seen == wanted.as_bytes(),
            "console {n}: {} of {} bytes",
            seen.len(),
            wanted.len()
        );
    }
    for (path, image) in ["card", "card2"].iter().zip(images) {
        let mut back = Vec::new();
        let card = clients[0].device(path).await.unwrap();
        let download = card.download("read", |handle| vec![handle], &mut back, Compression::None);
        within(PATIENCE, "reading a card", download).await.unwrap();
        assert!(back.starts_with(&image), "{path} is not what was sent");
    }
    drop((clients, senders));
    rig.daemon.stop_cleanly();
}

async fn upload(client: &Exporter, path: &str, image: &[u8]) {
    let card = client.device(path).await.unwrap();
    let write = card.upload("write", |handle| vec![handle], image, Compression::None);
    write.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_reader_of_a_million_lines_costs_little_and_slows_nobody() {
    const BURST: usize = 1_000_000;
    /// The console keeps 1 MiB for all; the stalled stream's windows are 64 KiB. The rest is what
    /// the allocator may do with megabytes passing by.
    const ALLOWED: u64 = 12 * MIB;
    let mut rig = Rig::start();
    let process = Process(rig.daemon.pid());
    let (stalled, reading, calling) = (
        rig.connect().await,
        rig.connect().await,
        rig.connect().await,
    );
    boot(&reading).await;
    let open = async |client: &Exporter| {
        let mut console = client
            .device("board.console")
            .await
            .unwrap()
            .console()
            .open();
        console.opened().await.unwrap();
        console
    };
    // Never read from until the burst is over.
    let stalled = open(&stalled).await;
    let (mut typist, mut reader) = open(&reading).await.split();
    let probe = calling.device("probe").await.unwrap();
    probe.call("on", vec![]).await.unwrap();
    let before = process.resident();
    process.forget_peak();

    typist
        .send(format!("burst {BURST}\n").into())
        .await
        .unwrap();
    let burst = async {
        let seen = read_until(&mut reader, PROMPT).await;
        (seen, Instant::now())
    };
    let calls = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..200 {
            let start = Instant::now();
            probe.call("on", vec![]).await.unwrap();
            slowest = slowest.max(start.elapsed());
        }
        slowest
    };
    let work = async { futures::join!(burst, calls) };
    let ((seen, _), slowest) = within(PATIENCE, "a burst beside a stalled reader", work).await;
    let peak = process.peak();
    assert!(
        peak < before + ALLOWED,
        "{before} bytes before, at most {peak} meanwhile"
    );
    assert!(slowest < Duration::from_secs(2), "a call took {slowest:?}");
    // A reader on a busy machine may fall behind as well, and is then told by how much.
    let wanted: usize = (1..=BURST).map(|n| format!("burst {n}\r\n").len()).sum();
    let typed = format!("burst {BURST}\r\n").len();
    assert_eq!(told(&seen), typed + wanted + PROMPT.len());

    let (_sender, mut late) = stalled.split();
    let seen = read_until(&mut late, PROMPT).await;
    assert!(String::from_utf8_lossy(&seen).contains(" bytes lost]"));
    assert_eq!(
        told(&seen),
        typed + wanted + PROMPT.len(),
        "what came, and what is told as lost"
    );
    drop((reading, calling, typist, reader, probe, late, _sender));
    rig.daemon.stop_cleanly();
}

/// Bytes that came and bytes that the console said were lost.
fn told(seen: &[u8]) -> usize {
    let text = String::from_utf8_lossy(seen);
    let mut total = seen.len();
    for piece in text.split("\r\n[console: ").skip(1) {
        let (lost, _) = piece.split_once(" bytes lost]\r\n").unwrap();
        total -= format!("\r\n[console: {lost} bytes lost]\r\n").len();
        total += lost.parse::<usize>().unwrap();
    }
    total
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_log_reader_costs_little_and_slows_nobody() {
    let mut rig = Rig::start();
    let process = Process(rig.daemon.pid());
    let (stalled, client) = (rig.connect().await, rig.connect().await);
    let logs = stalled.logs().await.unwrap();
    let probe = client.device("probe").await.unwrap();
    probe.call("on", vec![]).await.unwrap();
    let before = process.resident();
    process.forget_peak();
    let calls = async {
        for _ in 0..10_000 {
            // Each writes a line to the log.
            probe.call("on", vec![]).await.unwrap();
        }
    };
    within(PATIENCE, "calls beside a stalled log reader", calls).await;
    let peak = process.peak();
    assert!(
        peak < before + 12 * MIB,
        "{before} bytes before, at most {peak} meanwhile"
    );
    drop((logs, stalled, client, probe));
    rig.daemon.stop_cleanly();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_short_streams_and_calls_do_not_end_their_connection() {
    // h2 ends a connection after 100 empty DATA frames of one kind; clients close each stream and
    // each call with one of the other kind.
    const COUNT: usize = 1_500;
    let mut rig = Rig::start();
    let client = rig.connect().await;
    let echo = client.device("echo").await.unwrap();
    let probe = client.device("probe").await.unwrap();
    let work = async {
        for n in 0..COUNT {
            probe.call("on", vec![]).await.unwrap();
            let mut stream = echo.stream("connect");
            let sent = Bytes::from(format!("stream {n}"));
            stream.send(sent.clone()).await.unwrap();
            stream.finish().await.unwrap();
            let mut back = Vec::new();
            while let Some(bytes) = stream.recv().await.unwrap() {
                back.extend_from_slice(&bytes);
            }
            assert_eq!(back, sent);
        }
    };
    within(PATIENCE, "short streams and calls", work).await;
    drop((client, echo, probe));
    rig.daemon.stop_cleanly();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_vanishes_in_mid_upload_leaves_nothing_open() {
    let mut rig = Rig::start();
    let process = Process(rig.daemon.pid());
    let client = rig.connect().await;
    let card = client.device("card").await.unwrap();
    upload(&client, "card", &noise(3, 1 << 20)).await;
    let base = process.holdings();
    for _ in 0..5 {
        let leaving = rig.connect().await;
        let device = leaving.device("card").await.unwrap();
        // Sends 4 MiB and then nothing.
        let (mut source, sink) = tokio::io::duplex(1 << 20);
        let feeding = tokio::spawn(async move {
            use tokio::io::AsyncWriteExt;
            source.write_all(&noise(4, 4 << 20)).await.ok();
            std::future::pending::<()>().await;
        });
        let upload = device.upload("write", |handle| vec![handle], sink, Compression::None);
        tokio::time::timeout(Duration::from_millis(200), upload)
            .await
            .unwrap_err();
        feeding.abort();
        drop((device, leaving));
        let again = async {
            while let Err(error) = card.call("dut", vec![]).await {
                let text = error.to_string();
                if text.contains("incomplete") {
                    break;
                }
                assert!(text.contains("busy"), "{text}");
            }
        };
        within(
            Duration::from_secs(20),
            "the card after a broken upload",
            again,
        )
        .await;
    }
    let threads =
        tokio::task::spawn_blocking(move || process.returns_to(base, Duration::from_secs(20)));
    threads.await.unwrap().expect("what was held before");
    upload(&client, "card", &noise(5, 1 << 20)).await;
    assert_eq!(card.call("dut", vec![]).await.unwrap(), json!(null));
    drop((client, card));
    rig.daemon.stop_cleanly();
}
