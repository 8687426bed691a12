//! A relay: a GPIO line as a power switch.

use std::{marker::PhantomData, sync::Arc};

use futures::Stream;
use rigd_driver::{
    Call, ConfigError, Driver, DriverError, Interface, Mode, OpenCx, OpenError, Value,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Chips, Kernel,
    config::{Bias, Drive, InitialValue, LineName, OnLeaseStart, check_names, initial_level},
    output::{Output, Settings},
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
    /// Accepted for files of the Python driver, which ignores it as well.
    pub mode: Option<String>,
}

/// A relay on a line of `C`.
pub struct GpioRelay<C = Kernel> {
    output: Output,
    chips: PhantomData<fn() -> C>,
}

impl<C: Chips> Driver for GpioRelay<C> {
    const TYPE: &'static str = "power.gpio";
    const CLIENT: &'static str = "jumpstarter_driver_power.client.PowerClient";
    const CATEGORY: &'static str = "power";
    type Config = GpioRelayConfig;

    fn interface() -> Interface<Self> {
        Interface::new()
            .call("on", Mode::Exclusive, Self::on)
            .call("off", Mode::Preempting, Self::off)
            .call("read_pin", Mode::Shared, Self::read_pin)
            .streaming("read", Self::read)
    }

    fn check(config: &GpioRelayConfig) -> Result<(), ConfigError> {
        check_names(config.device.as_deref(), &config.line)
    }

    async fn open(config: &GpioRelayConfig, cx: &OpenCx) -> Result<Self, OpenError> {
        let output = Output::open::<C>(
            Settings {
                device: config.device.clone(),
                line: config.line.clone(),
                drive: config.drive.unwrap_or_default(),
                bias: config.bias.unwrap_or_default(),
                active_low: config.active_low,
                initial: initial_level(config.initial_value),
                on_lease_start: config.on_lease_start,
            },
            cx,
        );
        Ok(Self {
            output: output.await?,
            chips: PhantomData,
        })
    }

    async fn lease_start(&self) -> Result<(), DriverError> {
        self.output.lease_start().await
    }
}

impl<C: Chips> GpioRelay<C> {
    async fn on(self: Arc<Self>, call: Call) -> Result<(), DriverError> {
        self.output.on(&call).await
    }

    async fn off(self: Arc<Self>, call: Call) -> Result<(), DriverError> {
        self.output.off(&call).await
    }

    async fn read_pin(self: Arc<Self>, call: Call) -> Result<u8, DriverError> {
        self.output.read_pin(&call).await
    }

    fn read(self: Arc<Self>, _: Call) -> impl Stream<Item = Result<Value, DriverError>> {
        let text = "a relay on a GPIO line measures neither voltage nor current";
        futures::stream::iter([Err(DriverError::Unimplemented(text.into()))])
    }
}

#[cfg(test)]
mod tests;
