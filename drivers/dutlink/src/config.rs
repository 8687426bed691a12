//! What `config:` of a DUTLink, and of each of its parts, holds.

use std::{path::PathBuf, time::Duration};

use rigd_device::{DeviceMatch, UsbMatch};
use rigd_driver::{ConfigError, Delay};
use rigd_drivers_power::Switching;
use rigd_drivers_sdmux::CardSettings;
use rigd_flash::FlashSettings;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::board::wanted;

/// Longest limit of a request: a call should not outlive the patience of who made it.
const MAX_TIMEOUT: f64 = 120.0;

/// A DUTLink board (2b23:1012) with its parts: `power` with measured voltage and current, `console`, and `storage`.
///
/// Wiring: the board under test is fed through the DUTLink's output, its UART goes to the console pins, and the stick that
/// serves as its disk is in the DUTLink's storage port. `rescue` switches the board on in the DUTLink's rescue mode.
///
/// Unverified on hardware.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DutlinkConfig {
    /// Serial number of the DUTLink, as `lsusb -v` shows it. Without it there must be exactly one.
    pub serial: Option<String>,
    /// The DUTLink by where it is plugged in, instead of or beside `serial`.
    #[serde(default)]
    pub usb: UsbMatch,
    /// Seconds that a request to the DUTLink may take. Default 20.
    #[serde(default = "twenty")]
    pub timeout_s: f64,
    /// Bits per second of the console. Default 115200.
    #[serde(default = "baudrate")]
    pub baudrate: u32,
    /// Path of another serial port that carries the console, such as one of the board itself. Where it is not there when a
    /// lease begins, the board is switched on for at most 5 s to make it appear, and off again.
    pub alternate_console: Option<PathBuf>,
    /// Limits of the part `power`, as all power switches have them.
    #[serde(default)]
    pub switching: Switching,
    /// The disk in the DUTLink's storage port, best by a name that stays: `/dev/disk/by-id/…` or `/dev/disk/by-path/…`.
    /// Without it there is no part `storage`.
    pub storage_device: Option<PathBuf>,
    /// How long to wait for the disk after the switch to the host. Default 10 s.
    #[serde(default = "storage_timeout")]
    pub storage_timeout: Delay,
    /// How long the disk is left alone after a write. Default 6 s.
    #[serde(default = "storage_leeway")]
    pub storage_leeway: Delay,
    /// How long what was written may take to reach the disk. Default 900 s.
    #[serde(default = "storage_fsync_timeout")]
    pub storage_fsync_timeout: Delay,
    /// How images are written.
    #[serde(default)]
    pub flash: FlashSettings,
}

/// The storage port of a DUTLink alone: a disk that is at the host, at the board, or at neither.
///
/// Unverified on hardware.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DutlinkStorageConfig {
    /// Serial number of the DUTLink, as `lsusb -v` shows it. Without it there must be exactly one.
    pub serial: Option<String>,
    /// The DUTLink by where it is plugged in, instead of or beside `serial`.
    #[serde(default)]
    pub usb: UsbMatch,
    /// Seconds that a request to the DUTLink may take. Default 20.
    #[serde(default = "twenty")]
    pub timeout_s: f64,
    /// The disk in the storage port, best by a name that stays: `/dev/disk/by-id/…` or `/dev/disk/by-path/…`.
    pub storage_device: PathBuf,
    /// How long to wait for the disk after the switch to the host. Default 10 s.
    #[serde(default = "storage_timeout")]
    pub storage_timeout: Delay,
    /// How long the disk is left alone after a write. Default 6 s.
    #[serde(default = "storage_leeway")]
    pub storage_leeway: Delay,
    /// How long what was written may take to reach the disk. Default 900 s.
    #[serde(default = "storage_fsync_timeout")]
    pub storage_fsync_timeout: Delay,
    /// How images are written.
    #[serde(default)]
    pub flash: FlashSettings,
}

impl DutlinkStorageConfig {
    pub(crate) fn card(&self) -> CardSettings {
        CardSettings {
            device: Some(self.storage_device.clone()),
            timeout: self.storage_timeout.0,
            leeway: self.storage_leeway.0,
            fsync: self.storage_fsync_timeout.0,
            flash: self.flash.clone(),
        }
    }
}

/// The power output of a DUTLink board (2b23:1012), with measured voltage and current.
///
/// Wiring: the board under test is fed through the DUTLink's output. `rescue` switches it on in the DUTLink's rescue mode.
/// `read` goes on, with a reading whenever it differs from the one before. Its console and its storage port come
/// with `dutlink`.
///
/// Unverified on hardware.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DutlinkPowerConfig {
    /// Serial number of the DUTLink, as `lsusb -v` shows it. Without it there must be exactly one.
    pub serial: Option<String>,
    /// The DUTLink by where it is plugged in, instead of or beside `serial`.
    #[serde(default)]
    pub usb: UsbMatch,
    /// Seconds that a request to the DUTLink may take. Default 20.
    #[serde(default = "twenty")]
    pub timeout_s: f64,
    /// Limits that all power switches have.
    #[serde(default)]
    pub switching: Switching,
}

pub(crate) fn twenty() -> f64 {
    20.0
}

pub(crate) fn baudrate() -> u32 {
    115_200
}

fn storage_timeout() -> Delay {
    Delay(Duration::from_secs(10))
}

fn storage_leeway() -> Delay {
    Delay(Duration::from_secs(6))
}

fn storage_fsync_timeout() -> Delay {
    Delay(Duration::from_secs(900))
}

pub(crate) fn check(
    serial: Option<&String>,
    usb: &UsbMatch,
    timeout: f64,
) -> Result<(), ConfigError> {
    if !(timeout > 0.0 && timeout <= MAX_TIMEOUT) {
        let text = format!(
            "{timeout} is no time limit; use more than 0 and at most {MAX_TIMEOUT} seconds"
        );
        return Err(ConfigError::new("timeout_s", text));
    }
    if let (Some(serial), Some(other)) = (serial, &usb.serial)
        && serial != other
    {
        let text = "another one than `serial`; keep one of the two";
        return Err(ConfigError::new("usb.serial", text));
    }
    let wanted = DeviceMatch {
        usb: wanted(serial, usb),
        ..DeviceMatch::default()
    };
    wanted.check()
}

/// A checked time limit.
pub(crate) fn limit(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(20))
}
