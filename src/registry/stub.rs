//! Stands in for an upstream driver that is not native yet: it is reported with the client's label
//! and does nothing (`missingDrivers: stub`).

use rigd_driver::{Driver, Interface, OpenCx, OpenError};
use schemars::JsonSchema;
use serde::Deserialize;

/// The stand-in.
#[derive(Debug)]
pub(super) struct Stub;

/// It has no settings.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StubConfig {}

impl Driver for Stub {
    const TYPE: &'static str = "stub";
    const CLIENT: &'static str = "jumpstarter_driver_composite.client.CompositeClient";

    type Config = StubConfig;

    fn interface() -> Interface<Self> {
        Interface::new().others_unimplemented(
            "this driver is not native yet: the exporter has `missingDrivers: stub`",
        )
    }

    async fn open(_: &StubConfig, _: &OpenCx) -> Result<Self, OpenError> {
        Ok(Self)
    }
}
