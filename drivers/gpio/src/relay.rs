//! A relay: a GPIO line as a power switch.

use std::{marker::PhantomData, sync::Arc, time::Duration};

use rigd_device::UsbMatch;
use rigd_driver::{Call, ConfigError, DriverError, Interface, Mode, OpenCx, OpenError};
use rigd_drivers_power::{AtLease, Outlet, Switch, Switching};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Chips, Kernel,
    config::{Bias, Drive, InitialValue, LineName, OnLeaseStart, check_names, initial_level},
    driven::{ANSWER, Held, Wanted},
    line::{Direction, Level},
    output::number,
};

/// Power through a relay on a GPIO line of the host, by the kernel's character device.
///
/// Wiring: the line drives the input of a relay board or a transistor, never the coil itself. Many relay boards switch on at
/// low level: set `active_low`, so that `on` is on.
///
/// The line is taken when the daemon starts, with its initial value from the first moment, and held until it ends. Needs
/// Linux 5.10 or later, and read and write permission on the chip.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GpioRelayConfig {
    /// The line: its offset on the chip, or its name.
    pub line: LineName,
    /// The chip: its label (`pinctrl-bcm2711`), its name (`gpiochip0`) or a path. Labels stay the same over kernels,
    /// numbers do not. Default: for an offset `/dev/gpiochip0`, for a name every chip is looked through.
    pub device: Option<String>,
    /// The USB device that the chip is behind, for adapters that all have the same label. Without `device` any chip
    /// behind it.
    #[serde(default)]
    pub usb: UsbMatch,
    /// How the line is driven: `push_pull`, `open_drain` or `open_source`. Default `push_pull`.
    pub drive: Option<Drive>,
    /// The resistor inside of the chip: `as_is`, `pull_up`, `pull_down` or `disabled`. Default `as_is`.
    pub bias: Option<Bias>,
    /// Whether the relay is on when the line is low. Default false.
    #[serde(default)]
    pub active_low: bool,
    /// The state from when the line is taken: `active`, `on` or true, `inactive`, `off` or false. Default `inactive`.
    pub initial_value: Option<InitialValue>,
    /// `initial` sets the initial value at the start of each lease, `keep` leaves the state alone. Default `initial`.
    #[serde(default, rename = "onLeaseStart")]
    pub on_lease_start: OnLeaseStart,
    /// Limits that all power switches have. `switching.onLeaseStart` wins over `onLeaseStart`.
    #[serde(default)]
    pub switching: Switching,
    /// Accepted for files of the Python driver, which ignores it as well.
    pub mode: Option<String>,
}

/// A relay on a line of `C`, with the limits that all power switches have.
pub type GpioRelay<C = Kernel> = Switch<GpioOutlet<C>>;

/// The line of a relay.
pub struct GpioOutlet<C = Kernel> {
    held: Held,
    chips: PhantomData<fn() -> C>,
}

impl<C: Chips> Outlet for GpioOutlet<C> {
    const TYPE: &'static str = "power.gpio";
    type Config = GpioRelayConfig;

    fn switching(config: &GpioRelayConfig) -> &Switching {
        &config.switching
    }

    fn at_lease(config: &GpioRelayConfig) -> [AtLease; 2] {
        let initial = match initial_level(config.initial_value) {
            Level::Active => AtLease::On,
            Level::Inactive => AtLease::Off,
        };
        let start = match config.on_lease_start {
            OnLeaseStart::Initial => initial,
            OnLeaseStart::Keep => AtLease::Keep,
        };
        [start, AtLease::Keep]
    }

    fn extend(interface: Interface<GpioRelay<C>>) -> Interface<GpioRelay<C>> {
        interface.call("read_pin", Mode::Shared, read_pin::<C>)
    }

    fn check(config: &GpioRelayConfig) -> Result<(), ConfigError> {
        check_names(config.device.as_deref(), &config.usb, &config.line)
    }

    async fn open(config: &GpioRelayConfig, cx: &OpenCx) -> Result<Self, OpenError> {
        let initial = initial_level(config.initial_value);
        let wanted = Wanted {
            device: config.device.clone(),
            usb: config.usb.clone(),
            line: config.line.clone(),
            direction: Direction::Output(initial, config.drive.unwrap_or_default()),
            bias: config.bias.unwrap_or_default(),
            active_low: config.active_low,
        };
        let state = match initial {
            Level::Active => "on",
            Level::Inactive => "off",
        };
        let passage = cx.gate().enter(state).await;
        let _passage = passage.map_err(|e| OpenError::Faulty(e.to_string()))?;
        Ok(Self {
            held: Held::take::<C>(wanted, cx).await?,
            chips: PhantomData,
        })
    }

    // A line is held by one instance alone, so nobody else takes turns with it.
    fn address(&self) -> String {
        self.held.place().to_owned()
    }

    // The line's own limit comes first, and says more.
    fn limit(&self) -> Duration {
        ANSWER + Duration::from_secs(1)
    }

    // What a chip does not do at once it does not do a moment later.
    fn repeatable(&self, _: bool) -> bool {
        false
    }

    async fn set(&self, on: bool) -> Result<Option<bool>, DriverError> {
        let level = if on { Level::Active } else { Level::Inactive };
        self.held.switch_apart(level).await?;
        // Not what the pin reads: an open drain that something else pulls is switched nevertheless.
        Ok(None)
    }

    async fn get(&self) -> Result<Option<bool>, DriverError> {
        Ok(Some(self.held.read_apart().await? == Level::Active))
    }
}

async fn read_pin<C: Chips>(relay: Arc<GpioRelay<C>>, call: Call) -> Result<u8, DriverError> {
    Ok(number(relay.outlet().held.read(&call).await?))
}

#[cfg(test)]
mod tests;
