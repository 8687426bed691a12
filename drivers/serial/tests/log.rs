//! What the serial driver says in the log, which clients and their tests read.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use std::{
    io::Write,
    path::Path,
    sync::{Arc, Mutex, OnceLock},
};

use futures::StreamExt;
use rig::Board;
use rigd_driver::{Blueprint, Health, KeyKind, KeyOwner, contract};
use rigd_drivers_serial::Serial;
use serde_json::json;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// The log of this process. Global: a port is set up on the instance's own thread.
    fn of_all() -> &'static Self {
        static LINES: OnceLock<Lines> = OnceLock::new();
        LINES.get_or_init(|| {
            let lines = Self::default();
            let writer = lines.clone();
            let subscriber = tracing_subscriber::fmt()
                .with_writer(move || writer.clone())
                .with_ansi(false)
                .without_time()
                .with_target(false)
                .finish();
            tracing::subscriber::set_global_default(subscriber).unwrap();
            lines
        })
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[tokio::test]
async fn a_port_that_is_expected_and_absent_is_an_error_in_the_log() {
    let lines = Lines::of_all();
    let dir = tempfile::tempdir().unwrap();
    let start = async |path: &Path, check_present: bool| {
        let config = json!({"url": path, "check_present": check_present});
        let blueprint = Blueprint::new::<Serial>(serde_json::from_value(config).unwrap());
        let instance = contract::instance(blueprint, dir.path(), None);
        instance.start().await;
        instance.health()
    };
    let (expected, optional) = (dir.path().join("expected"), dir.path().join("optional"));
    for (path, check_present) in [(&expected, true), (&optional, false)] {
        let health = start(path, check_present).await;
        assert!(matches!(health, Health::Absent(_)), "{health:?}");
    }
    let text = lines.text();
    let errors = text.lines().filter(|line| line.contains("ERROR"));
    let told: Vec<_> = errors
        .filter(|line| line.contains("The port is expected to be present."))
        .collect();
    assert_eq!(told.len(), 1, "{text}");
    assert!(told[0].contains(expected.to_str().unwrap()), "{text}");
}

#[tokio::test]
async fn streams_and_settings_are_told() {
    let lines = Lines::of_all();
    let board = Board::new();
    let dir = tempfile::tempdir().unwrap();
    let config = json!({"url": board.path, "baudrate": 9600, "cps": 1000, "disable_hupcl": true});
    let blueprint = Blueprint::new::<Serial>(serde_json::from_value(config).unwrap());
    let instance = contract::instance(blueprint, dir.path(), None);
    instance.start().await;
    let owner = KeyOwner::issue(KeyKind::Client);
    let mut stream = instance.stream(&owner.key(), "connect").await.unwrap();
    board.print(b"hello").await;
    assert_eq!(stream.reader.next().await.unwrap().unwrap(), "hello");
    drop(stream);
    let text = lines.text();
    let path = board.path.display();
    for wanted in [
        format!("Disabled HUPCL on {path}"),
        format!("Connecting to {path}, baudrate: 9600, cps: 1000"),
        format!("Disconnected from {path}"),
    ] {
        let told = text
            .lines()
            .filter(|l| l.ends_with(&format!(": {wanted}")))
            .count();
        assert_eq!(told, 1, "{wanted} in:\n{text}");
        assert!(text.contains("INFO"), "{text}");
    }
}
