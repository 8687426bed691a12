//! `virtual.board.power`: the relay in the board's supply line, with a meter.

use std::{sync::Arc, time::Duration};

use futures::Stream;
use rigd_driver::{Call, Driver, DriverError, Interface, Mode, OpenCx, OpenError};
use serde::Serialize;
use tokio::time::MissedTickBehavior;

use crate::{Board, PartConfig, machine::Event, rig::Rig};

/// How often the meter is read.
const READ_EVERY: Duration = Duration::from_secs(1);

/// One reading, as clients expect it: exactly these two.
#[derive(Debug, Serialize)]
struct Reading {
    voltage: f64,
    current: f64,
}

/// Power of a [`Board`]. `read` gives volt and ampere at once and then each second, until the
/// client leaves. A relay that is stuck takes orders and does nothing.
#[derive(Debug)]
pub struct BoardPower {
    rig: Arc<Rig>,
}

impl BoardPower {
    async fn on(self: Arc<Self>, _call: Call) -> Result<(), DriverError> {
        // The texts are those that clients look for in the log.
        tracing::info!("power on");
        self.set(Event::PowerOn);
        Ok(())
    }

    async fn off(self: Arc<Self>, _call: Call) -> Result<(), DriverError> {
        tracing::info!("power off");
        self.set(Event::PowerOff);
        Ok(())
    }

    fn set(&self, event: Event) {
        if !self.rig.faults.now().relay_stuck {
            self.rig.apply(event);
        }
    }

    fn read(
        self: Arc<Self>,
        _call: Call,
    ) -> impl Stream<Item = Result<Reading, DriverError>> + use<> {
        let mut ticks = tokio::time::interval(READ_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        futures::stream::unfold((self, ticks), async |(power, mut ticks)| {
            ticks.tick().await;
            let supply = power.rig.supply();
            let reading = Reading {
                voltage: supply.voltage,
                current: supply.current,
            };
            Some((Ok(reading), (power, ticks)))
        })
    }
}

impl Driver for BoardPower {
    const TYPE: &'static str = "virtual.board.power";
    const CLIENT: &'static str = "jumpstarter_driver_power.client.PowerClient";
    const CATEGORY: &'static str = "power";

    type Config = PartConfig;

    fn interface() -> Interface<Self> {
        Interface::new()
            .call("on", Mode::Exclusive, Self::on)
            .call("off", Mode::Preempting, Self::off)
            .streaming("read", Self::read)
            .switches("on", "on")
            .switches("off", "off")
    }

    fn state(&self) -> Option<&'static str> {
        Some(if self.rig.powered() { "on" } else { "off" })
    }

    async fn open(_: &PartConfig, cx: &OpenCx) -> Result<Self, OpenError> {
        let rig = cx.parent::<Board>()?.rig();
        Ok(Self { rig })
    }
}
