//! A GPIO line as an input: its level, and waits for its edges.
//!
//! One task reads the edges from the kernel and keeps the time of the newest one in each direction.
//! A wait looks for an edge that is younger than its own call, so an edge of before, or of another
//! lease, never ends it; any number of them wait beside each other and beside other calls.

use std::{io, marker::PhantomData, pin::pin, sync::Arc, time::Duration};

use rigd_device::UsbMatch;
use rigd_driver::{Call, ConfigError, Driver, DriverError, Interface, Mode, OpenCx, OpenError};
use rustix::time::{ClockId, clock_gettime};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::{sync::watch, time::timeout};

use crate::{
    Chips, Kernel,
    config::{Bias, Drive, LineName, check_names},
    driven::{Held, Wanted},
    line::{Direction, Edge, Level, Line},
    output::number,
};

/// What the Python driver waits for when it is not told: 1e9 s, about 32 years.
const FOR_EVER: Duration = Duration::from_secs(1_000_000_000);
/// Pause between two looks at a line that changes all the time, for instance one that is not
/// connected: the kernel keeps the newest edges meanwhile, and the other instruments get their turn.
const BREATH: Duration = Duration::from_millis(1);

/// A GPIO line of the host as an input: its level, and waits for a level or an edge.
///
/// Wiring: straight to an output of the board with the same supply voltage, or through a divider. A contact to ground needs
/// `bias: pull_up`, and `active_low` if closed shall be active.
///
/// A wait returns for what happens after its call: edges of before do not count. Needs Linux 5.10 or later, read and write
/// permission on the chip, and for waits a chip that can interrupt.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GpioInputConfig {
    /// The line: its offset on the chip, or its name.
    pub line: LineName,
    /// The chip: its label (`pinctrl-bcm2711`), its name (`gpiochip0`) or a path. Labels stay the same over kernels,
    /// numbers do not. Default: for an offset `/dev/gpiochip0`, for a name every chip is looked through.
    pub device: Option<String>,
    /// The USB device that the chip is behind, for adapters that all have the same label. Without `device` any chip
    /// behind it.
    #[serde(default)]
    pub usb: UsbMatch,
    /// Accepted for files of the Python driver; an input is not driven.
    pub drive: Option<Drive>,
    /// The resistor inside of the chip: `as_is`, `pull_up`, `pull_down` or `disabled`. Default `as_is`.
    pub bias: Option<Bias>,
    /// Whether low is the active level. Default false.
    #[serde(default)]
    pub active_low: bool,
}

/// When the newest edge in each direction was, in nanoseconds of the monotonic clock.
#[derive(Debug, Clone, Copy, Default)]
struct Newest {
    rising: u64,
    falling: u64,
}

impl Newest {
    fn take(&mut self, edges: &[Edge]) {
        for edge in edges {
            let newest = match edge.to {
                Level::Active => &mut self.rising,
                Level::Inactive => &mut self.falling,
            };
            *newest = (*newest).max(edge.at);
        }
    }

    fn to(&self, level: Level) -> u64 {
        match level {
            Level::Active => self.rising,
            Level::Inactive => self.falling,
        }
    }
}

/// An input on a line of `C`.
pub struct GpioInput<C = Kernel> {
    held: Held,
    newest: watch::Receiver<Newest>,
    chips: PhantomData<fn() -> C>,
}

impl<C: Chips> Driver for GpioInput<C> {
    const TYPE: &'static str = "gpio.input";
    const CLIENT: &'static str = "jumpstarter_driver_gpiod.client.DigitalInputClient";
    const CATEGORY: &'static str = "gpio";
    type Config = GpioInputConfig;

    fn interface() -> Interface<Self> {
        Interface::new()
            .call("read_pin", Mode::Shared, Self::read_pin)
            .call("wait_for_active", Mode::Shared, Self::wait_for_active)
            .call("wait_for_inactive", Mode::Shared, Self::wait_for_inactive)
            .call("wait_for_edge", Mode::Shared, Self::wait_for_edge)
    }

    fn check(config: &GpioInputConfig) -> Result<(), ConfigError> {
        check_names(config.device.as_deref(), &config.usb, &config.line)
    }

    async fn open(config: &GpioInputConfig, cx: &OpenCx) -> Result<Self, OpenError> {
        let wanted = Wanted {
            device: config.device.clone(),
            usb: config.usb.clone(),
            line: config.line.clone(),
            direction: Direction::Input,
            bias: config.bias.unwrap_or_default(),
            active_low: config.active_low,
        };
        let held = Held::take::<C>(wanted, cx).await?;
        let (tell, newest) = watch::channel(Newest::default());
        let line = held.line().clone();
        let (health, place) = (held.health().clone(), held.place().to_owned());
        cx.tasks().spawn(async move {
            let error = follow(&*line, &tell).await;
            health.lost(format!("cannot watch {place}: {error}"));
        });
        Ok(Self {
            held,
            newest,
            chips: PhantomData,
        })
    }
}

/// Keeps the newest edges until the line fails.
async fn follow(line: &dyn Line, tell: &watch::Sender<Newest>) -> io::Error {
    loop {
        match line.edges().await {
            Ok(edges) => tell.send_modify(|newest| newest.take(&edges)),
            Err(error) => return error,
        }
        tokio::time::sleep(BREATH).await;
    }
}

impl<C: Chips> GpioInput<C> {
    async fn read_pin(self: Arc<Self>, call: Call) -> Result<u8, DriverError> {
        Ok(number(self.held.read(&call).await?))
    }

    async fn wait_for_active(
        self: Arc<Self>,
        call: Call,
        limit: Option<f64>,
    ) -> Result<(), DriverError> {
        self.wait_for_level(&call, Level::Active, limit).await
    }

    async fn wait_for_inactive(
        self: Arc<Self>,
        call: Call,
        limit: Option<f64>,
    ) -> Result<(), DriverError> {
        self.wait_for_level(&call, Level::Inactive, limit).await
    }

    async fn wait_for_edge(
        self: Arc<Self>,
        call: Call,
        edge: String,
        limit: Option<f64>,
    ) -> Result<(), DriverError> {
        let since = now();
        let to = match &*edge {
            "rising" => Level::Active,
            "falling" => Level::Inactive,
            other => {
                let text = format!("Invalid edge type: {other}; rising and falling are");
                return Err(DriverError::InvalidArgument(text));
            }
        };
        self.wait(&call, to, since, duration(limit)?).await
    }

    async fn wait_for_level(
        &self,
        call: &Call,
        level: Level,
        limit: Option<f64>,
    ) -> Result<(), DriverError> {
        // Before the level is read: an edge in between counts.
        let since = now();
        let limit = duration(limit)?;
        if self.held.read(call).await? == level {
            return Ok(());
        }
        self.wait(call, level, since, limit).await
    }

    /// Waits for an edge that is not older than `since`. Holds no turn: other calls go on.
    async fn wait(
        &self,
        call: &Call,
        to: Level,
        since: u64,
        limit: Duration,
    ) -> Result<(), DriverError> {
        if !self.held.line().has_edges() {
            let text = format!(
                "{} cannot interrupt, so it reports no edges",
                self.held.place()
            );
            return Err(DriverError::Unimplemented(text));
        }
        let mut newest = self.newest.clone();
        let mut seen = pin!(newest.wait_for(|newest| newest.to(to) >= since));
        // cancel-safe: all arms only wait.
        let seen = tokio::select! {
            error = call.cancelled() => return Err(error),
            seen = timeout(limit, &mut seen) => seen,
        };
        match seen {
            Ok(Ok(_)) => Ok(()),
            // The task that reads ends only with the line.
            Ok(Err(_)) => Err(DriverError::Unavailable(self.held.lost())),
            Err(_) => {
                let offset = self.held.offset();
                let text = format!("Timed out waiting for line {offset} edge event");
                Err(DriverError::Timeout(text))
            }
        }
    }
}

/// The clock of the kernel's events.
fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // Neither is negative, and 2^64 ns are 584 years.
    let (seconds, nanos) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    seconds * 1_000_000_000 + nanos
}

/// A client's time limit in seconds; none and 0 mean for ever.
fn duration(limit: Option<f64>) -> Result<Duration, DriverError> {
    let Some(seconds) = limit.filter(|seconds| *seconds != 0.0) else {
        return Ok(FOR_EVER);
    };
    let limit = Duration::try_from_secs_f64(seconds).map_err(|_| {
        let text = format!("timeout {seconds} is no number of seconds from 0 on");
        DriverError::InvalidArgument(text)
    })?;
    Ok(limit.min(FOR_EVER))
}

#[cfg(test)]
mod tests;
