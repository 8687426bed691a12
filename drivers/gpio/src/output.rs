//! A GPIO line as an output that clients switch: a jumper, a boot strap, a reset.

use std::{marker::PhantomData, sync::Arc};

use rigd_device::UsbMatch;
use rigd_driver::{Call, ConfigError, Driver, DriverError, Interface, Mode, OpenCx, OpenError};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Chips, Kernel,
    config::{Bias, Drive, InitialValue, LineName, OnLeaseStart, check_names, initial_level},
    driven::{Held, Wanted},
    line::{Direction, Level},
};

/// A GPIO line of the host as an output, for what is switched and is no power: a boot strap, a reset line, a button.
///
/// Wiring: straight to the input of the board when both have the same supply voltage; else a transistor, or `open_drain` and a
/// resistor to the board's own supply.
///
/// The line is taken when the daemon starts, with its initial value from the first moment, and held until it ends. Needs
/// Linux 5.10 or later, and read and write permission on the chip.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GpioOutputConfig {
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
    /// Whether low is the active level. Default false.
    #[serde(default)]
    pub active_low: bool,
    /// The state from when the line is taken: `active`, `on` or true, `inactive`, `off` or false. Default `inactive`.
    pub initial_value: Option<InitialValue>,
    /// `initial` sets the initial value at the start of each lease, `keep` leaves the state alone. Default `initial`.
    #[serde(default, rename = "onLeaseStart")]
    pub on_lease_start: OnLeaseStart,
}

/// A level as clients get it.
pub(crate) fn number(level: Level) -> u8 {
    match level {
        Level::Inactive => 0,
        Level::Active => 1,
    }
}

/// An output on a line of `C`.
pub struct GpioOutput<C = Kernel> {
    held: Held,
    initial: Level,
    on_lease_start: OnLeaseStart,
    chips: PhantomData<fn() -> C>,
}

impl<C: Chips> Driver for GpioOutput<C> {
    const TYPE: &'static str = "gpio.output";
    const CLIENT: &'static str = "jumpstarter_driver_gpiod.client.DigitalOutputClient";
    const CATEGORY: &'static str = "gpio";
    type Config = GpioOutputConfig;

    fn interface() -> Interface<Self> {
        Interface::new()
            .call("on", Mode::Exclusive, Self::on)
            .call("off", Mode::Preempting, Self::off)
            .call("read_pin", Mode::Shared, Self::read_pin)
    }

    fn check(config: &GpioOutputConfig) -> Result<(), ConfigError> {
        check_names(config.device.as_deref(), &config.usb, &config.line)
    }

    async fn open(config: &GpioOutputConfig, cx: &OpenCx) -> Result<Self, OpenError> {
        let initial = initial_level(config.initial_value);
        let wanted = Wanted {
            device: config.device.clone(),
            usb: config.usb.clone(),
            line: config.line.clone(),
            direction: Direction::Output(initial, config.drive.unwrap_or_default()),
            bias: config.bias.unwrap_or_default(),
            active_low: config.active_low,
        };
        Ok(Self {
            held: Held::take::<C>(wanted, cx).await?,
            initial,
            on_lease_start: config.on_lease_start,
            chips: PhantomData,
        })
    }

    async fn lease_start(&self) -> Result<(), DriverError> {
        match self.on_lease_start {
            OnLeaseStart::Initial => self.held.switch_apart(self.initial).await.map(drop),
            OnLeaseStart::Keep => Ok(()),
        }
    }
}

impl<C: Chips> GpioOutput<C> {
    async fn on(self: Arc<Self>, call: Call) -> Result<(), DriverError> {
        self.held.switch(&call, Level::Active).await
    }

    async fn off(self: Arc<Self>, call: Call) -> Result<(), DriverError> {
        self.held.switch(&call, Level::Inactive).await
    }

    async fn read_pin(self: Arc<Self>, call: Call) -> Result<u8, DriverError> {
        Ok(number(self.held.read(&call).await?))
    }
}
