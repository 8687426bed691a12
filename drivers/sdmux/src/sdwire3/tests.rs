use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Mutex,
};

use rigd_driver::{Blueprint, Health, Instance, KeyKind, KeyOwner, contract};
use rigd_usb::{
    Operation,
    simulated::{Record, Shown, SimulatedBus, SimulatedHost},
};
use serde_json::{from_value, json};

use super::*;
use crate::SdMux;

type Driven = SdMux<SdWire3<SimulatedBus>>;

/// A reader whose interface has a driver, or none, as the kernel shows it.
fn reader(host: &SimulatedHost, serial: &str, binds: bool) -> Record {
    let driver = host.sysfs("1-1").join("1-1:1.0/driver");
    let bound: Mutex<PathBuf> = Mutex::new(driver.clone());
    let answers = move |operation: &Operation| -> io::Result<Vec<u8>> {
        let driver = bound.lock().unwrap();
        match operation {
            Operation::Detach(0) => fs::remove_file(&*driver)?,
            Operation::Attach(0) if binds => symlink("../../drivers/usb-storage", &*driver)?,
            _ => {}
        }
        Ok(Vec::new())
    };
    let shown = Shown {
        name: "1-1",
        number: 4,
        ids: [0x1209, 0x2404],
        serial: Some(serial),
        ..Shown::default()
    };
    let record = host.plug_in(&shown, Vec::new(), Arc::new(answers)).unwrap();
    fs::create_dir_all(driver.parent().unwrap()).unwrap();
    symlink("../../drivers/usb-storage", &driver).unwrap();
    record
}

fn config(serial: &str, dir: &Path) -> SdWire3Config {
    let card = dir.join("card");
    fs::write(&card, vec![0; 1 << 20]).unwrap();
    from_value(json!({"serial": serial, "storage_device": card, "storage_leeway": 0})).unwrap()
}

async fn open(config: SdWire3Config, dir: &Path) -> Arc<Instance> {
    let instance = contract::instance(Blueprint::new::<Driven>(config), dir, None);
    instance.start().await;
    assert_eq!(instance.health(), Health::Ready);
    instance
}

#[tokio::test]
async fn the_card_follows_the_driver_of_the_reader() {
    let (host, dir) = (SimulatedHost::new().unwrap(), tempfile::tempdir().unwrap());
    let record = reader(&host, "sdw3-follows", true);
    let instance = open(config("sdw3-follows", dir.path()), dir.path()).await;
    let mux = instance.downcast::<Driven>().unwrap();
    let owner = KeyOwner::issue(KeyKind::Client);
    assert_eq!(mux.side(), Some(Side::Host));
    for (method, told, side) in [
        (
            "dut",
            vec![Operation::Detach(0), Operation::Reset],
            Side::Dut,
        ),
        ("dut", vec![], Side::Dut),
        (
            "host",
            vec![Operation::Attach(0), Operation::Reset],
            Side::Host,
        ),
        ("off", vec![], Side::Host),
    ] {
        instance
            .call(&owner.key(), None, method, vec![])
            .await
            .unwrap();
        assert_eq!((record.take(), mux.side()), (told, Some(side)), "{method}");
    }
    instance.close().await;
}

#[tokio::test]
async fn a_reader_that_gets_no_driver_is_not_at_the_host() {
    let (host, dir) = (SimulatedHost::new().unwrap(), tempfile::tempdir().unwrap());
    reader(&host, "sdw3-unbound", false);
    let instance = open(config("sdw3-unbound", dir.path()), dir.path()).await;
    let owner = KeyOwner::issue(KeyKind::Client);
    instance
        .call(&owner.key(), None, "dut", vec![])
        .await
        .unwrap();
    let error = instance
        .call(&owner.key(), None, "host", vec![])
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the mux does not switch to host: it says dut"
    );
    instance.close().await;
}

#[tokio::test]
async fn keeps_the_contract() {
    let (host, dir) = (SimulatedHost::new().unwrap(), tempfile::tempdir().unwrap());
    reader(&host, "sdw3-contract", true);
    contract::check::<Driven>(config("sdw3-contract", dir.path())).await;
}
