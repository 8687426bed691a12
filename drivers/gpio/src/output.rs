//! A GPIO line as an output that clients switch: a jumper, a boot strap, a reset.

use std::{
    marker::PhantomData,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rigd_device::UsbMatch;
use rigd_driver::{
    Call, ConfigError, Driver, DriverError, Gate, Interface, Mode, OpenCx, OpenError,
};
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
    gate: Gate,
    /// What it was set to; none from when it is being set until that is done.
    level: Mutex<Option<Level>>,
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
            .switches("on", Level::Active.word())
            .switches("off", Level::Inactive.word())
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
        let passage = cx.gate().enter(initial.word()).await;
        let _passage = passage.map_err(|e| OpenError::Faulty(e.to_string()))?;
        Ok(Self {
            held: Held::take::<C>(wanted, cx).await?,
            gate: cx.gate().clone(),
            level: Mutex::new(Some(initial)),
            initial,
            on_lease_start: config.on_lease_start,
            chips: PhantomData,
        })
    }

    fn state(&self) -> Option<&'static str> {
        self.level().map(Level::word)
    }

    async fn lease_start(&self) -> Result<(), DriverError> {
        match self.on_lease_start {
            OnLeaseStart::Initial => {
                let _passage = self.gate.enter(self.initial.word()).await?;
                let setting = self.held.switch_apart(self.initial);
                self.set(self.initial, setting).await.map(drop)
            }
            OnLeaseStart::Keep => Ok(()),
        }
    }
}

impl<C> GpioOutput<C> {
    fn level(&self) -> MutexGuard<'_, Option<Level>> {
        self.level.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the line, and knows what it is at.
    async fn set<T>(
        &self,
        level: Level,
        setting: impl Future<Output = Result<T, DriverError>>,
    ) -> Result<T, DriverError> {
        *self.level() = None;
        let done = setting.await?;
        *self.level() = Some(level);
        Ok(done)
    }
}

impl<C: Chips> GpioOutput<C> {
    async fn on(self: Arc<Self>, call: Call) -> Result<(), DriverError> {
        let setting = self.held.switch(&call, Level::Active);
        self.set(Level::Active, setting).await
    }

    async fn off(self: Arc<Self>, call: Call) -> Result<(), DriverError> {
        let setting = self.held.switch(&call, Level::Inactive);
        self.set(Level::Inactive, setting).await
    }

    async fn read_pin(self: Arc<Self>, call: Call) -> Result<u8, DriverError> {
        Ok(number(self.held.read(&call).await?))
    }
}
