//! The trait a driver implements.
//!
//! ```text
//!   config ──check──> Blueprint ──open(OpenCx)──> driver ──lease_start ─ clients_start ─
//!                         │                                   clients_end ─ lease_end──> … ──close
//!                         └────────── tried again with back-off while absent ─────────┘
//! ```

use std::{future::Future, sync::Arc};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{Blueprint, ConfigError, ConsoleTap, DriverError, Interface, OpenCx, OpenError};

/// One kind of instrument.
///
/// The implementing type is the open device; it lives from a successful [`open`](Self::open) until
/// the daemon stops or the device is lost, over many leases.
pub trait Driver: Send + Sync + Sized + 'static {
    /// Short name for `type:`, e.g. `power.gpio`.
    const TYPE: &'static str;
    /// Class path of the client that drives it, the label `jumpstarter.dev/client`.
    const CLIENT: &'static str;
    /// Category in logs and telemetry, e.g. `power`.
    const CATEGORY: &'static str = "other";

    /// What `config:` holds. Derive with `deny_unknown_fields`; the doc comments of its fields
    /// become the driver's page and JSON schema.
    type Config: DeserializeOwned + JsonSchema + Send + Sync + 'static;

    /// The exported methods. Called once for each instance.
    fn interface() -> Interface<Self>;

    /// Checks what types cannot say, without touching hardware. Called before `open`, also by
    /// `rigd check`.
    fn check(config: &Self::Config) -> Result<(), ConfigError> {
        let _ = config;
        Ok(())
    }

    /// Checks it beside the config of another instance of the same driver, which stands before it in
    /// the same exporter. Called before `open`, also by `rigd check`.
    fn check_beside(config: &Self::Config, earlier: &Self::Config) -> Result<(), ConfigError> {
        let _ = (config, earlier);
        Ok(())
    }

    /// Labels for the report beside those of the configuration.
    fn labels(config: &Self::Config) -> Vec<(String, String)> {
        let _ = config;
        Vec::new()
    }

    /// Instances that this driver brings along, in report order. They are opened after it and
    /// reach it through [`OpenCx::parent`].
    fn children(config: &Self::Config) -> Vec<Child> {
        let _ = config;
        Vec::new()
    }

    /// Opens the hardware. Called at start and again after a failure or a loss, with back-off or
    /// when an event given to [`OpenCx::wake_on`] comes; the future is dropped when it takes too
    /// long, so blocking work belongs into [`OpenCx::blocking`]. What switches the device meanwhile
    /// goes through [`OpenCx::gate`] first, here and wherever a driver switches outside of a call.
    fn open(
        config: &Self::Config,
        cx: &OpenCx,
    ) -> impl Future<Output = Result<Self, OpenError>> + Send;

    /// The state it is in, one of those in [`interface`](Self::interface): as the device last told it, or
    /// as it was last told. `None` while nobody knows: before the first order, and from when an order
    /// goes out until it is known to be done. Rules take an unknown state for a wrong one.
    ///
    /// Called with all rules of the exporter locked: returns at once, and asks nothing of others.
    fn state(&self) -> Option<&'static str> {
        None
    }

    /// Asks the device for its state, for [`state`](Self::state) to tell; called before a rule is decided
    /// by it, beside everything else. A device that cannot be asked has nothing to do here. Has 5 s, after
    /// which the future is dropped.
    ///
    /// # Errors
    /// The device does not tell: its state is not known then, whatever `state` says.
    fn ask_state(&self) -> impl Future<Output = Result<(), DriverError>> + Send {
        std::future::ready(Ok(()))
    }

    /// A lease begins; no client call is under way. Puts the device into the state that a client
    /// of upstream finds after construction and `reset`. Has 10 s; a failure is logged.
    fn lease_start(&self) -> impl Future<Output = Result<(), DriverError>> + Send {
        std::future::ready(Ok(()))
    }

    /// The hook beforeLease is over, and clients of the lease may act from now on. Has 1 s; a failure
    /// is logged.
    fn clients_start(&self) -> impl Future<Output = Result<(), DriverError>> + Send {
        std::future::ready(Ok(()))
    }

    /// The key of the lease's clients is revoked, and the hook afterLease comes next. May be called
    /// twice, and without a [`clients_start`](Self::clients_start). Has 1 s; a failure is logged.
    fn clients_end(&self) -> impl Future<Output = Result<(), DriverError>> + Send {
        std::future::ready(Ok(()))
    }

    /// A lease ended; its keys are revoked. Forgets what the lease could see (open streams, file
    /// tables, settings, temporary files). May be called twice. Has 10 s; a failure is logged.
    fn lease_end(&self) -> impl Future<Output = Result<(), DriverError>> + Send {
        std::future::ready(Ok(()))
    }

    /// What a person on the lab host sees of it, if it is a console.
    fn console(&self) -> Option<Arc<dyn ConsoleTap>> {
        None
    }

    /// The daemon stops or the device was lost. Releases what drop cannot.
    fn close(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// An instance that a driver brings along.
#[derive(Debug, Clone)]
pub struct Child {
    /// Key in the tree.
    pub name: String,
    /// What it is.
    pub blueprint: Blueprint,
}

impl Child {
    /// A child `name` of driver `D`.
    pub fn new<D: Driver>(name: &str, config: D::Config) -> Self {
        Self {
            name: name.into(),
            blueprint: Blueprint::new::<D>(config),
        }
    }
}
