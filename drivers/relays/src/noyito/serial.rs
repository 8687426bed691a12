//! NOYITO boards with one or two relays and a serial chip (CH340), 9600 baud.

use std::{path::PathBuf, time::Duration};

use rigd_device::{Class, DeviceMatch, UsbMatch};
use rigd_driver::{ConfigError, DriverError, Interface, OpenCx, OpenError};
use rigd_drivers_power::{Outlet, Switch, Switching};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Asked, CLIENT, channels, frame, states,
    tty::{LIMIT, Port},
    with_status,
};
use crate::ykush::same;

/// Channels of these boards.
const CHANNELS: u8 = 2;
/// What asks for the state of all channels.
const QUESTION: u8 = 0xff;

/// A relay of a NOYITO board with a serial chip (CH340): one or two relays, 9600 baud.
///
/// Wiring: through the contacts COM and NO of the relay the board has power while the relay is on. The board appears as a serial
/// port, whose group (`dialout`) the daemon's user must be in.
///
/// The port is opened for each command and closed after it, so both channels of a board may belong to different exporters.
/// Switching is not confirmed by the board; `state` and `status` ask it. Unverified on hardware.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoyitoSerialConfig {
    /// Path of the serial port, best a link in `/dev/serial/by-path`: these chips have no serial numbers.
    pub port: Option<PathBuf>,
    /// The channel, 1 or 2. Default 1.
    #[serde(default = "first")]
    pub channel: u8,
    /// Whether both channels are switched together. Default false.
    #[serde(default)]
    pub all_channels: bool,
    /// The USB device of the serial port, instead of or beside `port`.
    #[serde(default)]
    pub usb: UsbMatch,
    /// Limits that all power switches have.
    #[serde(default)]
    pub switching: Switching,
}

pub(super) fn first() -> u8 {
    1
}

/// A relay of a NOYITO board behind a serial port.
pub type NoyitoSerialPower = Switch<NoyitoSerialOutlet>;

/// The frames of a [`NoyitoSerialPower`].
#[derive(Debug)]
pub struct NoyitoSerialOutlet {
    port: Port,
    place: String,
    channels: Vec<u8>,
}

impl Outlet for NoyitoSerialOutlet {
    const TYPE: &'static str = "power.noyito-serial";
    const CLIENT: &'static str = CLIENT;
    type Config = NoyitoSerialConfig;

    fn switching(config: &NoyitoSerialConfig) -> &Switching {
        &config.switching
    }

    fn extend(interface: Interface<Switch<Self>>) -> Interface<Switch<Self>> {
        with_status(interface)
    }

    fn check(config: &NoyitoSerialConfig) -> Result<(), ConfigError> {
        if !(1..=CHANNELS).contains(&config.channel) {
            let text = format!("channel must be 1 or 2, got {}", config.channel);
            return Err(ConfigError::new("channel", text));
        }
        wanted(config).check().map_err(|mut error| {
            if error.key.is_empty() || error.key == "path" {
                error.key = "port".into();
            }
            error
        })
    }

    async fn open(config: &NoyitoSerialConfig, cx: &OpenCx) -> Result<Self, OpenError> {
        let found = wanted(config).locate(Class::Tty, cx).await?;
        let node = found.node()?.to_owned();
        let path = node.clone();
        let port = cx.blocking(move || Port::try_open(&path)).await?;
        let health = cx.health().clone();
        cx.tasks().spawn(async move {
            found.removed().await;
            health.lost(format!("{found} was unplugged"));
        });
        Ok(Self {
            port,
            place: format!("NOYITO relay at {}", node.display()),
            channels: channels(config.all_channels, config.channel, CHANNELS),
        })
    }

    fn address(&self) -> String {
        self.place.clone()
    }

    fn limit(&self) -> Duration {
        LIMIT + Duration::from_secs(1)
    }

    async fn set(&self, on: bool) -> Result<Option<bool>, DriverError> {
        let frames = self.channels.iter().map(|channel| frame(*channel, on));
        self.port.send(frames.collect()).await?;
        let state = if on { "ON" } else { "OFF" };
        for channel in &self.channels {
            tracing::info!("Relay channel {channel} {state}");
        }
        Ok(None)
    }

    async fn get(&self) -> Result<Option<bool>, DriverError> {
        same(&self.ask().await?)
    }
}

impl Asked for NoyitoSerialOutlet {
    async fn ask(&self) -> Result<Vec<(u8, bool)>, DriverError> {
        let wanted = self.channels.clone();
        // The last line may have no end, so only lines that have one are sure to be whole.
        let whole = move |heard: &[u8]| {
            let end = heard.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
            states(&heard[..end], &wanted).is_ok()
        };
        let answer = self.port.ask(QUESTION, whole).await?;
        states(&answer, &self.channels)
    }
}

fn wanted(config: &NoyitoSerialConfig) -> DeviceMatch {
    DeviceMatch {
        path: config.port.clone(),
        usb: config.usb.clone(),
        ..DeviceMatch::default()
    }
}
