//! Who held a lease and does not any more has no effect, whatever was open; and who holds it next
//! neither is disturbed nor sees anything of the one before.

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
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use leased::{Board, Holder, within};
use rigd_client::{ByteChannel, ByteSender, Code, Compression, Error, ExporterStatus, Items, Logs};
use serde_json::Value;
use support::{daemon::Daemon, settings::Settings};
use tokio::{
    io::{AsyncWriteExt as _, DuplexStream},
    task::JoinHandle,
};
use traffic::{board::read_until, rig::noise};

const CARD: usize = 2 << 20;
const LOGIN: &str = "rpi4 login: ";
/// What the former holder sends wherever it can.
const MARK: &str = "mallory";
/// How long the former holder goes on trying: less than the two seconds that are left to it after a
/// transfer, since a connection made after that would be the new holder's.
const TRYING: Duration = Duration::from_millis(1_200);
/// How long the next holder looks whether anything happens.
const LOOKING: Duration = Duration::from_millis(800);

const EXPORT: &str = "\
export:
  board: {type: virtual.board, config: {card: {size: 2MiB, path: @DIR@/board.img}, boot_delay: 1ms}}
  probe: {type: power.mock}
  echo: {type: network.echo}
  card: {type: storage.file, config: {path: card.img, size: 2097152}}
";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// EndSession, on another tunnel of the holder.
    Asked,
    Controller,
    Transfer,
    Expiry,
    /// Another lease without a word in between.
    Switch,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_end_session_on_another_tunnel() {
    fenced(End::Asked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_controller_ended_the_lease() {
    fenced(End::Controller).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_transfer() {
    fenced(End::Transfer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_lease_expired() {
    fenced(End::Expiry).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_switch_to_another_lease() {
    fenced(End::Switch).await;
}

async fn fenced(end: End) {
    let (board, settings) = (Board::new("rig"), Settings::new());
    let file = board.configure(&settings, EXPORT);
    let mark = board.mark();
    let mut daemon = Daemon::serve(&[&file], &settings);
    board.reports(mark, ExporterStatus::Available).await;

    let mark = board.mark();
    let lease = match end {
        // Time enough to open everything.
        End::Expiry => board
            .lab
            .lease_for("rig", "mallory", Duration::from_secs(4)),
        _ => board.lab.lease("rig", "mallory"),
    };
    board.reports(mark, ExporterStatus::LeaseReady).await;
    let former = Former::open(board.holder(&lease).await).await;

    let mark = board.mark();
    let next = match end {
        End::Asked => {
            let other = board.holder(&lease).await;
            assert!(other.exporter.end_session().await.unwrap().accepted);
            None
        }
        End::Controller => {
            board.lab.end_lease(&lease);
            None
        }
        End::Transfer => {
            // Tunnels of the last moments before a transfer are cut at once: they may be the new
            // holder's.
            tokio::time::sleep(Duration::from_millis(300)).await;
            board.lab.transfer(&lease, "bob");
            // A dial that overtakes the word of it would be let in with the former holder.
            daemon.expect_line("transfer", |line| line.contains("Lease transferred."));
            Some(lease.clone())
        }
        End::Expiry => None,
        End::Switch => Some(board.lab.switch_lease("rig", "bob")),
    };
    let trying = former.goes_on(end);
    let next = match next {
        Some(next) => next,
        None => {
            board.reports(mark, ExporterStatus::Available).await;
            board.lab.lease("rig", "bob")
        }
    };
    let bob = board.holder(&next).await;
    let handle = trying.handle.lock().unwrap().clone().unwrap();
    serves_the_next(&bob, handle).await;
    let refusals = within("the former holder's tries", trying.task)
        .await
        .unwrap();
    println!("{end:?}: refused {refusals} times");
    assert!(refusals > 0, "it was cut before it was refused anything");

    // And the lease of the next one has its own end.
    let end = bob.exporter.end_session().await.unwrap();
    assert!(end.accepted, "{end:?}");
    bob.read_until_free().await;
    drop(bob);
    daemon.stop_cleanly();
}

/// All that a client can have open when it loses its lease.
struct Former {
    holder: Holder,
    typist: ByteSender,
    console: JoinHandle<Error>,
    echo: ByteChannel,
    readings: Items<Value>,
    logs: Logs,
    upload: JoinHandle<Result<Value, Error>>,
    source: DuplexStream,
    handle: Arc<Mutex<Option<Value>>>,
}

/// A former holder that does not give up.
struct Trying {
    /// How often it was refused.
    task: JoinHandle<usize>,
    /// Of the upload that was under way.
    handle: Arc<Mutex<Option<Value>>>,
}

impl Former {
    async fn open(holder: Holder) -> Self {
        let exporter = &holder.exporter;
        let device = async |path: &str| exporter.device(path).await.unwrap();
        let storage = device("board.storage").await;
        let image = noise(1, CARD);
        let write = storage.upload("write", |it| vec![it], &image[..], Compression::None);
        write.await.unwrap();
        holder.call("board.storage", "dut").await.unwrap();
        let mut console = device("board.console").await.console().open();
        console.opened().await.unwrap();
        holder.call("board.power", "on").await.unwrap();
        holder.call("probe", "on").await.unwrap();
        let (typist, mut output) = console.split();
        read_until(&mut output, LOGIN).await;
        let console = tokio::spawn(async move {
            loop {
                match output.recv().await {
                    Ok(Some(bytes)) => {
                        let text = String::from_utf8_lossy(&bytes);
                        assert!(!text.contains("U-Boot"), "the next boot: {text}");
                    }
                    Ok(None) => panic!("the console ended as if it was done"),
                    Err(error) => return error,
                }
            }
        });
        let mut echo = device("echo").await.stream("connect");
        echo.send(Bytes::from(MARK)).await.unwrap();
        echo.recv().await.unwrap().unwrap();
        let power = device("board.power").await;
        let mut readings = power.streaming_call("read", vec![]).await.unwrap();
        readings.next().await.unwrap().unwrap();
        let logs = exporter.logs().await.unwrap();

        let (mut source, sink) = tokio::io::duplex(64 * 1024);
        let card = device("card").await;
        let handle: Arc<Mutex<Option<Value>>> = Arc::default();
        let seen = handle.clone();
        let upload = tokio::spawn(async move {
            let args = |handle: Value| {
                *seen.lock().unwrap() = Some(handle.clone());
                vec![handle]
            };
            card.upload("write", args, sink, Compression::None).await
        });
        source.write_all(&vec![b'M'; 512 * 1024]).await.unwrap();
        Self {
            holder,
            typist,
            console,
            echo,
            readings,
            logs,
            upload,
            source,
            handle,
        }
    }

    /// Everything that was open ends with the lease, and nothing new is let in.
    fn goes_on(self, end: End) -> Trying {
        let handle = self.handle.clone();
        let task = tokio::spawn(async move {
            let Self {
                holder,
                mut typist,
                console,
                mut echo,
                mut readings,
                mut logs,
                upload,
                mut source,
                handle: _,
            } = self;
            let typing = tokio::spawn(async move {
                while typist.send(Bytes::from(MARK)).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            });
            let feeding = tokio::spawn(async move {
                let rest = vec![b'M'; CARD - 512 * 1024];
                tokio::time::sleep(Duration::from_millis(20)).await;
                source.write_all(&rest[1..]).await.ok();
                std::future::pending::<()>().await;
            });
            let overheard = tokio::spawn(async move {
                let mut lines = Vec::new();
                while let Ok(Some(line)) = logs.next().await {
                    lines.push(line.message);
                }
                lines
            });
            refused(
                "the console",
                &within("the console's end", console).await.unwrap(),
            );
            let over = Instant::now();
            let uploaded = within("the upload's end", upload).await.unwrap();
            refused("the upload", &uploaded.unwrap_err());
            let read = within("the readings' end", async {
                loop {
                    match readings.next().await {
                        Ok(Some(_)) => {}
                        Ok(None) => panic!("the readings ended as if they were done"),
                        Err(error) => return error,
                    }
                }
            });
            refused("the readings", &read.await);
            let echoed = within("the echo's end", async {
                loop {
                    match echo.recv().await {
                        Ok(Some(_)) => {}
                        Ok(None) => panic!("the echo ended as if it was done"),
                        Err(error) => return error,
                    }
                }
            });
            refused("the echo", &echoed.await);
            let mut refusals = 0;
            while over.elapsed() < TRYING {
                match tokio::time::timeout(LOOKING, acts(&holder, end)).await {
                    Ok(Ok(())) => refusals += 1,
                    // Its tunnel is cut; what it asks for now is asked on another one, in vain.
                    Ok(Err(Gone)) | Err(_) => break,
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let lines = within("the end of the logs", overheard).await.unwrap();
            let own = "power on";
            let foreign = lines.iter().filter(|it| it.contains(own)).count();
            // Those from before it looked are in the backlog.
            assert!(foreign <= 2, "it saw what the next holder did: {lines:#?}");
            let why = |line: &&String| line.starts_with("Lease transferred.");
            let mut lines = lines.iter().filter(|line| !why(line));
            assert!(!lines.any(|it| it.contains("bob")), "it saw who is next");
            typing.abort();
            feeding.abort();
            refusals
        });
        Trying { task, handle }
    }
}

/// The connection is gone.
struct Gone;

/// One try of everything. All of it is to be refused; returns whether the connection lasted.
async fn acts(holder: &Holder, end: End) -> Result<(), Gone> {
    let exporter = &holder.exporter;
    let verdict = |what: &str, error: Error| match error.code() {
        Some(Code::FailedPrecondition) => Ok(()),
        Some(Code::Unavailable | Code::Cancelled | Code::Unknown | Code::Internal) => Err(Gone),
        _ => panic!("{what}: {error}"),
    };
    for (device, method) in [
        ("board.power", "off"),
        ("probe", "on"),
        ("board.storage", "host"),
    ] {
        let error = holder.call(device, method).await;
        verdict(method, error.expect_err("a call had an effect"))?;
    }
    let power = exporter.device("board.power").await.unwrap();
    let error = match power.streaming_call("read", vec![]).await {
        Ok(mut items) => items.next().await.expect_err("a reading came"),
        Err(error) => error,
    };
    verdict("read", error)?;
    let mut console = exporter
        .device("board.console")
        .await
        .unwrap()
        .console()
        .open();
    console.send(Bytes::from(MARK)).await.ok();
    verdict("connect", console.recv().await.expect_err("bytes came"))?;
    for path in ["card", "board.storage"] {
        let card = exporter.device(path).await.unwrap();
        let image = vec![b'M'; 4096];
        let write = card.upload("write", |it| vec![it], &image[..], Compression::None);
        verdict("write", write.await.expect_err("a write had an effect"))?;
    }
    match exporter.end_session().await {
        // Asked for twice, it is the same wish.
        Ok(answer) => assert_eq!(answer.accepted, end == End::Asked, "{answer:?}"),
        Err(error) => verdict("EndSession", error)?,
    }
    Ok(())
}

#[track_caller]
fn refused(what: &str, error: &Error) {
    let code = error.code();
    assert_eq!(code, Some(Code::FailedPrecondition), "{what}: {error}");
}

/// The next holder has the board for itself.
async fn serves_the_next(bob: &Holder, foreign: Value) {
    let exporter = &bob.exporter;
    let device = async |path: &str| exporter.device(path).await.unwrap();
    let mut logs = exporter.logs().await.unwrap();
    let logs = tokio::spawn(async move {
        let mut lines = Vec::new();
        loop {
            match tokio::time::timeout(LOOKING * 3, logs.next()).await {
                Ok(Ok(Some(line))) => lines.push(line.message),
                _ => return lines,
            }
        }
    });
    let mut console = device("board.console").await.console().open();
    console.opened().await.unwrap();
    // As the one before left it.
    bob.call("board.power", "off").await.unwrap();
    let image = noise(2, CARD);
    for path in ["board.storage", "card"] {
        let card = device(path).await;
        let write = card.upload("write", |it| vec![it], &image[..], Compression::None);
        write.await.unwrap();
    }
    let stolen = device("card").await.call("write", vec![foreign]).await;
    let stolen = stolen.expect_err("a resource of another lease was there");
    // As upstream tells of an uuid that it does not know.
    assert_eq!(stolen.code(), Some(Code::Unknown), "{stolen}");
    bob.call("board.storage", "dut").await.unwrap();
    bob.call("board.power", "on").await.unwrap();
    let (_typist, mut output) = console.split();
    let seen = read_until(&mut output, LOGIN).await;
    let seen = String::from_utf8_lossy(&seen);
    assert!(!seen.contains(MARK), "{seen}");
    // Whatever the one before types would be echoed, and what it switches would be printed.
    if let Ok(more) = tokio::time::timeout(LOOKING, output.recv()).await {
        panic!("somebody else acts on the board: {more:?}");
    }
    let mut readings = device("board.power").await.power().read().await.unwrap();
    let reading = readings.next().await.unwrap().unwrap();
    assert!(
        reading.voltage > 0.0,
        "somebody else switched the board off"
    );
    for path in ["board.storage", "card"] {
        let mut back = Vec::new();
        let card = device(path).await;
        let read = card.download("read", |it| vec![it], &mut back, Compression::None);
        read.await.unwrap();
        assert!(back == image, "{path} holds what somebody else wrote");
    }
    let lines = logs.await.unwrap();
    let count = |text: &str| lines.iter().filter(|it| it.contains(text)).count();
    assert_eq!((count("power on"), count(MARK)), (1, 0), "{lines:#?}");
}
