//! NOYITO boards with four or eight relays that are HIDs.

use std::{marker::PhantomData, time::Duration};

use rigd_device::{UsbId, UsbMatch};
use rigd_driver::{ConfigError, DriverError, Interface, OpenCx, OpenError};
use rigd_drivers_power::{Outlet, Switch, Switching};
use rigd_usb::{Bus, GRACE, HostBus};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Asked, CLIENT, HEAD, channels, checked, frame, serial::first, states, with_status};
use crate::{hid::Hid, hid_relay::check_usb, ykush::same};

/// The channel and the state of the frame that asks for all states.
const QUESTION: [u8; 3] = [HEAD, 0x0f, 0x02];
/// `CH1:OFF` and a line end.
const LINE: usize = 9;
/// How long a report of an answer is waited for.
const ANSWER: Duration = Duration::from_millis(500);
/// How long the board may take to accept a frame.
const SEND: Duration = Duration::from_secs(1);

/// A relay of a NOYITO board with four or eight relays, a HID.
///
/// Wiring: through the contacts COM and NO of the relay the board has power while the relay is on.
///
/// Switching is not confirmed by the board; `state` and `status` ask it. Unverified on hardware.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoyitoHidConfig {
    /// Vendor number. Default 5131 (0x140b).
    #[serde(default = "vendor")]
    pub vendor_id: u16,
    /// Product number. Default 2007 (0x07d7).
    #[serde(default = "product")]
    pub product_id: u16,
    /// How many relays the board has, 4 or 8. Default 4.
    #[serde(default = "four")]
    pub num_channels: u8,
    /// The channel, from 1. Default 1.
    #[serde(default = "first")]
    pub channel: u8,
    /// Whether all channels are switched together. Default false.
    #[serde(default)]
    pub all_channels: bool,
    /// The board by its serial number or by where it is plugged in, when there are several.
    #[serde(default)]
    pub usb: UsbMatch,
    /// Limits that all power switches have.
    #[serde(default)]
    pub switching: Switching,
}

fn vendor() -> u16 {
    5131
}

fn product() -> u16 {
    2007
}

fn four() -> u8 {
    4
}

/// A relay of a NOYITO board that is a HID, on a bus `B`.
pub type NoyitoHidPower<B = HostBus> = Switch<NoyitoHidOutlet<B>>;

/// The reports of a [`NoyitoHidPower`].
pub struct NoyitoHidOutlet<B = HostBus> {
    hid: Hid,
    channels: Vec<u8>,
    count: u8,
    bus: PhantomData<fn() -> B>,
}

impl<B: Bus> Outlet for NoyitoHidOutlet<B> {
    const TYPE: &'static str = "power.noyito-hid";
    const CLIENT: &'static str = CLIENT;
    type Config = NoyitoHidConfig;

    fn switching(config: &NoyitoHidConfig) -> &Switching {
        &config.switching
    }

    fn extend(interface: Interface<Switch<Self>>) -> Interface<Switch<Self>> {
        with_status(interface)
    }

    fn check(config: &NoyitoHidConfig) -> Result<(), ConfigError> {
        let count = config.num_channels;
        if ![4, 8].contains(&count) {
            let text = format!("num_channels must be 4 or 8, got {count}");
            return Err(ConfigError::new("num_channels", text));
        }
        if !(1..=count).contains(&config.channel) {
            let text = format!("channel must be 1 to {count}, got {}", config.channel);
            return Err(ConfigError::new("channel", text));
        }
        check_usb(&wanted(config))
    }

    async fn open(config: &NoyitoHidConfig, cx: &OpenCx) -> Result<Self, OpenError> {
        let device = rigd_usb::open::<B>(&wanted(config), cx).await?;
        Ok(Self {
            hid: Hid::take(&device, cx).await?,
            channels: channels(config.all_channels, config.channel, config.num_channels),
            count: config.num_channels,
            bus: PhantomData,
        })
    }

    fn address(&self) -> String {
        self.hid.device().place().to_string()
    }

    // All channels one after another, or a question and its answer in as many reports.
    fn limit(&self) -> Duration {
        SEND + GRACE + ANSWER * u32::from(self.count)
    }

    async fn set(&self, on: bool) -> Result<Option<bool>, DriverError> {
        let state = if on { "ON" } else { "OFF" };
        for channel in &self.channels {
            self.hid.send(&frame(*channel, on), SEND).await?;
            tracing::info!("HID Relay channel {channel} {state}");
        }
        Ok(None)
    }

    async fn get(&self) -> Result<Option<bool>, DriverError> {
        same(&self.ask().await?)
    }
}

impl<B: Bus> Asked for NoyitoHidOutlet<B> {
    async fn ask(&self) -> Result<Vec<(u8, bool)>, DriverError> {
        let answer = self.answer();
        let answer = self.hid.exchange(&checked(QUESTION), SEND, answer).await?;
        states(&answer, &self.channels)
    }
}

impl<B: Bus> NoyitoHidOutlet<B> {
    /// As many bytes as the lines of all channels have, in as many reports as the board likes.
    async fn answer(&self) -> Result<Vec<u8>, DriverError> {
        let length = usize::from(self.count) * LINE;
        let mut answer = Vec::new();
        while answer.len() < length {
            match self.hid.receive(length - answer.len(), ANSWER).await {
                Ok(report) if report.is_empty() => break,
                Ok(report) => answer.extend(report),
                // What came before is judged by what it says.
                Err(DriverError::Timeout(_)) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(answer)
    }
}

fn wanted(config: &NoyitoHidConfig) -> UsbMatch {
    let mut usb = config.usb.clone();
    usb.vendor.get_or_insert(UsbId(config.vendor_id));
    usb.product.get_or_insert(UsbId(config.product_id));
    usb
}
