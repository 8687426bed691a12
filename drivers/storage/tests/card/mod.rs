//! A lease of a card without a mux, what tests write to it, and a loop device to be the card.

#![allow(
    dead_code,
    unused_macros,
    reason = "every test binary compiles this anew and uses its own part of it"
)]

use std::{path::Path, time::Duration};

use rigd_driver::{Delay, DriverError};
use rigd_drivers_storage::{DiskConfig, DiskStorage};
use rigd_flash::FlashSettings;
use serde_json::{Value, json};

use crate::lease::Lease;

pub(crate) const MIB: usize = 1 << 20;

pub(crate) fn disk(device: &Path) -> DiskConfig {
    DiskConfig {
        device: Some(device.into()),
        matching: None,
        storage_timeout: Delay(Duration::from_secs(1)),
        storage_fsync_timeout: Delay(Duration::from_secs(30)),
        flash: FlashSettings::default(),
    }
}

pub(crate) async fn lease(device: &Path) -> Lease {
    Lease::start::<DiskStorage>(disk(device)).await
}

pub(crate) async fn with(device: &Path, flash: FlashSettings) -> Lease {
    Lease::start::<DiskStorage>(DiskConfig {
        flash,
        ..disk(device)
    })
    .await
}

/// What `dut` is refused with.
pub(crate) async fn incomplete(lease: &Lease) -> String {
    match lease.fails("dut", json!([])).await {
        DriverError::FailedPrecondition(text) => text,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn write(lease: &Lease, image: &[u8]) -> Result<Value, DriverError> {
    lease.send("write", json!(["HANDLE"]), image).await
}

pub(crate) async fn write_with(
    lease: &Lease,
    image: &[u8],
    options: Value,
) -> Result<Value, DriverError> {
    lease.send("write", json!(["HANDLE", options]), image).await
}

/// A loop device of so many bytes, or the end of the test.
macro_rules! loop_device {
    ($size:expr) => {
        match Loop::new($size) {
            Ok(device) => device,
            Err(why) => return skip(&why),
        }
    };
}
