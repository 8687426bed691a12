use std::{
    path::Path,
    sync::atomic::{AtomicU8, Ordering},
};

use rigd_driver::{Blueprint, Driver, Health, Instance, KeyKind, KeyOwner, contract};
use rigd_usb::{
    Operation,
    simulated::{Record, Shown, SimulatedBus, SimulatedHost},
};
use serde_json::{from_value, json};

use super::*;
use crate::SdMux;

type Driven = SdMux<SdWire<SimulatedBus>>;

/// An FTDI chip with a mux, and what is asked of it.
fn chip(host: &SimulatedHost, name: &str, number: u16, ids: [u16; 2], serial: &str) -> Record {
    let pins = AtomicU8::new(0);
    let answers = move |operation: &Operation| match operation {
        Operation::ControlOut(setup, _) => {
            pins.store(setup.value.to_le_bytes()[0] & 1, Ordering::Relaxed);
            Ok(Vec::new())
        }
        Operation::ControlIn(..) => Ok(vec![pins.load(Ordering::Relaxed)]),
        _ => Err(std::io::ErrorKind::Unsupported.into()),
    };
    let shown = Shown {
        name,
        number,
        ids,
        serial: Some(serial),
        product: Some("sd-wire"),
        more: &[],
    };
    host.plug_in(&shown, Vec::new(), Arc::new(answers)).unwrap()
}

fn config(serial: &str, card: &Path) -> SdWireConfig {
    from_value(json!({"serial": serial, "storage_device": card, "storage_leeway": 0})).unwrap()
}

fn card(dir: &tempfile::TempDir) -> std::path::PathBuf {
    let card = dir.path().join("card");
    std::fs::write(&card, vec![0; 1 << 20]).unwrap();
    card
}

async fn open(config: SdWireConfig, dir: &tempfile::TempDir) -> Arc<Instance> {
    Driven::check(&config).unwrap();
    let blueprint = Blueprint::new::<Driven>(config);
    let instance = contract::instance(blueprint, dir.path(), None);
    instance.start().await;
    instance
}

/// `set` as the chip sees it.
fn set(value: u16) -> Operation {
    let setup = Setup {
        request_type: 0x40,
        request: 0x0b,
        value,
        index: 0,
    };
    Operation::ControlOut(setup, Vec::new())
}

#[tokio::test]
async fn the_chip_gets_the_bytes_and_says_where_the_card_is() {
    let (host, dir) = (SimulatedHost::new().unwrap(), tempfile::tempdir().unwrap());
    let record = chip(&host, "1-1", 4, [0x04e8, 0x6001], "sdw-bytes");
    let instance = open(config("sdw-bytes", &card(&dir)), &dir).await;
    assert_eq!(instance.health(), Health::Ready);
    let owner = KeyOwner::issue(KeyKind::Client);
    let ask = Setup {
        request_type: 0xc0,
        request: 0x0c,
        value: 0,
        index: 0,
    };
    let ask = Operation::ControlIn(ask, 1);
    assert_eq!(record.take(), std::slice::from_ref(&ask));
    for (method, value) in [("host", 0x20f1), ("dut", 0x20f0), ("off", 0x20f1)] {
        instance
            .call(&owner.key(), None, method, vec![])
            .await
            .unwrap();
        // Asked, told, asked whether it did.
        assert_eq!(
            record.take(),
            [ask.clone(), set(value), ask.clone()],
            "{method}"
        );
    }
    instance.close().await;
}

#[tokio::test]
async fn keeps_the_contract() {
    let (host, dir) = (SimulatedHost::new().unwrap(), tempfile::tempdir().unwrap());
    chip(&host, "1-1", 4, [0x04e8, 0x6001], "sdw-contract");
    contract::check::<Driven>(config("sdw-contract", &card(&dir))).await;
}

#[tokio::test]
async fn a_chip_with_the_ids_of_its_maker_needs_its_serial_number() {
    let (host, dir) = (SimulatedHost::new().unwrap(), tempfile::tempdir().unwrap());
    chip(&host, "1-9", 4, [0x0403, 0x6015], "sdw-factory");
    let instance = open(config("sdw-factory", &card(&dir)), &dir).await;
    assert_eq!(instance.health(), Health::Ready);
    instance.close().await;
    let mut nameless = config("", &card(&dir));
    (nameless.serial, nameless.port) = (None, Some("1-9".into()));
    let instance = open(nameless, &dir).await;
    let Health::Absent(reason) = instance.health() else {
        panic!("{:?}", instance.health());
    };
    let begin = "failed to find sd-wire device: no USB device matches";
    assert!(reason.starts_with(begin), "{reason}");
    instance.close().await;
}

#[tokio::test]
async fn two_with_the_same_serial_number_go_by_their_ports() {
    let (host, dir) = (SimulatedHost::new().unwrap(), tempfile::tempdir().unwrap());
    chip(&host, "1-1", 4, [0x04e8, 0x6001], "sdw-twin");
    let second = chip(&host, "1-2", 5, [0x04e8, 0x6001], "sdw-twin");
    let instance = open(config("sdw-twin", &card(&dir)), &dir).await;
    let Health::Faulty(reason) = instance.health() else {
        panic!("{:?}", instance.health());
    };
    assert!(
        reason.ends_with("`usb.port` would tell them apart"),
        "{reason}"
    );
    instance.close().await;
    let mut by_port = config("sdw-twin", &card(&dir));
    by_port.port = Some("1-2".into());
    let instance = open(by_port, &dir).await;
    assert_eq!(instance.health(), Health::Ready);
    assert_eq!(second.take().len(), 1);
    instance.close().await;
}

#[test]
fn mistakes_name_their_keys() {
    for (json, key) in [
        (json!({"port": "1.4"}), "port"),
        (json!({"serial": " "}), "serial"),
        (json!({"storage_device": "sda"}), "storage_device"),
    ] {
        let config: SdWireConfig = from_value(json.clone()).unwrap();
        assert_eq!(Driven::check(&config).unwrap_err().key, key, "{json}");
    }
    let defaults: SdWireConfig = from_value(json!({})).unwrap();
    let card = defaults.card();
    let seconds = [card.timeout, card.leeway, card.fsync].map(|time| time.as_secs());
    assert_eq!(seconds, [10, 6, 900]);
}
