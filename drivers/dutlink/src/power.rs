//! The power output: a switch with `rescue`, and readings for as long as somebody listens.

use std::{
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{Stream, stream};
use rigd_driver::{Call, ConfigError, DriverError, Interface, Mode, OpenCx, OpenError};
use rigd_drivers_power::{Outlet, Reading, Switch, Switching};
use rigd_usb::{Bus, HostBus};
use tokio::time::sleep;

use crate::{
    DutlinkPowerConfig,
    board::{Board, Supply, wanted},
    config::{check, limit},
    reading,
};

/// Time between two readings.
const INTERVAL: Duration = Duration::from_secs(1);

/// The power output of a DUTLink on a bus `B`.
pub type DutlinkPower<B = HostBus> = Switch<DutlinkPowerOutlet<B>>;

/// The requests of a [`DutlinkPower`].
pub struct DutlinkPowerOutlet<B = HostBus> {
    board: Board,
    limit: Duration,
    rescue: AtomicBool,
    bus: PhantomData<fn() -> B>,
}

impl<B: Bus> Outlet for DutlinkPowerOutlet<B> {
    const TYPE: &'static str = "dutlink.power";
    // Its own, which goes on.
    const READS: bool = false;
    type Config = DutlinkPowerConfig;

    fn switching(config: &DutlinkPowerConfig) -> &Switching {
        &config.switching
    }

    fn extend(interface: Interface<Switch<Self>>) -> Interface<Switch<Self>> {
        interface
            .call("rescue", Mode::Exclusive, rescue::<B>)
            .switches("rescue", "on")
            .streaming("read", read::<B>)
    }

    fn check(config: &DutlinkPowerConfig) -> Result<(), ConfigError> {
        check(config.serial.as_ref(), &config.usb, config.timeout_s)
    }

    async fn open(config: &DutlinkPowerConfig, cx: &OpenCx) -> Result<Self, OpenError> {
        let wanted = wanted(config.serial.as_ref(), &config.usb);
        let limit = limit(config.timeout_s);
        Ok(Self {
            board: Board::open::<B>(&wanted, limit, cx).await?,
            limit,
            rescue: AtomicBool::new(false),
            bus: PhantomData,
        })
    }

    fn address(&self) -> String {
        self.board.address()
    }

    // A reading is two requests.
    fn limit(&self) -> Duration {
        2 * self.limit + Duration::from_secs(1)
    }

    async fn set(&self, on: bool) -> Result<Option<bool>, DriverError> {
        let supply = match (on, self.rescue.load(Ordering::Relaxed)) {
            (false, _) => Supply::Off,
            (true, false) => Supply::On,
            (true, true) => Supply::Rescue,
        };
        self.board.supply(supply).await?;
        Ok(None)
    }

    fn says(&self, on: bool) -> String {
        let word = match (on, self.rescue.load(Ordering::Relaxed)) {
            (false, _) => "off",
            (true, false) => "on",
            (true, true) => "rescue",
        };
        format!("power {word}")
    }

    async fn read(&self) -> Result<Reading, DriverError> {
        Ok(reading::parse(&self.board.power_text().await?))
    }
}

async fn rescue<B: Bus>(switch: Arc<DutlinkPower<B>>, call: Call) -> Result<(), DriverError> {
    let _rescue = Rescue::begin(&switch.outlet().rescue);
    switch.turn_on(&call).await
}

/// While it is there, `on` means `rescue`. Calls that switch on come one at a time.
struct Rescue<'a>(&'a AtomicBool);

impl<'a> Rescue<'a> {
    fn begin(rescue: &'a AtomicBool) -> Self {
        rescue.store(true, Ordering::Relaxed);
        Self(rescue)
    }
}

impl Drop for Rescue<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The first reading, then each that differs from the one before, until nobody listens.
fn read<B: Bus>(
    switch: Arc<DutlinkPower<B>>,
    _: Call,
) -> impl Stream<Item = Result<Reading, DriverError>> {
    stream::unfold(Some(None), move |last: Option<Option<Reading>>| {
        let switch = switch.clone();
        async move {
            let last = last?;
            let mut first = last.is_none();
            loop {
                if !std::mem::take(&mut first) {
                    sleep(INTERVAL).await;
                }
                match switch.inquire(|outlet| outlet.read()).await {
                    Ok(reading) if Some(reading) == last => {}
                    Ok(reading) => return Some((Ok(reading), Some(Some(reading)))),
                    Err(error) => return Some((Err(error), None)),
                }
            }
        }
    })
}
