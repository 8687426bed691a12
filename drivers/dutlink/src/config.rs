//! What `config:` of a DUTLink's power output holds.

use std::time::Duration;

use rigd_device::{DeviceMatch, UsbMatch};
use rigd_driver::ConfigError;
use rigd_drivers_power::Switching;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::board::wanted;

/// Longest limit of a request: a call should not outlive the patience of who made it.
const MAX_TIMEOUT: f64 = 120.0;

/// The power output of a DUTLink board (2b23:1012), with measured voltage and current.
///
/// Wiring: the board under test is fed through the DUTLink's output. `rescue` switches it on in the DUTLink's rescue mode.
/// `read` goes on, with a reading whenever it differs from the one before. The DUTLink's console is a serial
/// port: `serial`.
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

fn twenty() -> f64 {
    20.0
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
