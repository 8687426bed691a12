//! A guest whose daemon has an SDWire, with what every test of a fault does before and after it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use rigd_client::{Error, Exporter, Storage};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::{
    cards::{Image, MIB, incomplete},
    rig::{Guest, STEP_LIMIT},
};

/// More than the engine's buffers hold.
pub(crate) const IMAGE: usize = 12 * MIB;
/// Within a buffer, and behind others.
pub(crate) const FAULT: usize = 5 * MIB;

/// What a call to an instrument may take while a card is slow or hangs. Nothing is measured here: a call
/// that waits for the card takes many times that.
pub(crate) const PROMPT: Duration = Duration::from_secs(10);

pub(crate) struct Bench {
    pub(crate) guest: Guest,
    pub(crate) exporter: Exporter,
    pub(crate) dir: TempDir,
    /// Behind the SDWire.
    pub(crate) card: Storage,
    pub(crate) image: Image,
}

impl Bench {
    pub(crate) fn set(&self, settings: Value) {
        self.guest.usb("sdwire.reader").set(settings);
    }

    pub(crate) fn medium(&self) -> PathBuf {
        self.guest.usb("sdwire.reader").medium()
    }

    /// One that no card has yet.
    pub(crate) fn another(&self, seed: u64) -> Image {
        Image::new(self.dir.path(), seed, IMAGE)
    }

    /// What follows a fault once it is over: nothing of it is left.
    pub(crate) async fn the_next_write_works(&self) {
        self.image.write(&self.card).await.unwrap();
        assert!(self.image.is_on(&self.medium()));
        self.card.dut().await.unwrap();
        assert_eq!(self.guest.usb("sdwire").state()["position"], json!("dut"));
    }

    /// As soon as what uses the card lets go of it.
    pub(crate) async fn a_write_works_soon(&self) {
        let end = Instant::now() + STEP_LIMIT;
        while let Err(error) = self.image.write(&self.card).await {
            assert!(Instant::now() < end, "{error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The write failed with this, so the board does not get the card.
    pub(crate) async fn the_card_stays_with(&self, cause: &str) {
        assert_eq!(incomplete(&self.card).await, cause);
        assert_eq!(self.guest.usb("sdwire").state()["position"], json!("host"));
    }

    pub(crate) async fn call(&self, path: &str, method: &str) -> Result<Value, Error> {
        let device = self.exporter.device(path).await.unwrap();
        let answer = timeout(STEP_LIMIT, device.call(method, vec![])).await;
        answer.expect("an answer")
    }

    /// Uses the other instruments, and returns what the slowest call took.
    pub(crate) async fn others(&self) -> Duration {
        let mut slowest = Duration::ZERO;
        for (path, method) in [
            ("power", "on"),
            ("power", "off"),
            ("supply", "off"),
            ("small", "host"),
            ("disk", "dut"),
        ] {
            let begun = Instant::now();
            self.call(path, method).await.unwrap();
            slowest = slowest.max(begun.elapsed());
        }
        slowest
    }
}
