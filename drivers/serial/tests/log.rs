//! What the serial driver says in the log, which clients and their tests read.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use futures::StreamExt;
use rig::Board;
use rigd_driver::{Blueprint, KeyKind, KeyOwner, contract};
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

#[tokio::test]
async fn streams_and_settings_are_told() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .finish();
    // Global: the port is set up on the instance's own thread.
    tracing::subscriber::set_global_default(subscriber).unwrap();
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
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
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
