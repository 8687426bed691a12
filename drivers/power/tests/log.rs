//! What the mock power switch says in the log, which clients' tests wait for.
//!
//! Alone in its binary: the subscriber is global.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use rigd_driver::{Blueprint, KeyKind, KeyOwner, contract};
use rigd_drivers_power::{MockPower, MockPowerConfig};
use serde_json::Value;

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
async fn on_and_off_say_so_in_the_log() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let blueprint = Blueprint::new::<MockPower>(MockPowerConfig {});
    let instance = contract::instance(blueprint, dir.path(), None);
    instance.start().await;
    let owner = KeyOwner::issue(KeyKind::Client);
    for method in ["on", "off"] {
        let answer = instance.call(&owner.key(), None, method, vec![]).await;
        assert_eq!(answer.unwrap(), Value::Null);
    }
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let told: Vec<_> = text.lines().map(str::trim).collect();
    assert_eq!(told.len(), 2, "{text}");
    assert!(
        told[0].starts_with("INFO") && told[0].ends_with(": power on"),
        "{text}"
    );
    assert!(
        told[1].starts_with("INFO") && told[1].ends_with(": power off"),
        "{text}"
    );
}
