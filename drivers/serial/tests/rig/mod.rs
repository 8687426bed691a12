//! A board on a pty and an instance of the driver beside it.

#![allow(
    dead_code,
    unused_imports,
    reason = "each test binary uses its part of this"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod board;

use std::{path::Path, sync::Arc};

pub(crate) use board::{Board, Jack, SOON};
use bytes::Bytes;
use futures::StreamExt;
use rigd_driver::{
    Blueprint, ByteStream, DriverError, Health, Instance, KeyKind, KeyOwner, contract,
};
use rigd_drivers_serial::{Serial, SerialConfig};
use serde_json::{Value, json};
use tokio::time::timeout;

pub(crate) fn config(value: Value) -> SerialConfig {
    serde_json::from_value(value).unwrap()
}

pub(crate) struct Console {
    pub(crate) instance: Arc<Instance>,
    pub(crate) owner: KeyOwner,
    _dir: tempfile::TempDir,
}

impl Console {
    pub(crate) async fn new(value: Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let blueprint = Blueprint::new::<Serial>(config(value));
        let instance = contract::instance(blueprint, dir.path(), None);
        instance.start().await;
        Self {
            instance,
            owner: KeyOwner::issue(KeyKind::Client),
            _dir: dir,
        }
    }

    pub(crate) async fn on(path: &Path) -> Self {
        let console = Self::new(json!({"url": path})).await;
        assert_eq!(console.instance.health(), Health::Ready);
        console
    }

    /// Waits for a health that `is` as wanted.
    pub(crate) async fn until(&self, is: impl Fn(&Health) -> bool) -> Health {
        let waiting = async {
            loop {
                // Instances tell their health only when asked.
                let health = self.instance.health();
                if is(&health) {
                    return health;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        timeout(SOON, waiting).await.expect("another health")
    }

    pub(crate) async fn connect(&self) -> ByteStream {
        let key = self.owner.key();
        self.instance.stream(&key, "connect").await.unwrap()
    }

    pub(crate) async fn call(&self, method: &str, args: Vec<Value>) -> Result<Value, DriverError> {
        let key = self.owner.key();
        timeout(SOON, self.instance.call(&key, None, method, args))
            .await
            .expect("an answer")
    }

    pub(crate) async fn new_lease(&mut self) {
        self.end_lease().await;
        self.begin_lease().await;
    }

    pub(crate) async fn end_lease(&mut self) {
        self.owner.revoke("the lease ended");
        self.instance.lease_end().await;
    }

    pub(crate) async fn begin_lease(&mut self) {
        self.owner = KeyOwner::issue(KeyKind::Client);
        self.instance.lease_start().await;
    }
}

/// Reads until what came ends with `end`.
pub(crate) async fn read_to(stream: &mut ByteStream, end: &str) -> String {
    let mut got = Vec::new();
    while !got.ends_with(end.as_bytes()) {
        got.extend_from_slice(&next(stream).await.expect("more bytes").unwrap());
    }
    String::from_utf8(got).unwrap()
}

/// Reads until `text` is complete; what comes after it is a failure.
pub(crate) async fn expect(stream: &mut ByteStream, text: &str) {
    let mut got = Vec::new();
    while got.len() < text.len() {
        got.extend_from_slice(&next(stream).await.expect("more bytes").unwrap());
    }
    assert_eq!(String::from_utf8_lossy(&got), text);
}

pub(crate) async fn next(stream: &mut ByteStream) -> Option<Result<Bytes, DriverError>> {
    timeout(SOON, stream.reader.next()).await.expect("an item")
}

pub(crate) async fn send(stream: &mut ByteStream, bytes: impl Into<Bytes>) {
    let sent = timeout(SOON, stream.writer.send(bytes.into())).await;
    sent.expect("room").unwrap();
}
