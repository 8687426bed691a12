//! Relay boards `USBRelay1` to `USBRelay8` (16c0:05df): V-USB firmware that says it is a HID.
//!
//! A feature report of 8 bytes switches: 0xff RELAY on, 0xfd RELAY off, 0xfe all on, 0xfc all off.
//! Feature report 1 tells: bytes 0 to 4 are the board's own number in letters, byte 7 has a bit for
//! each relay that is on. There is no paper of the vendor (www.dcttech.com). The bytes are those that
//! <https://github.com/darrylb123/usbrelay> (libusbrelay.c), <https://github.com/pavel-a/usb-relay-hid>
//! and libsigrok's dcttech-usbrelay driver agree on.
//!
//! The ids are shared by everything built on V-USB, so the product name decides; all boards have the
//! same USB serial number or none, so the number in the report tells them apart.

use std::{marker::PhantomData, sync::Arc, time::Duration};

use rigd_device::{Class, Found, UsbId, UsbMatch, wake_on};
use rigd_driver::{ConfigError, DriverError, OpenCx, OpenError};
use rigd_drivers_power::{Outlet, Switch, Switching};
use rigd_usb::{Bus, GRACE, HostBus, UsbDevice};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};

use crate::{hid::Hid, ykush::same};

/// Shared by all HIDs of V-USB hobbyists.
const IDS: (u16, u16) = (0x16c0, 0x05df);
/// The rest of the name is how many relays there are.
const PRODUCT: &str = "USBRelay";
const MOST_RELAYS: u8 = 8;
const ON: u8 = 0xff;
const OFF: u8 = 0xfd;
const ALL_ON: u8 = 0xfe;
const ALL_OFF: u8 = 0xfc;
/// The report that tells the number and the state.
const TELLS: u8 = 1;
const REPORT: u16 = 8;
/// Length of a board's number.
const NUMBER: usize = 5;
/// V-USB answers in milliseconds; relays move after it.
const ANSWER: Duration = Duration::from_secs(1);
/// Boards that are asked for their number when one is looked for.
const MOST_BOARDS: usize = 32;

/// A relay of a plain USB relay board: `USBRelay1` to `USBRelay8`, sold under many names, 16c0:05df.
///
/// Wiring: through the contacts COM and NO of the relay the board has power while the relay is on, and none when the host is
/// off; through COM and NC it is the other way round, see `inverted`.
///
/// The state is read back from the board after each switch. Unverified on hardware.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HidRelayConfig {
    /// The board's own number, five letters, as `usbrelay` prints it before the `_`. It is not the USB serial number, which all
    /// boards share. Without it there must be exactly one board, or `usb.port` says which.
    pub serial: Option<String>,
    /// The relay: `1` to `8`, or `all` for all of them together.
    #[serde(default)]
    pub relay: Relay,
    /// How many relays the board has, 1 to 8. Default: what its product name says.
    pub relays: Option<u8>,
    /// Whether the board under test has power while the relay is off (COM and NC).
    #[serde(default)]
    pub inverted: bool,
    /// The board by where it is plugged in, instead of or beside `serial`.
    #[serde(default)]
    pub usb: UsbMatch,
    /// Limits that all power switches have.
    #[serde(default)]
    pub switching: Switching,
}

/// Which relays of a board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub enum Relay {
    /// One, from 1.
    One(u8),
    /// All.
    All,
}

impl Default for Relay {
    fn default() -> Self {
        Self::One(1)
    }
}

impl<'de> Deserialize<'de> for Relay {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Words;
        impl de::Visitor<'_> for Words {
            type Value = Relay;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number from 1 to 8, or `all`")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Relay, E> {
                match u8::try_from(number) {
                    Ok(relay @ 1..=MOST_RELAYS) => Ok(Relay::One(relay)),
                    _ => Err(E::invalid_value(de::Unexpected::Unsigned(number), &self)),
                }
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Relay, E> {
                self.visit_u64(number.try_into().unwrap_or(0))
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Relay, E> {
                match (word, word.parse()) {
                    ("all", _) => Ok(Relay::All),
                    (_, Ok(number)) => self.visit_u64(number),
                    _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
                }
            }
        }
        from.deserialize_any(Words)
    }
}

/// A relay of a board on a bus `B`.
pub type HidRelay<B = HostBus> = Switch<HidRelayOutlet<B>>;

/// The reports of a [`HidRelay`].
pub struct HidRelayOutlet<B = HostBus> {
    hid: Hid,
    relay: Relay,
    relays: u8,
    inverted: bool,
    bus: PhantomData<fn() -> B>,
}

impl<B: Bus> Outlet for HidRelayOutlet<B> {
    const TYPE: &'static str = "power.hid-relay";
    type Config = HidRelayConfig;

    fn switching(config: &HidRelayConfig) -> &Switching {
        &config.switching
    }

    fn check(config: &HidRelayConfig) -> Result<(), ConfigError> {
        if config.serial.as_ref().is_some_and(|s| s.len() != NUMBER) {
            let text = format!(
                "a board's number has {NUMBER} letters; the USB serial number goes into `usb.serial`"
            );
            return Err(ConfigError::new("serial", text));
        }
        if let Some(relays) = config.relays {
            if !(1..=MOST_RELAYS).contains(&relays) {
                let text = format!("{relays} is not within 1 to {MOST_RELAYS}");
                return Err(ConfigError::new("relays", text));
            }
            fits(config.relay, relays).map_err(|text| ConfigError::new("relay", text))?;
        }
        check_usb(&wanted(config))
    }

    async fn open(config: &HidRelayConfig, cx: &OpenCx) -> Result<Self, OpenError> {
        wake_on(cx, &[Class::Usb]);
        let wanted = wanted(config);
        let boards = cx.blocking(move || B::list(&wanted)).await?;
        let board = choose::<B>(config, &boards).await?;
        let relays = config
            .relays
            .or_else(|| count(&board))
            .unwrap_or(MOST_RELAYS);
        fits(config.relay, relays).map_err(OpenError::Faulty)?;
        let device = rigd_usb::open_found::<B>(&board, cx).await?;
        Ok(Self {
            hid: Hid::take(&device, cx).await?,
            relay: config.relay,
            relays,
            inverted: config.inverted,
            bus: PhantomData,
        })
    }

    fn address(&self) -> String {
        self.hid.device().place().to_string()
    }

    fn limit(&self) -> Duration {
        ANSWER + GRACE + ANSWER
    }

    async fn set(&self, on: bool) -> Result<Option<bool>, DriverError> {
        let report = report(self.relay, on != self.inverted);
        self.hid.set_feature(&report, ANSWER).await?;
        self.get().await
    }

    async fn get(&self) -> Result<Option<bool>, DriverError> {
        let told = self.hid.feature(TELLS, REPORT, ANSWER).await?;
        let Some(told) = Told::parse(&told) else {
            let text = format!("{} answered with {told:02x?}", self.address());
            return Err(DriverError::Device(text));
        };
        let relays = match self.relay {
            Relay::One(relay) => relay..=relay,
            Relay::All => 1..=self.relays,
        };
        let states: Vec<_> = relays
            .map(|relay| (relay, told.is_on(relay) != self.inverted))
            .collect();
        same(&states)
    }
}

/// What feature report 1 says.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    number: String,
    on: u8,
}

impl Told {
    /// Nothing when it is no such report: another thing made with V-USB.
    fn parse(report: &[u8]) -> Option<Self> {
        let report: &[u8; REPORT as usize] = report.try_into().ok()?;
        let number = &report[..NUMBER];
        number.iter().all(u8::is_ascii_graphic).then(|| Self {
            number: number.iter().map(|letter| char::from(*letter)).collect(),
            on: report[7],
        })
    }

    fn is_on(&self, relay: u8) -> bool {
        let bit = u32::from(relay.saturating_sub(1));
        self.on.checked_shr(bit).is_some_and(|bits| bits & 1 == 1)
    }
}

fn report(relay: Relay, on: bool) -> [u8; REPORT as usize] {
    let (command, relay) = match (relay, on) {
        (Relay::One(relay), true) => (ON, relay),
        (Relay::One(relay), false) => (OFF, relay),
        (Relay::All, true) => (ALL_ON, 0),
        (Relay::All, false) => (ALL_OFF, 0),
    };
    [command, relay, 0, 0, 0, 0, 0, 0]
}

/// How many relays a board has by its name.
fn count(board: &Found) -> Option<u8> {
    let name = board.usb.as_ref()?.product_name.as_deref()?;
    let count = name.strip_prefix(PRODUCT)?.trim().parse().ok()?;
    (1..=MOST_RELAYS).contains(&count).then_some(count)
}

fn fits(relay: Relay, relays: u8) -> Result<(), String> {
    match relay {
        Relay::One(relay) if relay > relays => Err(format!(
            "there is no relay {relay} on a board with {relays}"
        )),
        _ => Ok(()),
    }
}

fn wanted(config: &HidRelayConfig) -> UsbMatch {
    let mut usb = config.usb.clone();
    usb.vendor.get_or_insert(UsbId(IDS.0));
    usb.product.get_or_insert(UsbId(IDS.1));
    usb
}

pub(crate) fn check_usb(usb: &UsbMatch) -> Result<(), ConfigError> {
    let wanted = rigd_device::DeviceMatch {
        usb: usb.clone(),
        ..rigd_device::DeviceMatch::default()
    };
    wanted.check()
}

/// The board with that number, or the only one.
async fn choose<B: Bus>(config: &HidRelayConfig, boards: &[Found]) -> Result<Found, OpenError> {
    let mut seen = Vec::new();
    for board in boards
        .iter()
        .filter(|b| is_board(config, b))
        .take(MOST_BOARDS)
    {
        // A board that is in use by another program, or hangs, may be none of ours.
        match number::<B>(board).await {
            Ok(Some(number)) if config.serial.as_ref() == Some(&number) => {
                return Ok(board.clone());
            }
            Ok(Some(number)) => seen.push((board, format!("{number} at {}", port(board)))),
            Ok(None) => {}
            Err(why) => seen.push((board, why)),
        }
    }
    let list = || {
        let texts: Vec<_> = seen.iter().map(|(_, text)| text.as_str()).collect();
        texts.join("; ")
    };
    match (&config.serial, &seen[..]) {
        (_, []) => Err(OpenError::Absent(
            "there is no USB relay board (16c0:05df, USBRelay1 to USBRelay8)".into(),
        )),
        (None, [(board, _)]) => Ok((*board).clone()),
        (None, _) => Err(OpenError::Faulty(format!(
            "several relay boards: {}; `serial` or `usb.port` tells them apart",
            list()
        ))),
        (Some(serial), _) => Err(OpenError::Absent(format!(
            "no relay board has the number {serial}; there are: {}",
            list()
        ))),
    }
}

/// What else has these ids is not asked anything, unless it was named by its own keys.
fn is_board(config: &HidRelayConfig, board: &Found) -> bool {
    let named = config.usb.product_name.is_some() || config.usb.product.is_some();
    let name = board
        .usb
        .as_ref()
        .and_then(|usb| usb.product_name.as_deref());
    named || name.is_some_and(|name| name.starts_with(PRODUCT))
}

fn port(board: &Found) -> &str {
    board.usb.as_ref().map_or(&board.name, |usb| &usb.port)
}

/// The number of a board; nothing when its report is none of a relay board.
async fn number<B: Bus>(board: &Found) -> Result<Option<String>, String> {
    let ask = async {
        let place = rigd_usb::Place::of(board)?;
        let device: Arc<UsbDevice> = B::open(&place).await?;
        let interface = device.interfaces().first().map_or(0, |one| one.number);
        let _claim = device.claim(interface).await?;
        let setup = rigd_usb::Setup {
            request_type: 0xa1,
            request: 0x01,
            value: 0x0300 | u16::from(TELLS),
            index: interface.into(),
        };
        device.control_in(setup, REPORT, ANSWER).await
    };
    let told = ask
        .await
        .map_err(|error: rigd_usb::UsbError| error.to_string())?;
    Ok(Told::parse(&told).map(|told| told.number))
}

#[cfg(test)]
mod tests;
