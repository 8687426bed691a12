//! The suite on a driver that keeps the contract, and on ones that break one sentence each.

use std::sync::Arc;

use futures::Stream;
use schemars::JsonSchema;
use serde::Deserialize;

use super::check;
use crate::{
    ByteStream, Call, Driver, DriverError, Interface, Mode, OpenCx, OpenError, echo_stream,
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {}

struct Good;

impl Driver for Good {
    const TYPE: &'static str = "test.good";
    const CLIENT: &'static str = "package.client.GoodClient";
    type Config = Config;

    fn interface() -> Interface<Self> {
        Interface::new()
            .call("add", Mode::Exclusive, Self::add)
            .streaming("count", Self::count)
            .stream("connect", Self::connect)
    }

    async fn open(_: &Config, cx: &OpenCx) -> Result<Self, OpenError> {
        cx.tasks().spawn(std::future::pending());
        Ok(Self)
    }
}

impl Good {
    async fn add(self: Arc<Self>, _: Call, a: i64, b: i64) -> Result<i64, DriverError> {
        Ok(a + b)
    }

    fn count(self: Arc<Self>, _: Call) -> impl Stream<Item = Result<u64, DriverError>> {
        futures::stream::unfold(0, async |n| {
            tokio::task::yield_now().await;
            Some((Ok(n), n + 1))
        })
    }

    async fn connect(self: Arc<Self>, _: Call) -> Result<ByteStream, DriverError> {
        Ok(echo_stream())
    }
}

#[tokio::test]
async fn a_driver_that_keeps_the_contract_passes() {
    check::<Good>(Config {}).await;
}

struct Leaky;

impl Driver for Leaky {
    const TYPE: &'static str = "test.leaky";
    const CLIENT: &'static str = "package.client.LeakyClient";
    type Config = Config;

    fn interface() -> Interface<Self> {
        Interface::new().stream("connect", Self::connect)
    }

    async fn open(_: &Config, _: &OpenCx) -> Result<Self, OpenError> {
        Ok(Self)
    }
}

impl Leaky {
    async fn connect(self: Arc<Self>, _: Call) -> Result<ByteStream, DriverError> {
        tokio::spawn(async move {
            let _keep = self;
            std::future::pending::<()>().await;
        });
        Ok(echo_stream())
    }
}

#[tokio::test]
#[should_panic(expected = "something keeps test.leaky after close")]
async fn a_detached_task_is_found() {
    check::<Leaky>(Config {}).await;
}

struct Misnamed;

impl Driver for Misnamed {
    const TYPE: &'static str = "test.misnamed";
    const CLIENT: &'static str = "NoPackage";
    type Config = Config;

    fn interface() -> Interface<Self> {
        Interface::new()
    }

    async fn open(_: &Config, _: &OpenCx) -> Result<Self, OpenError> {
        Ok(Self)
    }
}

#[tokio::test]
#[should_panic(expected = "must be a dotted class path")]
async fn a_client_that_is_no_class_path_is_found() {
    check::<Misnamed>(Config {}).await;
}

struct Absent;

impl Driver for Absent {
    const TYPE: &'static str = "test.absent";
    const CLIENT: &'static str = "package.client.AbsentClient";
    type Config = Config;

    fn interface() -> Interface<Self> {
        Interface::new()
    }

    async fn open(_: &Config, _: &OpenCx) -> Result<Self, OpenError> {
        Err(OpenError::Absent("unplugged".into()))
    }
}

#[tokio::test]
#[should_panic(expected = "did not open")]
async fn a_config_that_does_not_open_is_found() {
    check::<Absent>(Config {}).await;
}
