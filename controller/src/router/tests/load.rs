//! Much of everything, and ends that do not read.

use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;

use super::*;

/// For whole transfers in an unoptimised build on a busy machine.
const LONG: Duration = Duration::from_secs(120);
/// Pressure is there when a frame has not been taken for so long.
const PRESSURE: Duration = Duration::from_secs(1);

/// Sends frames of 64 KiB, each another one, and gives their digest.
async fn upload(up: mpsc::Sender<StreamRequest>, frames: u64, seed: u64) -> [u8; 32] {
    let mut digest = Sha256::new();
    for number in 0..frames {
        let mut payload = vec![seed as u8; 65536];
        payload[..8].copy_from_slice(&(seed + number).to_be_bytes());
        digest.update(&payload);
        up.send(frame(FrameType::Data, payload)).await.unwrap();
    }
    digest.finalize().into()
}

/// Reads until the end.
async fn download(mut down: Streaming<StreamResponse>) -> (u64, [u8; 32]) {
    let (mut digest, mut bytes) = (Sha256::new(), 0);
    while let Some(frame) = down.message().await.unwrap() {
        digest.update(&frame.payload);
        bytes += frame.payload.len() as u64;
    }
    (bytes, digest.finalize().into())
}

/// Moves frames of 64 KiB both ways and compares what arrived.
async fn exchange(first: Peer, second: Peer, frames: u64) {
    let both = async {
        tokio::join!(
            tokio::spawn(upload(first.up.unwrap(), frames, 1)),
            tokio::spawn(upload(second.up.unwrap(), frames, 1 << 32)),
            tokio::spawn(download(first.down)),
            tokio::spawn(download(second.down)),
        )
    };
    let (a, b, at_a, at_b) = timeout(LONG, both).await.expect("the transfer ends");
    assert_eq!(at_b.unwrap(), (frames * 65536, a.unwrap()));
    assert_eq!(at_a.unwrap(), (frames * 65536, b.unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_mebibytes_both_ways_arrive_whole() {
    let lab = Lab::new();
    let (first, second) = lab.pair("s/lease/1").await;
    exchange(first, second, 1024).await;
    assert_eq!(lab.router.stats().bytes, 128 << 20);
    lab.until_idle().await;
}

/// All ends of one kind share a connection here, which is harder than a connection for each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stalls_stops_its_own_peer_and_nobody_else() {
    let lab = Lab::new();
    let (mut clients, mut exporters) = (lab.connect().await, lab.connect().await);
    let mut pairs = Vec::new();
    for number in 0..50 {
        let token = format!("s{number}/lease/1");
        let first = Peer::open(&mut clients, &token).await.unwrap();
        pairs.push((first, Peer::open(&mut exporters, &token).await.unwrap()));
    }
    let (mut sender, stalled) = pairs.remove(0);
    let up = sender.up.take().unwrap();
    let mut sent = 0;
    while timeout(PRESSURE, up.send(frame(FrameType::Data, vec![1; 65536])))
        .await
        .is_ok()
    {
        sent += 65536;
        assert!(sent < 6 << 20, "all windows together hold less");
    }
    // Nor does it stop its own other direction.
    stalled.say("still here").await;
    sender.hear("still here").await;
    let mut tasks = JoinSet::new();
    for (first, second) in pairs {
        tasks.spawn(exchange(first, second, 16));
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    drop(up);
    drop(stalled.up);
    let (heard, _) = timeout(LONG, download(stalled.down)).await.unwrap();
    assert_eq!(heard, sent, "it goes on where it stopped");
    sender.ends().await;
    lab.until_idle().await;
}

/// Every message an HTTP/2 frame of its own, which is what costs most to hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tiny_frames_into_a_stalled_end_leave_its_connections_alive() {
    let lab = Lab::new();
    let (mut clients, mut exporters) = (lab.connect().await, lab.connect().await);
    let first = Peer::open(&mut clients, "flood/lease/1").await.unwrap();
    let stalled = Peer::open(&mut exporters, "flood/lease/1").await.unwrap();
    // And into one that nobody has joined; what such streams hold is counted by connection.
    let alone = lab.end("alone/lease/1").await;
    let mut joined = Peer::open(&mut clients, "other/lease/1").await.unwrap();
    let other = Peer::open(&mut exporters, "other/lease/1").await.unwrap();
    let flood = |up: mpsc::Sender<StreamRequest>, payload: &'static str| async move {
        let mut sent = 0_u64;
        while let Ok(taken) = timeout(PRESSURE, up.send(frame(FrameType::Data, payload))).await {
            taken.expect("the connection lives");
            sent += payload.len() as u64;
        }
        sent
    };
    // The least that a tunnel's window is made for; the router's own is for a single byte.
    let least = "9 bytes..";
    let floods = async {
        tokio::join!(
            tokio::spawn(flood(first.up.unwrap(), least)),
            tokio::spawn(flood(alone.up.unwrap(), "x")),
        )
    };
    let (sent, alone_sent) = timeout(LONG, floods).await.expect("pressure");
    assert!(alone_sent.unwrap() >= u64::from(STREAM_WINDOW) / 8 - 1);
    other.say("still alive").await;
    joined.hear("still alive").await;
    drop(stalled.up);
    let (heard, _) = timeout(LONG, download(stalled.down)).await.unwrap();
    assert_eq!(heard, sent.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_that_came_and_went_leave_nothing() {
    let lab = Lab::new();
    let (mut clients, mut exporters) = (lab.connect().await, lab.connect().await);
    let mut open = Vec::new();
    for number in 0..1000 {
        let token = format!("s{number}/lease{}/1", number % 7);
        let mut first = Peer::open(&mut clients, &token).await.unwrap();
        let mut second = Peer::open(&mut exporters, &token).await.unwrap();
        first.say("ping").await;
        second.hear("ping").await;
        match number % 4 {
            // Both end.
            0 => {
                first.finish().await;
                second.finish().await;
                second.hear_goaway().await;
                second.ends().await;
            }
            1 => drop(first),
            2 => drop(second),
            // Kept for a while.
            _ => {
                open.push((first, second));
                if open.len() == 50 {
                    open.clear();
                }
            }
        }
    }
    drop(open);
    lab.until_idle().await;
    assert_eq!(lab.router.stats().joined, 1000);
    assert_eq!(
        Arc::strong_count(&lab.router.shared),
        2,
        "the lab's and the server's"
    );
    let mut table = lab.router.shared.table();
    table.cut(
        "none",
        Cut::Ended,
        Instant::now() + super::super::table::GONE,
    );
    assert_eq!(table.known(), 0);
}
