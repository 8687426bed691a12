//! A power switch that switches nothing, for trying out a rig and for tests of clients.

use std::sync::{Arc, Mutex, PoisonError};

use futures::Stream;
use rigd_driver::{Call, Driver, DriverError, Interface, Mode, OpenCx, OpenError};
use schemars::JsonSchema;
use serde::Deserialize;
use tracing::info;

use crate::{POWER_CLIENT, Reading};

/// A power switch that only writes to the log, for trying things out.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MockPowerConfig {}

/// A power switch that only says in the log what it is told.
#[derive(Debug, Default)]
pub struct MockPower {
    /// What it was told last.
    state: Mutex<Option<&'static str>>,
}

impl Driver for MockPower {
    const TYPE: &'static str = "power.mock";
    const CLIENT: &'static str = POWER_CLIENT;
    const CATEGORY: &'static str = "power";
    type Config = MockPowerConfig;

    fn interface() -> Interface<Self> {
        Interface::new()
            .call("on", Mode::Exclusive, Self::on)
            .call("off", Mode::Preempting, Self::off)
            .streaming("read", Self::read)
            .switches("on", "on")
            .switches("off", "off")
    }

    async fn open(_: &MockPowerConfig, _: &OpenCx) -> Result<Self, OpenError> {
        Ok(Self::default())
    }

    fn state(&self) -> Option<&'static str> {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MockPower {
    fn told(&self, state: &'static str) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
    }

    // The log lines are part of the interface: clients' tests wait for these very words.
    async fn on(self: Arc<Self>, _: Call) -> Result<(), DriverError> {
        info!("power on");
        self.told("on");
        Ok(())
    }

    async fn off(self: Arc<Self>, _: Call) -> Result<(), DriverError> {
        info!("power off");
        self.told("off");
        Ok(())
    }

    fn read(self: Arc<Self>, _: Call) -> impl Stream<Item = Result<Reading, DriverError>> {
        let reading = |voltage, current| Ok(Reading { voltage, current });
        futures::stream::iter([reading(0.0, 0.0), reading(5.0, 2.0)])
    }
}
