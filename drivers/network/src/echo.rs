//! A peer that gives back what it is sent, for tests of clients.

use std::sync::Arc;

use rigd_driver::{
    ByteStream, Call, Driver, DriverError, Interface, OpenCx, OpenError, echo_stream,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::NETWORK_CLIENT;

/// A stream that gives back what it is sent, for trying things out.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EchoConfig {}

/// Each stream echoes for itself and holds at most 32 unread chunks.
#[derive(Debug)]
pub struct EchoNetwork;

impl Driver for EchoNetwork {
    const TYPE: &'static str = "network.echo";
    const CLIENT: &'static str = NETWORK_CLIENT;
    const CATEGORY: &'static str = "network";
    type Config = EchoConfig;

    fn interface() -> Interface<Self> {
        Interface::new().stream("connect", Self::connect)
    }

    async fn open(_: &EchoConfig, _: &OpenCx) -> Result<Self, OpenError> {
        Ok(Self)
    }
}

impl EchoNetwork {
    async fn connect(self: Arc<Self>, _: Call) -> Result<ByteStream, DriverError> {
        Ok(echo_stream())
    }
}
