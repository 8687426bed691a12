//! What `config:` of `serial.nvdemux` holds.

use std::{path::PathBuf, time::Duration};

use rigd_driver::ConfigError;
use schemars::JsonSchema;
use serde::Deserialize;

use super::demuxer::{Program, taken};
use crate::{
    capture::CaptureConfig,
    config::check_baudrate,
    console::RING,
    pace::Pace,
    settings::{FlowControl, Format, Parity, Settings},
};

/// The longest between two looks for a device.
const MAX_POLL: f64 = 60.0;

/// A console of an NVIDIA Tegra board, whose consoles share one USB port. A program of NVIDIA's takes
/// them apart: it is given a chip and a device, and says on which pseudo-terminal each target is.
/// Consoles with the same device share one run of it. Unverified on hardware.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NvDemuxConfig {
    /// The demuxer program, by its absolute path. It is started as `PROGRAM -m CHIP -d DEVICE`, in a
    /// process group of its own and without the daemon's environment, is started again when it ends,
    /// and ends with the daemon.
    pub demuxer_path: PathBuf,
    /// The USB port: a path, or a pattern with `*`, `?` and `[…]` of which the first match counts.
    #[serde(default = "default_device")]
    pub device: String,
    /// Which console: a target as the program names it.
    #[serde(default = "default_target")]
    pub target: String,
    /// The chip, as the program knows it: `T264` for Thor, `T234` for Orin.
    #[serde(default = "default_chip")]
    pub chip: String,
    /// Bits per second; a pseudo-terminal takes any.
    #[serde(default = "default_baudrate")]
    pub baudrate: u32,
    /// Characters per second to send at most. 0 or nothing: no limit.
    #[serde(default)]
    pub cps: Option<f64>,
    /// Seconds for which a console is looked for before it counts as absent, of which the first 7
    /// count. A client that comes meanwhile waits.
    #[serde(default = "default_timeout")]
    pub timeout: f64,
    /// Seconds between two looks for the device, and before the program is started again after it
    /// ended; twice as long after each time that it ended soon, up to 30. More than 0, at most 60.
    #[serde(default = "default_poll_interval")]
    pub poll_interval: f64,
    /// Bytes that the first client of a lease gets of what its own lease has printed before it
    /// attached, at most 1048576. 0: every stream begins at the moment it attaches.
    #[serde(default)]
    pub history: usize,
    /// Files with everything that the console says. Nothing: none.
    #[serde(default)]
    pub capture: Option<CaptureConfig>,
}

fn default_device() -> String {
    "/dev/serial/by-id/usb-NVIDIA_Tegra_On-Platform_Operator_*-if01".into()
}

fn default_target() -> String {
    "CCPLEX: 0".into()
}

fn default_chip() -> String {
    "T264".into()
}

fn default_baudrate() -> u32 {
    115_200
}

fn default_timeout() -> f64 {
    10.0
}

fn default_poll_interval() -> f64 {
    1.0
}

impl NvDemuxConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key: &str, text: String| Err(ConfigError::new(key, text));
        if self.demuxer_path.is_relative() {
            let path = self.demuxer_path.display();
            return wrong(
                "demuxer_path",
                format!("{path} is relative; give the whole path"),
            );
        }
        if !self.device.starts_with('/') {
            let text = format!("{:?} is no absolute path of a device", self.device);
            return wrong("device", text);
        }
        check_baudrate(self.baudrate).map_err(|text| ConfigError::new("baudrate", text))?;
        Pace::new(self.cps).map_err(|text| ConfigError::new("cps", text))?;
        if !(0.0..).contains(&self.timeout) {
            let text = format!("{} is no time; use 0 or more seconds", self.timeout);
            return wrong("timeout", text);
        }
        if !(self.poll_interval > 0.0 && self.poll_interval <= MAX_POLL) {
            let text = format!(
                "{} is no interval; use more than 0 and at most {MAX_POLL} seconds",
                self.poll_interval
            );
            return wrong("poll_interval", text);
        }
        if let Some(capture) = &self.capture {
            capture.check()?;
        }
        if self.history > RING {
            let text = format!("{} bytes are not kept; at most {RING} are", self.history);
            return wrong("history", text);
        }
        Ok(())
    }

    /// Those of one device share its program, and each has a target of its own.
    pub(super) fn check_beside(&self, earlier: &Self) -> Result<(), ConfigError> {
        if self.device != earlier.device {
            return Ok(());
        }
        if let Some(mismatch) = earlier.program().mismatch(&self.program()) {
            return Err(ConfigError::new("demuxer_path", mismatch));
        }
        if self.target == earlier.target {
            return Err(ConfigError::new("target", taken(&self.target)));
        }
        Ok(())
    }

    pub(super) fn program(&self) -> Program {
        Program {
            path: self.demuxer_path.clone(),
            chip: self.chip.clone(),
            device: self.device.clone(),
            poll_interval: Duration::try_from_secs_f64(self.poll_interval)
                .unwrap_or(Duration::from_secs(1)),
        }
    }

    /// How the pseudo-terminal is set.
    pub(super) fn settings(&self) -> Settings {
        Settings {
            baudrate: self.baudrate,
            format: Format {
                data_bits: 8,
                parity: Parity::None,
                stop_bits: 1,
            },
            flow_control: FlowControl::None,
            dtr: true,
            rts: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn config(given: Value) -> NvDemuxConfig {
        let mut all = json!({"demuxer_path": "/opt/nvidia/demuxer"});
        all.as_object_mut()
            .unwrap()
            .extend(given.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    #[test]
    fn mistakes_are_told_by_their_key() {
        config(json!({})).check().unwrap();
        for (given, key) in [
            (json!({"demuxer_path": "demuxer"}), "demuxer_path"),
            (json!({"device": "ttyACM*"}), "device"),
            (json!({"baudrate": 0}), "baudrate"),
            (json!({"cps": 1e-9}), "cps"),
            (json!({"timeout": -1}), "timeout"),
            (json!({"poll_interval": 0}), "poll_interval"),
            (json!({"poll_interval": 61}), "poll_interval"),
            (json!({"history": 9_999_999}), "history"),
        ] {
            assert_eq!(config(given).check().unwrap_err().key, key);
        }
    }

    #[test]
    fn consoles_of_one_device_go_together_or_are_told_why_not() {
        let first = config(json!({"device": "/dev/ttyACM0"}));
        let beside = |given: Value| {
            let checked = config(given).check_beside(&first);
            checked.map_err(|error| error.message)
        };
        let one = |key: &str, value: &str| {
            let mut given = json!({"device": "/dev/ttyACM0", "target": "BPMP: 0"});
            given[key] = json!(value);
            beside(given)
        };
        assert_eq!(one("target", "TZ: 0"), Ok(()));
        assert_eq!(one("device", "/dev/ttyACM1"), Ok(()));
        assert_eq!(
            one("target", "CCPLEX: 0"),
            Err("Target 'CCPLEX: 0' already registered by another driver".into())
        );
        assert_eq!(
            one("chip", "T234"),
            Err("Chip mismatch: T234 != T264".into())
        );
        let wanted = "Demuxer path mismatch: /opt/other != /opt/nvidia/demuxer";
        assert_eq!(one("demuxer_path", "/opt/other"), Err(wanted.into()));
    }
}
