//! A group of instances under one name, e.g. the power, console and storage of one adapter.
//!
//! The tree holds the children and reports them; clients see them as attributes of the group. A
//! `ref:` to an instance elsewhere is resolved by the tree as well and is no driver.

use rigd_driver::{Driver, Interface, OpenCx, OpenError};
use schemars::JsonSchema;
use serde::Deserialize;

/// A group without a device of its own; its parts are the `children:` beside it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompositeConfig {}

/// A group of other instances. It has no methods of its own.
#[derive(Debug)]
pub struct Composite;

impl Driver for Composite {
    const TYPE: &'static str = "composite";
    const CLIENT: &'static str = "jumpstarter_driver_composite.client.CompositeClient";
    const CATEGORY: &'static str = "composite";
    type Config = CompositeConfig;

    fn interface() -> Interface<Self> {
        Interface::new()
    }

    async fn open(_: &CompositeConfig, _: &OpenCx) -> Result<Self, OpenError> {
        Ok(Self)
    }
}

#[cfg(test)]
mod tests {
    use rigd_driver::contract;

    use super::*;

    #[tokio::test]
    async fn keeps_the_contract() {
        contract::check::<Composite>(CompositeConfig {}).await;
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let error = serde_json::from_str::<CompositeConfig>(r#"{"url": "x"}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `url`"), "{error}");
    }
}
