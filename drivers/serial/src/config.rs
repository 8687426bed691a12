//! What `config:` of a serial console holds.

use std::sync::Arc;

use rigd_device::DeviceMatch;
use rigd_driver::{ConfigError, TaskScope};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    address::Address,
    capture::CaptureConfig,
    console::RING,
    pace::Pace,
    settings::{FlowControl, Format, Parity, Settings},
    wire::Source,
};

/// A serial console on a tty, a pty or a terminal server.
///
/// The daemon reads the port from its start to its stop; any number of clients share it, and whole
/// frames of theirs alternate. A client that reads too slowly loses bytes, which the log counts, and
/// slows nobody. When the adapter is unplugged, clients stay attached and read
/// `[rigd: … was lost: …; what is sent now is discarded]` in a line of its own, then
/// `[rigd: … is back after … s]` once it is plugged in again.
///
/// Beside the calls of the Python driver: `send_break(ms)` (250 unless given, at most 5000),
/// `set_baudrate(bits per second)`, `set_format("8N1")`, `set_flow_control("none", "rtscts" or
/// "xonxoff")`, and `get_settings()`. When the device refuses, the call fails with what it offers and
/// everything stays as it was. All of them are set back when the lease ends.
///
/// Wiring: ground, the adapter's RXD to the board's TXD and its TXD to the board's RXD, at the
/// board's level (3.3 V for most, never RS-232 to a pin header). Leave its supply pin open.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SerialConfig {
    /// Path of a tty or pty (best one of `/dev/serial/by-id`), `rfc2217://HOST:PORT` for a terminal
    /// server's port with its settings (speed, format, flow control, DTR, RTS, break),
    /// `socket://HOST:PORT` for a raw one, or `loop://`, which gives back what it is sent. This or
    /// `device`. `?timeout=SECONDS` behind `rfc2217://HOST:PORT` is how long the server may take to
    /// answer (3; at most 4 count), and `?ign_set_control` is for one that does not answer about
    /// lines, break and flow control; both with `&` between them.
    #[serde(default)]
    pub url: Option<String>,
    /// The adapter, by what it is: it is found in whatever socket and under whatever name. This or
    /// `url`.
    #[serde(default)]
    pub device: Option<DeviceMatch>,
    /// Bits per second. Any speed that the adapter does; one that it refuses is an error that says
    /// so.
    #[serde(default = "default_baudrate")]
    pub baudrate: u32,
    /// Data bits of a character, 5 to 8.
    #[serde(default = "default_data_bits", rename = "dataBits")]
    pub data_bits: u8,
    /// Parity bit of a character: `none`, `odd`, `even`, `mark` or `space`.
    #[serde(default)]
    pub parity: Parity,
    /// Stop bits of a character, 1 or 2.
    #[serde(default = "default_stop_bits", rename = "stopBits")]
    pub stop_bits: u8,
    /// Who may hold whom up: `none`, `rtscts` (by the lines RTS and CTS) or `xonxoff` (by the
    /// characters XON and XOFF, which then are no data).
    #[serde(default, rename = "flowControl")]
    pub flow_control: FlowControl,
    /// Level of DTR while the port is open. The kernel raises DTR and RTS for a moment when it opens
    /// the port, whatever is said here. Nothing else moves them but clients: not a stream that comes
    /// or goes, and not the end of a lease. What a client has set is set back when the next lease
    /// begins.
    #[serde(default = "default_true")]
    pub dtr: bool,
    /// Level of RTS while the port is open, as `dtr`. With `flowControl: rtscts` the kernel moves
    /// it.
    #[serde(default = "default_true")]
    pub rts: bool,
    /// Whether the port is expected to be there when the daemon starts: its absence is then an
    /// error in the log. The daemon starts and waits for the port in any case.
    #[serde(default = "default_true")]
    pub check_present: bool,
    /// Characters per second to send at most, for devices that lose bytes at full speed. 0 or
    /// nothing: no limit. What the device sends is never slowed down.
    #[serde(default)]
    pub cps: Option<f64>,
    /// Leave DTR and RTS as they are when the port is closed; boards that reset on DTR then keep
    /// running when the daemon stops.
    #[serde(default)]
    pub disable_hupcl: bool,
    /// Bytes that the first client of a lease gets of what its own lease has printed before it
    /// attached, at most 1048576. 0: every stream begins at the moment it attaches. Nothing of an
    /// earlier lease, or from between two leases, is ever given.
    #[serde(default)]
    pub history: usize,
    /// When the daemon has the port. `always`: from its start to its stop. `lease`: from the end of
    /// the hook beforeLease until the client's right to the instrument ends, before the hook
    /// afterLease, and for as long as a hook uses it as an instrument; otherwise the port is free for
    /// hooks and tools that open it themselves, and what it says then is not heard. DTR and RTS then
    /// keep their level when it is let go.
    #[serde(default)]
    pub hold: Hold,
    /// Files with everything that the console says. Nothing: none.
    #[serde(default)]
    pub capture: Option<CaptureConfig>,
}

/// When the daemon has the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Hold {
    /// From its start to its stop.
    #[default]
    Always,
    /// While clients of a lease may use it.
    Lease,
}

fn default_baudrate() -> u32 {
    115_200
}

fn default_data_bits() -> u8 {
    8
}

fn default_stop_bits() -> u8 {
    1
}

fn default_true() -> bool {
    true
}

impl SerialConfig {
    /// A console on a device, with everything else as it is when a configuration does not name it.
    pub fn on_device(device: DeviceMatch, baudrate: u32) -> Self {
        Self {
            url: None,
            device: Some(device),
            baudrate,
            data_bits: default_data_bits(),
            parity: Parity::default(),
            stop_bits: default_stop_bits(),
            flow_control: FlowControl::default(),
            dtr: true,
            rts: true,
            check_present: true,
            cps: None,
            disable_hupcl: false,
            history: 0,
            hold: Hold::default(),
            capture: None,
        }
    }

    /// What can be found wrong without hardware.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        self.address()?;
        self.settings()?;
        Pace::new(self.cps).map_err(|text| ConfigError::new("cps", text))?;
        if self.history > RING {
            let text = format!("{} bytes are not kept; at most {RING} are", self.history);
            return Err(ConfigError::new("history", text));
        }
        if let Some(capture) = &self.capture {
            capture.check()?;
        }
        Ok(())
    }

    /// Where the port is.
    fn address(&self) -> Result<Address, ConfigError> {
        match (&self.url, &self.device) {
            (Some(url), None) => Address::parse(url),
            (None, Some(device)) => {
                let below = |error: ConfigError| {
                    let key = format!("device.{}", error.key);
                    ConfigError::new(key.trim_end_matches('.'), error.message)
                };
                device.check().map_err(below)?;
                Ok(Address::Adapter(Box::new(device.clone())))
            }
            (None, None) => Err(ConfigError::new(
                "url",
                "is missing: write it, or `device` with what the adapter is",
            )),
            (Some(_), Some(_)) => Err(ConfigError::new(
                "device",
                "stands beside `url`: one of the two names the port",
            )),
        }
    }

    /// Where the port is opened; nowhere for a loop. Connections are served in `tasks`.
    pub(crate) fn source(&self, tasks: &TaskScope) -> Result<Option<Arc<dyn Source>>, ConfigError> {
        // A port that is let go with each lease would pulse DTR each time.
        let keep_lines = self.disable_hupcl || self.hold == Hold::Lease;
        Ok(self.address()?.source(&self.name(), keep_lines, tasks))
    }

    /// What the port is called.
    pub(crate) fn name(&self) -> String {
        match (&self.url, &self.device) {
            (Some(url), _) => url.clone(),
            (None, Some(device)) => device.to_string(),
            (None, None) => String::new(),
        }
    }

    /// How the line is set at the start of a lease.
    pub(crate) fn settings(&self) -> Result<Settings, ConfigError> {
        check_baudrate(self.baudrate).map_err(|text| ConfigError::new("baudrate", text))?;
        let format = Format::new(8, self.parity, self.stop_bits)
            .map_err(|text| ConfigError::new("stopBits", text))?;
        let format = Format::new(self.data_bits, format.parity, format.stop_bits)
            .map_err(|text| ConfigError::new("dataBits", text))?;
        if self.flow_control == FlowControl::RtsCts && !self.rts {
            let text = "with flowControl: rtscts the kernel moves RTS; leave this out";
            return Err(ConfigError::new("rts", text));
        }
        Ok(Settings {
            baudrate: self.baudrate,
            format,
            flow_control: self.flow_control,
            dtr: self.dtr,
            rts: self.rts,
        })
    }
}

/// # Errors
/// A speed that no line has, as a text.
pub(crate) fn check_baudrate(baudrate: u32) -> Result<(), &'static str> {
    match baudrate {
        0 => Err("0 baud hangs up; use the speed of the console, e.g. 115200"),
        _ => Ok(()),
    }
}
