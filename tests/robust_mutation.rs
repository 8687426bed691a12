//! Mutated client traffic against one running daemon: it neither crashes nor hangs, keeps nothing
//! of the connections that are gone, and another connection does not notice.
//!
//! `RIGD_MUTATION_SECONDS=N` goes on for that long.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

mod support;
mod traffic;

use std::{
    fs,
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::FutureExt;
use proptest::{
    collection::vec,
    prelude::*,
    sample::Index,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use rigd_client::{ByteChannel, Compression, Device, Error, Exporter};
use serde_json::json;
use support::repository;
use traffic::{
    mutate::{Delivery, Mutation, delivery, mutation},
    process::{Holdings, Process},
    proxy::{self, Proxy},
    rig::{Rig, noise, within},
};

/// Cases of a run without `RIGD_MUTATION_SECONDS`: a few seconds.
const CASES: usize = 600;
/// The same for clients whose bytes are changed on their way.
const LIVE_CASES: usize = 60;
/// How long such a client tries; many changes leave it waiting for an answer that cannot come.
const LIVE_PATIENCE: Duration = Duration::from_millis(150);
/// The daemon answers in less than a millisecond; this machine may be busy with a compiler.
const PATIENCE: Duration = Duration::from_secs(10);
/// tokio keeps idle threads of its blocking pool for 10 s.
const THREADS_REST: Duration = Duration::from_secs(30);
/// An empty image and one that is much larger than the windows say nothing more.
const IMAGE: usize = 20_000;

/// One connection with changed bytes.
#[derive(Debug, Clone)]
struct Case {
    recording: Index,
    mutations: Vec<Mutation>,
    delivery: Delivery,
}

fn case() -> impl Strategy<Value = Case> {
    (any::<Index>(), vec(mutation(), 0..6), delivery()).prop_map(
        |(recording, mutations, delivery)| Case {
            recording,
            mutations,
            delivery,
        },
    )
}

/// What clients do, see [`session`].
const SESSIONS: [&str; 4] = ["calls", "console", "upload", "logs"];

/// What a client sent, by name.
type Recordings = Vec<(String, Vec<u8>)>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutated_traffic_neither_crashes_nor_hangs_nor_disturbs() {
    let rig = Rig::start();
    let recordings = recordings(&rig).await;
    let mut witness = Witness::new(&rig).await;
    let process = Process(rig.daemon.pid());
    // Once through, so that what the daemon keeps for good is there.
    for (_, bytes) in &recordings {
        replay(&rig, bytes.clone(), whole()).await;
    }
    witness.check().await;
    let base = settled(process).await;

    let mut runner = TestRunner::new(Config::default());
    let end = end();
    let mut count = 0;
    while end.map_or(count < CASES, |end| Instant::now() < end) {
        let cases = vec(case(), 1..5).new_tree(&mut runner).unwrap().current();
        let sends = cases.iter().map(|case| {
            let (_, bytes) = case.recording.get(&recordings);
            let mut bytes = bytes.clone();
            case.mutations.iter().for_each(|it| it.apply(&mut bytes));
            replay(&rig, bytes, case.delivery.clone())
        });
        futures::future::join_all(sends).await;
        unharmed(&rig, &mut witness, process, base, &cases).await;
        count += cases.len();
    }
    over(rig, witness, process, base).await;
    eprintln!("{count} mutated connections");
}

/// A client whose bytes are changed on their way, while the daemon works for it.
#[derive(Debug, Clone)]
struct LiveCase {
    session: &'static str,
    at: usize,
    mutation: Mutation,
}

fn live_case() -> impl Strategy<Value = LiveCase> {
    let session = proptest::sample::select(SESSIONS.to_vec());
    (session, 0..2 * IMAGE, mutation()).prop_map(|(session, at, mutation)| LiveCase {
        session,
        at,
        mutation,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_that_is_changed_on_its_way_neither_crashes_nor_hangs_nor_disturbs() {
    let rig = Rig::start();
    let mut witness = Witness::new(&rig).await;
    let process = Process(rig.daemon.pid());
    for name in SESSIONS {
        let client = rig.connect().await;
        within(PATIENCE, name, session(name, &client))
            .await
            .unwrap();
    }
    let base = settled(process).await;
    let mut runner = TestRunner::new(Config::default());
    let end = end();
    let mut count = 0;
    while end.map_or(count < LIVE_CASES, |end| Instant::now() < end) {
        let case = live_case().new_tree(&mut runner).unwrap().current();
        let path = rig.settings.path(&format!("changed-{count}.sock"));
        proxy::change(&path, rig.socket(), case.at, case.mutation.clone());
        let client = async {
            let exporter = Exporter::connect_unix(&path).await?;
            session(case.session, &exporter).await
        };
        // Whatever the client makes of it.
        tokio::time::timeout(LIVE_PATIENCE, client).await.ok();
        fs::remove_file(&path).unwrap();
        unharmed(&rig, &mut witness, process, base, &case).await;
        count += 1;
    }
    // The card is free again.
    let client = rig.connect().await;
    within(PATIENCE, "an upload", session("upload", &client))
        .await
        .unwrap();
    drop(client);
    over(rig, witness, process, base).await;
    eprintln!("{count} changed connections");
}

/// The end of a long run.
fn end() -> Option<Instant> {
    let seconds = std::env::var("RIGD_MUTATION_SECONDS").ok()?;
    let seconds = seconds.parse().expect("RIGD_MUTATION_SECONDS is a number");
    Some(Instant::now() + Duration::from_secs(seconds))
}

/// Fails, with the case, unless another connection works on and nothing of the gone ones is held.
async fn unharmed(
    rig: &Rig,
    witness: &mut Witness,
    process: Process,
    base: Holdings,
    case: &impl std::fmt::Debug,
) {
    let checks = AssertUnwindSafe(async {
        witness.check().await;
        if let Err(now) = descriptors_return(process, base).await {
            let descriptors = process.descriptors();
            panic!("held {base:?}, now {now:?}: {descriptors:#?}");
        }
    });
    if let Err(panic) = checks.catch_unwind().await {
        eprintln!("After this: {case:#?}");
        eprintln!("The daemon said:\n{}", rig.daemon.output.text());
        std::panic::resume_unwind(panic);
    }
}

/// The daemon comes to rest, and stops as if nothing had been.
async fn over(mut rig: Rig, witness: Witness, process: Process, base: Holdings) {
    let rested = tokio::task::spawn_blocking(move || process.returns_to(base, THREADS_REST));
    let rested = rested.await.unwrap();
    rested.expect("descriptors and threads of the base line");
    drop(witness);
    rig.daemon.stop_cleanly();
}

/// Whole and in order.
fn whole() -> Delivery {
    Delivery {
        pieces: vec![usize::MAX],
        pauses: vec![0],
        reads: true,
        half_closes: true,
    }
}

async fn replay(rig: &Rig, bytes: Vec<u8>, delivery: Delivery) {
    let socket = rig.socket().to_owned();
    let sent = tokio::task::spawn_blocking(move || delivery.send(&socket, &bytes));
    sent.await.unwrap();
}

async fn descriptors_return(process: Process, base: Holdings) -> Result<(), Holdings> {
    // Codecs and file work borrow threads, which tokio gives back after a while.
    let base = Holdings {
        threads: base.threads + 16,
        ..base
    };
    let back = tokio::task::spawn_blocking(move || process.returns_to(base, PATIENCE));
    back.await.unwrap()
}

/// What the daemon holds once it holds no more than a moment before.
async fn settled(process: Process) -> Holdings {
    let end = Instant::now() + PATIENCE;
    let mut last = process.holdings();
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = process.holdings();
        if now == last || Instant::now() > end {
            return now;
        }
        last = now;
    }
}

/// A connection made before all others, with a stream that stays open.
struct Witness {
    exporter: Exporter,
    probe: Device,
    echo: ByteChannel,
    rounds: u64,
}

impl Witness {
    async fn new(rig: &Rig) -> Self {
        let exporter = rig.connect().await;
        let probe = exporter.device("probe").await.unwrap();
        let mut echo = exporter.device("echo").await.unwrap().stream("connect");
        echo.opened().await.unwrap();
        Self {
            exporter,
            probe,
            echo,
            rounds: 0,
        }
    }

    async fn check(&mut self) {
        self.rounds += 1;
        let token = Bytes::from(self.rounds.to_string());
        let Self {
            exporter,
            probe,
            echo,
            ..
        } = self;
        let rounds = async {
            exporter.status().await.unwrap();
            probe.call("on", vec![]).await.unwrap();
            echo.send(token.clone()).await.unwrap();
            let mut back = Vec::new();
            while back.len() < token.len() {
                let bytes = echo.recv().await.unwrap();
                back.extend_from_slice(&bytes.expect("the echo goes on"));
            }
            assert_eq!(back, token);
        };
        within(PATIENCE, "another connection's calls", rounds).await;
    }
}

async fn recordings(rig: &Rig) -> Recordings {
    let mut all = Recordings::new();
    for entry in fs::read_dir(repository().join("tests/traffic")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "bin") {
            all.push((path.display().to_string(), fs::read(path).unwrap()));
        }
    }
    assert_eq!(all.len(), 4, "the recordings of the Python client");
    for name in SESSIONS {
        let path = rig.settings.path(&format!("{name}.sock"));
        let proxy = Proxy::start(path, rig.socket());
        let exporter = Exporter::connect_unix(proxy.path()).await.unwrap();
        within(PATIENCE, name, session(name, &exporter))
            .await
            .unwrap();
        drop(exporter);
        let bytes = proxy.recorded();
        assert!(
            bytes.starts_with(b"PRI * HTTP/2.0"),
            "{name}: {} bytes",
            bytes.len()
        );
        all.push((name.to_owned(), bytes));
    }
    all
}

/// What a client does, in short. Errors on purpose are none.
async fn session(name: &str, exporter: &Exporter) -> Result<(), Error> {
    match name {
        "calls" => {
            exporter.report().await?;
            let probe = exporter.device("probe").await?;
            probe.call("on", vec![]).await?;
            probe.call("explode", vec![]).await.ok();
            let mut readings = probe.streaming_call("read", vec![]).await?;
            while readings.next().await?.is_some() {}
            let files = exporter.device("files").await?;
            let args = vec![json!("/a"), json!({"x": [1, null, "y"]})];
            files.call("create_dir", args).await.ok();
        }
        "console" => {
            let console = exporter.device("board.console").await?;
            let mut stream = console.console().open();
            stream.opened().await?;
            for _ in 0..10 {
                stream.send(Bytes::from_static(b"root\r")).await?;
            }
            stream.finish().await?;
            exporter.status().await?;
        }
        "upload" => {
            let card = exporter.device("card").await?;
            let image = noise(7, IMAGE);
            let handle = |handle| vec![handle];
            let plain = card.upload("write", handle, &image[..], Compression::None);
            plain.await?;
            // It is no xz.
            let damaged = card.upload("write", handle, &image[..], Compression::Xz);
            damaged.await.ok();
        }
        _ => {
            let mut logs = exporter.logs().await?;
            exporter.status().await?;
            // A line comes or it does not; the stream was open.
            let next = tokio::time::timeout(Duration::from_millis(100), logs.next());
            next.await.ok();
        }
    }
    Ok(())
}
