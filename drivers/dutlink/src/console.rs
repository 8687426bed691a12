//! The console of a DUTLink alone: the serial port of the same USB device.

use std::borrow::Cow;

use rigd_device::{DeviceMatch, UsbMatch};
use rigd_driver::{ConfigError, Driver};
use rigd_drivers_serial::{CaptureConfig, Hold, PortConfig, Serial, SerialConfig, SerialOn};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    board::wanted,
    config::{baudrate, check, twenty},
};

/// The console of a DUTLink board (2b23:1012) alone, with the calls of `serial`.
///
/// Wiring: the UART of the board under test goes to the DUTLink's console pins.
///
/// Unverified on hardware.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DutlinkConsoleConfig {
    /// Serial number of the DUTLink, as `lsusb -v` shows it. Without it there must be exactly one.
    pub serial: Option<String>,
    /// The DUTLink by where it is plugged in, instead of or beside `serial`.
    #[serde(default)]
    pub usb: UsbMatch,
    /// As for the other parts of a DUTLink; the console makes no requests that it could limit.
    #[serde(default = "twenty")]
    pub timeout_s: f64,
    /// Bits per second. Default 115200.
    #[serde(default = "baudrate")]
    pub baudrate: u32,
    /// Whether the port is expected to be there when the daemon starts: its absence is then an error in the log.
    #[serde(default = "expected")]
    pub check_present: bool,
    /// Characters per second to send at most. 0 or nothing: no limit.
    #[serde(default)]
    pub cps: Option<f64>,
    /// Leave DTR and RTS as they are when the port is closed.
    #[serde(default)]
    pub disable_hupcl: bool,
    /// Bytes that the first client of a lease gets of what its own lease has printed before it attached, at most 1048576.
    #[serde(default)]
    pub history: usize,
    /// When the daemon has the port: `always`, or for a `lease`.
    #[serde(default)]
    pub hold: Hold,
    /// Files with everything that the console says. Nothing: none.
    #[serde(default)]
    pub capture: Option<CaptureConfig>,
}

/// The console of a DUTLink.
pub type DutlinkConsole = SerialOn<DutlinkConsoleConfig>;

impl PortConfig for DutlinkConsoleConfig {
    const TYPE: &'static str = "dutlink.console";

    fn console(&self) -> Result<Cow<'_, SerialConfig>, ConfigError> {
        check(self.serial.as_ref(), &self.usb, self.timeout_s)?;
        let console = SerialConfig {
            check_present: self.check_present,
            cps: self.cps,
            disable_hupcl: self.disable_hupcl,
            history: self.history,
            hold: self.hold,
            capture: self.capture.clone(),
            ..on_board(self.serial.as_ref(), &self.usb, self.baudrate)
        };
        Serial::check(&console)?;
        Ok(Cow::Owned(console))
    }
}

/// The serial port of that board.
pub(crate) fn on_board(serial: Option<&String>, usb: &UsbMatch, baudrate: u32) -> SerialConfig {
    let device = DeviceMatch {
        usb: wanted(serial, usb),
        ..DeviceMatch::default()
    };
    SerialConfig::on_device(device, baudrate)
}

fn expected() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use rigd_device::UsbId;
    use serde_json::json;

    use super::*;

    fn console(config: serde_json::Value) -> Result<SerialConfig, ConfigError> {
        let config: DutlinkConsoleConfig = serde_json::from_value(config).unwrap();
        config.console().map(Cow::into_owned)
    }

    #[test]
    fn it_is_the_serial_port_of_that_board_set_as_configured() {
        let console = console(json!({
            "serial": "c415a913", "baudrate": 9600, "check_present": false, "cps": 10.0,
            "disable_hupcl": true, "history": 500, "hold": "lease",
        }))
        .unwrap();
        let usb = console.device.unwrap().usb;
        assert_eq!(usb.vendor, Some(UsbId(0x2b23)));
        assert_eq!(usb.product, Some(UsbId(0x1012)));
        assert_eq!(usb.serial.as_deref(), Some("c415a913"));
        assert_eq!((console.baudrate, console.history), (9600, 500));
        assert_eq!((console.cps, console.hold), (Some(10.0), Hold::Lease));
        assert!(console.disable_hupcl && !console.check_present);
    }

    #[test]
    fn what_no_console_has_is_refused_by_its_key() {
        for (config, key) in [
            (json!({"baudrate": 0}), "baudrate"),
            (json!({"timeout_s": 0}), "timeout_s"),
            (json!({"serial": "a", "usb": {"serial": "b"}}), "usb.serial"),
        ] {
            assert_eq!(console(config).unwrap_err().key, key);
        }
    }
}
