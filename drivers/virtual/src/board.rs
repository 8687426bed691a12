//! `virtual.board`: the board itself, with the methods that break it.

use std::sync::Arc;

use rigd_driver::{
    Call, Child, ConfigError, Driver, DriverError, Interface, Mode, OpenCx, OpenError, Value,
};

use crate::{
    BoardConfig, BoardConsole, BoardPower, BoardStorage, Faults, PartConfig, card::Card,
    faults::FaultSwitch, machine::Machine, rig::Rig,
};

/// Name of the card's file in the state directory.
const CARD_FILE: &str = "card.img";

/// A simulated board; its instruments are its children.
///
/// Methods beside those of a composite: `inject(name, value)` breaks something and
/// `inject(name, null)` repairs it, `clear()` repairs everything, `faults()` tells what is broken.
/// Names and values are those of [`Faults`].
#[derive(Debug)]
pub struct Board {
    rig: Arc<Rig>,
}

impl Board {
    pub(crate) fn rig(&self) -> Arc<Rig> {
        self.rig.clone()
    }

    async fn inject(
        self: Arc<Self>,
        _call: Call,
        name: String,
        value: Value,
    ) -> Result<(), DriverError> {
        let faults = self.rig.faults.now().with(&name, value)?;
        self.rig.faults.set(faults);
        Ok(())
    }

    async fn clear(self: Arc<Self>, _call: Call) -> Result<(), DriverError> {
        self.rig.faults.set(Faults::default());
        Ok(())
    }

    async fn faults(self: Arc<Self>, _call: Call) -> Result<Faults, DriverError> {
        Ok(self.rig.faults.now())
    }
}

impl Driver for Board {
    const TYPE: &'static str = "virtual.board";
    const CLIENT: &'static str = "jumpstarter_driver_composite.client.CompositeClient";
    const CATEGORY: &'static str = "composite";

    type Config = BoardConfig;

    fn interface() -> Interface<Self> {
        Interface::new()
            .call("inject", Mode::Shared, Self::inject)
            .call("clear", Mode::Preempting, Self::clear)
            .call("faults", Mode::Shared, Self::faults)
    }

    fn check(config: &BoardConfig) -> Result<(), ConfigError> {
        config.check()
    }

    fn children(_: &BoardConfig) -> Vec<Child> {
        vec![
            Child::new::<BoardPower>("power", PartConfig::default()),
            Child::new::<BoardStorage>("storage", PartConfig::default()),
            Child::new::<BoardConsole>("console", PartConfig::default()),
        ]
    }

    async fn open(config: &BoardConfig, cx: &OpenCx) -> Result<Self, OpenError> {
        let path = config.card.path.clone();
        let path = path.unwrap_or_else(|| cx.state_dir().join(CARD_FILE));
        let size = config.card.size;
        let faults = Arc::new(FaultSwitch::new(config.faults));
        let card = {
            let faults = faults.clone();
            cx.blocking(move || Card::open(path, size, faults)).await?
        };
        let rig = Rig::new(Machine::new(config.boot_delay.0), card, faults);
        cx.tasks().spawn(rig.clock());
        Ok(Self { rig })
    }

    async fn lease_end(&self) -> Result<(), DriverError> {
        self.rig.end_lease();
        Ok(())
    }

    async fn close(&self) {
        self.rig.close();
    }
}
