//! The mock power switch through an instance, as a session uses it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use futures::StreamExt;
use rigd_driver::{Blueprint, Instance, KeyKind, KeyOwner, contract};
use rigd_drivers_power::{MockPower, MockPowerConfig};
use serde_json::{Value, json};

async fn open() -> (Arc<Instance>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let blueprint = Blueprint::new::<MockPower>(MockPowerConfig {});
    let instance = contract::instance(blueprint, dir.path(), None);
    instance.start().await;
    (instance, dir)
}

#[tokio::test]
async fn keeps_the_contract() {
    contract::check::<MockPower>(MockPowerConfig {}).await;
}

#[tokio::test]
async fn read_gives_two_readings_and_ends() {
    let (instance, _dir) = open().await;
    let owner = KeyOwner::issue(KeyKind::Client);
    let items = instance
        .streaming_call(&owner.key(), None, "read", vec![])
        .unwrap();
    let items: Vec<Value> = items.map(|item| item.unwrap()).collect().await;
    let wanted = [
        json!({"voltage": 0.0, "current": 0.0}),
        json!({"voltage": 5.0, "current": 2.0}),
    ];
    assert_eq!(items, wanted);
}
