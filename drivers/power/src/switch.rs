//! What all power switches do the same way; a device only says how it is told on and off.
//!
//! ```text
//!   on ──> off long enough? ──> budget ──> turn at the device ──> Outlet::set ──> what it reports
//!   off ───────────────────────────────> urgent turn ──────────^
//! ```
//!
//! An `off` takes over: an `on` or `cycle` of the same outlet that came before it and still waits,
//! for its turn in the queue or for the device, repeats or talks to the device is broken off and
//! answers CANCELLED, so that the last word is `off`.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{Stream, stream};
use rigd_driver::{
    Arrival, Call, ConfigError, Driver, DriverError, Gate, Interface, Mode, OpenCx, OpenError,
    Value,
};
use serde::Serialize;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};
use tracing::{debug, info, warn};

use crate::{
    AtLease, Outlet, Reading,
    budget::Budget,
    device::{Device, Urgency},
    outlet::word,
};

/// Pause before the first repetition; each later one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Off time of a `cycle` that names none: what the client's own cycle takes.
const CYCLE: f64 = 2.0;
/// Longest off time that a caller of `cycle` may ask for.
const MAX_CYCLE: f64 = 60.0;

/// Where a state comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Source {
    /// The device said so.
    Device,
    /// It was told so, and cannot be asked.
    Commanded,
    /// Nobody knows: it was never told, or the answer was lost.
    Unknown,
}

/// The answer of `state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct State {
    on: Option<bool>,
    source: Source,
}

const UNKNOWN: State = State {
    on: None,
    source: Source::Unknown,
};

impl Default for State {
    fn default() -> Self {
        UNKNOWN
    }
}

/// What is known of an outlet. It outlives an opening of the device: a relay does not wear less,
/// and a board is not off for longer, because the connection was lost in between.
#[derive(Debug, Default)]
pub(crate) struct Record {
    state: State,
    /// When it went off last, as far as we know.
    off_since: Option<Instant>,
    budget: Budget,
}

/// A power switch over an [`Outlet`].
#[derive(Debug)]
pub struct Switch<O> {
    outlet: O,
    device: Arc<Device>,
    gate: Gate,
    min_off: Duration,
    most: u32,
    retries: u32,
    lease: [AtLease; 2],
    record: Arc<Mutex<Record>>,
    /// When the last `off` came; whoever came before it and switches on gives up.
    last_off: watch::Sender<Arrival>,
}

impl<O: Outlet> Driver for Switch<O> {
    const TYPE: &'static str = O::TYPE;
    const CLIENT: &'static str = O::CLIENT;
    const CATEGORY: &'static str = "power";
    type Config = O::Config;

    fn interface() -> Interface<Self> {
        let interface = Interface::new()
            .call("on", Mode::Exclusive, Self::on)
            .call("off", Mode::Preempting, Self::off)
            .call("cycle", Mode::Exclusive, Self::cycle)
            .call("state", Mode::Shared, Self::state)
            .switches("on", "on")
            .switches("off", "off")
            .passes("cycle", &["off", "on"]);
        let interface = if O::READS {
            interface.streaming("read", Self::read)
        } else {
            interface
        };
        O::extend(interface)
    }

    fn check(config: &O::Config) -> Result<(), ConfigError> {
        O::switching(config).check()?;
        O::check(config)
    }

    async fn open(config: &O::Config, cx: &OpenCx) -> Result<Self, OpenError> {
        let outlet = O::open(config, cx).await?;
        let switching = O::switching(config);
        let [start, end] = O::at_lease(config);
        let lease = [
            switching.on_lease_start.unwrap_or(start),
            switching.on_lease_end.unwrap_or(end),
        ];
        let record = switching.record.clone();
        // Meanwhile anybody may have switched it.
        record.lock().unwrap_or_else(PoisonError::into_inner).state = UNKNOWN;
        Ok(Self {
            device: Device::at(&outlet.address()),
            outlet,
            gate: cx.gate().clone(),
            min_off: switching.min_off(),
            most: switching.max_switches_per_minute,
            retries: switching.retries,
            lease,
            record,
            last_off: watch::Sender::default(),
        })
    }

    fn state(&self) -> Option<&'static str> {
        self.record().state.on.map(word)
    }

    async fn ask_state(&self) -> Result<(), DriverError> {
        self.ask().await
    }

    async fn lease_start(&self) -> Result<(), DriverError> {
        self.at_lease(self.lease[0]).await
    }

    async fn lease_end(&self) -> Result<(), DriverError> {
        self.at_lease(self.lease[1]).await
    }

    async fn close(&self) {
        let switched = self.record().budget.total();
        debug!("switched {switched} times since the daemon started");
    }
}

impl<O: Outlet> Switch<O> {
    /// What it switches, for calls that its outlet adds.
    pub fn outlet(&self) -> &O {
        &self.outlet
    }

    /// A question to the device, for calls that its outlet adds: in the device's turn, within its
    /// time, and asked again after an `off` that came in between.
    pub async fn inquire<'a, T, W>(&'a self, ask: impl Fn(&'a O) -> W) -> Result<T, DriverError>
    where
        W: Future<Output = Result<T, DriverError>>,
    {
        self.converse(|| ask(&self.outlet)).await
    }

    /// Switches on, for calls that its outlet adds beside `on`: within the same limits, and given up
    /// when an `off` comes.
    pub async fn turn_on(&self, call: &Call) -> Result<(), DriverError> {
        let work = async {
            self.afford(1)?;
            self.switch(Urgency::Ordinary, true).await
        };
        self.unless_off(call.arrival(), work).await
    }

    async fn on(self: Arc<Self>, call: Call) -> Result<Value, DriverError> {
        self.turn_on(&call).await?;
        Ok(O::done(true))
    }

    async fn off(self: Arc<Self>, call: Call) -> Result<Value, DriverError> {
        self.switch_off(call.arrival()).await?;
        Ok(O::done(false))
    }

    async fn cycle(self: Arc<Self>, call: Call, wait: Option<f64>) -> Result<Value, DriverError> {
        let wait = wait.unwrap_or(CYCLE);
        if !(0.0..=MAX_CYCLE).contains(&wait) {
            return Err(DriverError::InvalidArgument(format!(
                "cycle: {wait} is not within 0 to {MAX_CYCLE} seconds"
            )));
        }
        let pause = Duration::from_secs_f64(wait);
        let work = async {
            // Both at once: a budget that ends in between would leave the board off.
            self.afford(2)?;
            self.switch(Urgency::Ordinary, false).await?;
            sleep(pause).await;
            self.switch(Urgency::Ordinary, true).await
        };
        self.unless_off(call.arrival(), work).await?;
        Ok(O::done(true))
    }

    async fn state(self: Arc<Self>, _: Call) -> Result<Value, DriverError> {
        self.ask().await?;
        let state = self.record().state;
        serde_json::to_value(state).map_err(|e| DriverError::Unknown(e.to_string()))
    }

    /// Asks the device for its state, if it can tell.
    async fn ask(&self) -> Result<(), DriverError> {
        let ask = || async {
            // Still in its turn: once that is over the answer may be an old one.
            if let Some(on) = self.outlet.get().await? {
                self.record().state = State {
                    on: Some(on),
                    source: Source::Device,
                };
            }
            Ok(())
        };
        self.converse(ask).await
    }

    fn read(self: Arc<Self>, _: Call) -> impl Stream<Item = Result<Reading, DriverError>> {
        stream::once(async move { self.converse(|| self.outlet.read()).await })
    }

    async fn at_lease(&self, at: AtLease) -> Result<(), DriverError> {
        match at {
            AtLease::Keep => Ok(()),
            AtLease::Off => {
                let _passage = self.gate.enter(word(false)).await?;
                self.switch_off(Arrival::now()).await
            }
            AtLease::On => {
                let _passage = self.gate.enter(word(true)).await?;
                self.record().budget.count(self.most);
                self.switch(Urgency::Ordinary, true).await
            }
        }
    }

    async fn switch_off(&self, arrival: Arrival) -> Result<(), DriverError> {
        self.last_off.send_modify(|last| *last = arrival.max(*last));
        self.record().budget.count(self.most);
        self.switch(Urgency::Urgent, false).await
    }

    /// Until it is done, or an `off` comes or has come since `arrival`.
    async fn unless_off(
        &self,
        arrival: Arrival,
        work: impl Future<Output = Result<(), DriverError>>,
    ) -> Result<(), DriverError> {
        let mut last_off = self.last_off.subscribe();
        // cancel-safe: work that is broken off is dropped for good; the `off` that comes next sets
        // the state, whatever became of the request.
        tokio::select! {
            biased;
            _ = last_off.wait_for(|off| *off > arrival) => {
                Err(DriverError::Cancelled("an off took over".into()))
            }
            done = work => done,
        }
    }

    fn afford(&self, count: usize) -> Result<(), DriverError> {
        self.record().budget.take(self.most, count).map_err(|wait| {
            DriverError::Exhausted(format!(
                "actuation budget: {} switches a minute are used up; the next is possible in {} s \
                 (`switching.maxSwitchesPerMinute`)",
                self.most,
                wait.as_secs_f64().ceil()
            ))
        })
    }

    async fn switch(&self, urgency: Urgency, on: bool) -> Result<(), DriverError> {
        info!("{}", self.outlet.says(on));
        match self.try_switch(urgency, on).await {
            Ok(()) => Ok(()),
            Err(error) => self.outlet.failed(on, error),
        }
    }

    async fn try_switch(&self, urgency: Urgency, on: bool) -> Result<(), DriverError> {
        let repeatable = self.outlet.repeatable(on);
        let mut left = if repeatable { self.retries } else { 0 };
        let mut pause = FIRST_PAUSE;
        let mut end = None;
        loop {
            let turn = self.device.turn(urgency).await?;
            if let Some(rest) = self.must_stay_off(on) {
                // Others may use the device meanwhile.
                drop(turn);
                sleep(rest).await;
                continue;
            }
            let end = *end.get_or_insert_with(|| Instant::now() + self.outlet.limit());
            self.begin(on);
            let outcome = self.limited(end, self.outlet.set(on)).await;
            drop(turn);
            match outcome {
                Ok(told) => return self.finish(on, told),
                Err(error) if left > 0 && transient(&error) && Instant::now() + pause < end => {
                    warn!("{error}; tried again in {} ms", pause.as_millis());
                    left -= 1;
                    sleep(pause).await;
                    pause *= 2;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// A question to the device, in its turn and within its time. It lets an `off` of this outlet go
    /// first, and is asked again afterwards.
    async fn converse<T, W>(&self, ask: impl Fn() -> W) -> Result<T, DriverError>
    where
        W: Future<Output = Result<T, DriverError>>,
    {
        let mut offs = self.last_off.subscribe();
        loop {
            let _turn = self.device.turn(Urgency::Ordinary).await?;
            offs.mark_unchanged();
            let end = Instant::now() + self.outlet.limit();
            // cancel-safe: a question that is broken off changes nothing.
            tokio::select! {
                biased;
                _ = offs.changed() => {}
                answer = self.limited(end, ask()) => return answer,
            }
        }
    }

    async fn limited<T>(
        &self,
        end: Instant,
        work: impl Future<Output = Result<T, DriverError>>,
    ) -> Result<T, DriverError> {
        let done = timeout_at(end, work).await;
        done.unwrap_or_else(|_| {
            Err(DriverError::Timeout(format!(
                "no answer from {} within {} s; is the device on, and its address right?",
                self.device.address(),
                self.outlet.limit().as_secs_f64()
            )))
        })
    }

    fn must_stay_off(&self, on: bool) -> Option<Duration> {
        let since = self.record().off_since.filter(|_| on)?;
        let rest = self.min_off.checked_sub(since.elapsed())?;
        (!rest.is_zero()).then_some(rest)
    }

    /// The request goes out now: until its answer is there nobody knows.
    fn begin(&self, on: bool) {
        let mut record = self.record();
        record.state = UNKNOWN;
        if !on {
            record.off_since = Some(Instant::now());
        }
    }

    fn finish(&self, on: bool, told: Option<bool>) -> Result<(), DriverError> {
        let mut record = self.record();
        record.state = State {
            on: Some(told.unwrap_or(on)),
            source: match told {
                Some(_) => Source::Device,
                None => Source::Commanded,
            },
        };
        if !on {
            record.off_since = Some(Instant::now());
        }
        if told.is_some_and(|told| told != on) {
            return Err(DriverError::Device(format!(
                "{} was told to switch {} and reports that it is {}",
                self.device.address(),
                word(on),
                word(!on)
            )));
        }
        Ok(())
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether it may work a moment later.
fn transient(error: &DriverError) -> bool {
    matches!(error, DriverError::Unavailable(_) | DriverError::Timeout(_))
}
