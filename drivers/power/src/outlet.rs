//! What a protocol has to say to become a power switch.

use std::{future::Future, time::Duration};

use rigd_driver::{ConfigError, DriverError, Interface, OpenCx, OpenError, Value};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{AtLease, POWER_CLIENT, Reading, Switch, Switching};

/// One outlet of a device, as its protocol sees it.
///
/// Every method is one conversation with the device. Turns, time limits, repetitions, budget and
/// state are those of [`Switch`](crate::Switch).
pub trait Outlet: Send + Sync + Sized + 'static {
    /// Short name for `type:`.
    const TYPE: &'static str;
    /// Class path of the client.
    const CLIENT: &'static str = POWER_CLIENT;
    /// What lease start and lease end do unless the configuration says otherwise.
    const AT_LEASE: AtLease = AtLease::Keep;
    /// Whether `read` is exported.
    const READS: bool = true;
    /// What `config:` holds.
    type Config: DeserializeOwned + JsonSchema + Send + Sync + 'static;

    /// The settings that all switches share.
    fn switching(config: &Self::Config) -> &Switching;

    /// What lease start and lease end do unless the shared settings say otherwise.
    fn at_lease(config: &Self::Config) -> [AtLease; 2] {
        let _ = config;
        [Self::AT_LEASE; 2]
    }

    /// Adds calls of its own to those of every switch.
    fn extend(interface: Interface<Switch<Self>>) -> Interface<Switch<Self>> {
        interface
    }

    /// Checks what types cannot say.
    fn check(config: &Self::Config) -> Result<(), ConfigError>;

    /// Makes the outlet. Must not wait for hardware to appear.
    fn open(
        config: &Self::Config,
        cx: &OpenCx,
    ) -> impl Future<Output = Result<Self, OpenError>> + Send;

    /// What its device is known by; all instances with the same one take turns.
    fn address(&self) -> String;

    /// How long a conversation may take, repetitions included.
    fn limit(&self) -> Duration;

    /// Whether [`set`](Self::set) may be repeated without harm when its answer is lost.
    fn repeatable(&self, on: bool) -> bool {
        let _ = on;
        true
    }

    /// Switches. Gives the state that the device reports, if its answer tells one.
    fn set(&self, on: bool) -> impl Future<Output = Result<Option<bool>, DriverError>> + Send;

    /// The state as the device tells it; `None` when its protocol cannot.
    fn get(&self) -> impl Future<Output = Result<Option<bool>, DriverError>> + Send {
        std::future::ready(Ok(None))
    }

    /// Measures.
    fn read(&self) -> impl Future<Output = Result<Reading, DriverError>> + Send {
        let text = format!("{} measures neither voltage nor current", Self::TYPE);
        std::future::ready(Err(DriverError::Unimplemented(text)))
    }

    /// What a successful call returns.
    fn done(on: bool) -> Value {
        let _ = on;
        Value::Null
    }

    /// The line in the log.
    fn says(&self, on: bool) -> String {
        format!("power {}", word(on))
    }

    /// What a failure means to the caller.
    fn failed(&self, on: bool, error: DriverError) -> Result<(), DriverError> {
        let _ = on;
        Err(error)
    }
}

/// `on` or `off`.
pub(crate) fn word(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}
