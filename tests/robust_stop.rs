//! SIGTERM: exit code 0 within a bound, whatever clients have open.

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
    io::Write,
    os::unix::net::UnixStream,
    path::PathBuf,
    time::{Duration, Instant},
};

use rigd_client::{Code, Compression, Error, Exporter, ExporterStatus};
use rustix::process::Signal;
use support::{daemon::Daemon, repository, settings::Settings};
use traffic::{
    rig::{noise, within},
    run::Running,
};

/// An idle daemon stops in some 10 ms; the machine may be busy with a compiler.
const IDLE: Duration = Duration::from_secs(2);
/// With clients that do not leave: a second of grace, and a second for connections to end.
const GRACE: Duration = Duration::from_secs(5);

struct Rig {
    daemon: Running,
    socket: PathBuf,
    settings: Settings,
}

impl Rig {
    fn start() -> Self {
        let settings = Settings::new();
        let file = settings.fill_in(&repository().join("tests/traffic/rig.yaml"));
        let socket = settings.path("rigd.sock");
        let mut command = Daemon::command(&settings);
        command.arg("run").arg(file).arg("--unix").arg(&socket);
        let daemon = Running::spawn(command);
        daemon.expect_line("Exporter rig is ready");
        Self {
            daemon,
            socket,
            settings,
        }
    }

    async fn connect(&self) -> Exporter {
        Exporter::connect_unix(&self.socket).await.unwrap()
    }

    /// Sends TERM and waits for the end; how long that took.
    fn stops(&mut self, limit: Duration) -> Duration {
        let start = Instant::now();
        self.daemon.signal(Signal::TERM);
        self.ended(limit);
        start.elapsed()
    }

    fn ended(&mut self, limit: Duration) {
        let status = self.daemon.ended(limit);
        let text = self.daemon.output.text();
        assert_eq!(status.code(), Some(0), "{text}");
        assert!(!text.contains("panicked"), "{text}");
        assert!(!self.socket.exists(), "the socket is left behind");
    }
}

#[test]
fn idle() {
    let mut rig = Rig::start();
    rig.stops(IDLE);
}

#[test]
fn interrupt_does_the_same() {
    let mut rig = Rig::start();
    rig.daemon.signal(Signal::INT);
    rig.ended(IDLE);
}

#[test]
fn with_half_open_connections() {
    let mut rig = Rig::start();
    let silent = UnixStream::connect(&rig.socket).unwrap();
    let mut half = UnixStream::connect(&rig.socket).unwrap();
    half.write_all(b"PRI * HTTP/2.0\r\n").unwrap();
    let mut mute = UnixStream::connect(&rig.socket).unwrap();
    mute.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .unwrap();
    rig.stops(GRACE);
    drop((silent, half, mute));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_an_open_console_that_is_told_why() {
    let mut rig = Rig::start();
    let client = rig.connect().await;
    let mut console = client
        .device("board.console")
        .await
        .unwrap()
        .console()
        .open();
    console.opened().await.unwrap();
    let end = tokio::spawn(async move {
        loop {
            if let Err(error) = console.recv().await {
                return error;
            }
        }
    });
    rig.daemon.signal(Signal::TERM);
    let error = within(GRACE, "the end of the console", end).await.unwrap();
    assert!(
        matches!(
            error,
            Error::Refused {
                code: Code::FailedPrecondition,
                ..
            }
        ),
        "{error}"
    );
    assert!(
        error.to_string().contains("the exporter is stopping"),
        "{error}"
    );
    drop(client);
    tokio::task::block_in_place(|| rig.ended(GRACE));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_log_readers() {
    let mut rig = Rig::start();
    let (client, idle) = (rig.connect().await, rig.connect().await);
    let mut logs = client.logs().await.unwrap();
    // Opened, never read.
    let _unread = idle.logs().await.unwrap();
    let end = tokio::spawn(async move {
        loop {
            match logs.next().await {
                Ok(Some(_)) => {}
                other => return other,
            }
        }
    });
    rig.daemon.signal(Signal::TERM);
    let end = within(GRACE, "the end of the log", end).await.unwrap();
    let error = end.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Refused {
                code: Code::Unavailable,
                ..
            }
        ),
        "{error}"
    );
    tokio::task::block_in_place(|| rig.ended(GRACE));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_mid_upload_the_client_learns_why_and_the_card_is_incomplete() {
    let mut rig = Rig::start();
    let client = rig.connect().await;
    let card = client.device("card").await.unwrap();
    let (mut source, sink) = tokio::io::duplex(1 << 20);
    let uploading = tokio::spawn(async move {
        card.upload("write", |handle| vec![handle], sink, Compression::None)
            .await
    });
    use tokio::io::AsyncWriteExt;
    source.write_all(&noise(1, 4 << 20)).await.unwrap();
    tokio::task::block_in_place(|| rig.stops(GRACE));
    let error = within(GRACE, "the end of the upload", uploading)
        .await
        .unwrap()
        .unwrap_err();
    assert!(
        error.to_string().contains("the exporter is stopping"),
        "{error}"
    );
    let mark = rig.settings.path("state/exporters/rig");
    let names = walk(&mark);
    assert!(
        names.iter().any(|name| name.contains("incomplete")),
        "{names:?}"
    );
}

fn walk(dir: &std::path::Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(walk(&path));
        } else {
            names.push(path.display().to_string());
        }
    }
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_term_cuts_the_grace() {
    let mut rig = Rig::start();
    // Would keep the daemon for its whole grace.
    let silent = UnixStream::connect(&rig.socket).unwrap();
    let client = rig.connect().await;
    assert_eq!(
        client.status().await.unwrap().state,
        ExporterStatus::LeaseReady
    );
    rig.daemon.signal(Signal::TERM);
    rig.daemon.expect_line("Stopping.");
    rig.daemon.signal(Signal::TERM);
    let start = Instant::now();
    tokio::task::block_in_place(|| rig.ended(GRACE));
    let took = start.elapsed();
    let text = rig.daemon.output.text();
    assert!(
        text.contains("Stopping at once: hooks and clients are cut."),
        "{text}"
    );
    assert!(took < Duration::from_millis(900), "{took:?}");
    drop(silent);
}
