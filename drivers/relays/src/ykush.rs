//! Yepkit YKUSH: a USB hub whose three downstream ports are switched.
//!
//! A command is a report of 64 bytes whose first one says what to do; the board answers each with a
//! report of 64 bytes. Commands and the meaning of the status are those of Yepkit's own tool,
//! <https://github.com/Yepkit/ykush>, src/ykush/ykush.cpp: `port_up`, `port_down` and
//! `get_port_status`, where the high half of the answer's second byte is not 0 when the port is on
//! and the low half repeats its number.

use std::{marker::PhantomData, time::Duration};

use rigd_device::{UsbId, UsbMatch};
use rigd_driver::{ConfigError, DriverError, OpenCx, OpenError};
use rigd_drivers_power::{AtLease, Outlet, Switch, Switching};
use rigd_usb::{Bus, GRACE, HostBus};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};

use crate::hid::Hid;

/// A board that was made before 2016 has other ids and shorter reports, which is not spoken here.
const IDS: (u16, u16) = (0x04d8, 0xf2f7);
const UP: u8 = 0x10;
const STATUS: u8 = 0x20;
/// What stands for all ports in `UP` and in its opposite.
const ALL: u8 = 0x0a;
const REPORT: usize = 64;
/// First byte of an answer to a command that the board knows.
const DONE: u8 = 1;
/// How long an answer may take; the Python driver waits as long.
const ANSWER: Duration = Duration::from_secs(2);

/// A downstream port of a Yepkit YKUSH, the USB hub that switches its ports.
///
/// Wiring: the board's power comes through the port, so a device that is fed by the port's VBUS is off when the port is.
/// A board with a supply of its own is only disconnected from USB.
///
/// The port's state is read back from the board after each switch. Unverified on hardware.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct YkushConfig {
    /// Serial number of the board, as `lsusb -v` shows it; `YK…`. Without it there must be exactly one board.
    pub serial: Option<String>,
    /// The downstream port: `1`, `2`, `3`, or `all` for the three together.
    #[serde(default)]
    pub port: Downstream,
    /// What the start of each lease does to the port: `off`, `on` or `keep`. `switching.onLeaseStart` wins over it.
    #[serde(default)]
    pub default: YkushDefault,
    /// The board by where it is plugged in, instead of or beside `serial`.
    #[serde(default)]
    pub usb: UsbMatch,
    /// Limits that all power switches have.
    #[serde(default)]
    pub switching: Switching,
}

/// Which ports of a YKUSH.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, JsonSchema)]
#[schemars(with = "String")]
pub enum Downstream {
    /// One, 1 to 3.
    One(u8),
    /// All three.
    #[default]
    All,
}

impl<'de> Deserialize<'de> for Downstream {
    /// Takes numbers, too: quotes are forgotten easily.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Words;
        impl de::Visitor<'_> for Words {
            type Value = Downstream;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`1`, `2`, `3` or `all`")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Downstream, E> {
                match u8::try_from(number) {
                    Ok(port @ 1..=3) => Ok(Downstream::One(port)),
                    _ => Err(E::invalid_value(de::Unexpected::Unsigned(number), &self)),
                }
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Downstream, E> {
                self.visit_u64(number.try_into().unwrap_or(0))
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Downstream, E> {
                match word {
                    "all" => Ok(Downstream::All),
                    "1" | "2" | "3" => self.visit_u64(u64::from(word.as_bytes()[0] - b'0')),
                    _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
                }
            }
        }
        from.deserialize_any(Words)
    }
}

/// What a lease finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub struct YkushDefault(AtLease);

impl Default for YkushDefault {
    fn default() -> Self {
        Self(AtLease::Off)
    }
}

impl<'de> Deserialize<'de> for YkushDefault {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        AtLease::deserialize(from).map(Self)
    }
}

/// A port of a YKUSH on a bus `B`.
pub type Ykush<B = HostBus> = Switch<YkushOutlet<B>>;

/// The reports of a [`Ykush`].
pub struct YkushOutlet<B = HostBus> {
    hid: Hid,
    port: Downstream,
    serial: String,
    bus: PhantomData<fn() -> B>,
}

impl<B: Bus> Outlet for YkushOutlet<B> {
    const TYPE: &'static str = "power.ykush";
    type Config = YkushConfig;

    fn switching(config: &YkushConfig) -> &Switching {
        &config.switching
    }

    fn at_lease(config: &YkushConfig) -> [AtLease; 2] {
        [config.default.0, AtLease::Keep]
    }

    fn check(config: &YkushConfig) -> Result<(), ConfigError> {
        wanted(config).map(drop)
    }

    async fn open(config: &YkushConfig, cx: &OpenCx) -> Result<Self, OpenError> {
        let wanted = wanted(config).map_err(|error| OpenError::Faulty(error.to_string()))?;
        let device = rigd_usb::open::<B>(&wanted, cx).await?;
        let serial = device.place().usb().serial.clone().unwrap_or_default();
        if config.serial.is_none() && config.usb == UsbMatch::default() {
            tracing::warn!(
                "No serial number provided for ykush, using the first one found: {serial}"
            );
        }
        Ok(Self {
            hid: Hid::take(&device, cx).await?,
            port: config.port,
            serial,
            bus: PhantomData,
        })
    }

    fn address(&self) -> String {
        self.hid.device().place().to_string()
    }

    fn limit(&self) -> Duration {
        ANSWER + GRACE + ANSWER / 2
    }

    async fn set(&self, on: bool) -> Result<Option<bool>, DriverError> {
        self.command(command(self.port, on)).await?;
        match self.get().await {
            // The command was answered, so it arrived.
            Err(DriverError::Timeout(text)) => {
                tracing::warn!("the board does not tell its state: {text}");
                Ok(None)
            }
            told => told,
        }
    }

    async fn get(&self) -> Result<Option<bool>, DriverError> {
        let ports = match self.port {
            Downstream::One(port) => port..=port,
            Downstream::All => 1..=3,
        };
        let mut states = Vec::new();
        for port in ports {
            let answer = self.command(STATUS | port).await?;
            let Some(on) = status(port, &answer) else {
                return Ok(None);
            };
            states.push((port, on));
        }
        same(&states)
    }

    fn says(&self, on: bool) -> String {
        let state = if on { "ON" } else { "OFF" };
        let port = match self.port {
            Downstream::One(port) => port.to_string(),
            Downstream::All => "all".into(),
        };
        format!("Power {state} for Ykush {} on port {port}", self.serial)
    }
}

impl<B> YkushOutlet<B> {
    async fn command(&self, command: u8) -> Result<Vec<u8>, DriverError> {
        let mut report = [0; REPORT];
        report[0] = command;
        let answer = self.hid.receive(REPORT, ANSWER);
        self.hid.exchange(&report, ANSWER, answer).await
    }
}

fn wanted(config: &YkushConfig) -> Result<UsbMatch, ConfigError> {
    let mut usb = config.usb.clone();
    usb.vendor.get_or_insert(UsbId(IDS.0));
    usb.product.get_or_insert(UsbId(IDS.1));
    if let Some(serial) = &config.serial {
        if usb.serial.as_ref().is_some_and(|other| other != serial) {
            let text = "another one than `serial`; keep one of the two";
            return Err(ConfigError::new("usb.serial", text));
        }
        usb.serial = Some(serial.clone());
    }
    crate::hid_relay::check_usb(&usb)?;
    Ok(usb)
}

fn command(port: Downstream, on: bool) -> u8 {
    let number = match port {
        Downstream::One(port) => port,
        Downstream::All => ALL,
    };
    if on { UP | number } else { number }
}

/// What an answer says about a port; nothing when it is no answer to that question.
fn status(port: u8, answer: &[u8]) -> Option<bool> {
    match answer {
        [DONE, state, ..] if state & 0x0f == port => Some(state >> 4 != 0),
        _ => None,
    }
}

/// The state that several relays have together.
pub(crate) fn same(states: &[(u8, bool)]) -> Result<Option<bool>, DriverError> {
    let first = states.first().map(|(_, on)| *on);
    if states.iter().all(|(_, on)| Some(*on) == first) {
        return Ok(first);
    }
    let words = states
        .iter()
        .map(|(number, on)| format!("{number} {}", if *on { "on" } else { "off" }));
    let text = words.collect::<Vec<_>>().join(", ");
    Err(DriverError::Device(format!("neither on nor off: {text}")))
}

#[cfg(test)]
mod tests;
