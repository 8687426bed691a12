//! A whole DUTLink: its parts, and the requests of its storage port, on a board that the test plays.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

use std::{path::Path, sync::Arc};

use rigd_driver::{Blueprint, Health, KeyKind, KeyOwner, Value, contract};
use rigd_drivers_dutlink::{Dutlink, DutlinkStorage};
use rigd_usb::{
    Interface, Operation, Setup,
    simulated::{Record, Shown, SimulatedBus, SimulatedHost},
};
use serde_json::json;

type TestBoard = Dutlink<SimulatedBus>;
type TestStorage = DutlinkStorage<SimulatedBus>;

/// A DUTLink whose second interface takes requests.
fn plug(host: &SimulatedHost, name: &str, serial: &str) -> Record {
    let shown = Shown {
        name,
        number: 5,
        ids: [0x2b23, 0x1012],
        serial: Some(serial),
        ..Shown::default()
    };
    let classes = [[2, 2, 1], [0xff, 1, 1]];
    let interfaces = classes.iter().zip(0..).map(|(class, number)| Interface {
        number,
        class: *class,
        endpoints: Vec::new(),
    });
    let answers = Arc::new(|_: &Operation| Ok(Vec::new()));
    host.plug_in(&shown, interfaces.collect(), answers).unwrap()
}

fn storage_config(serial: &str, disk: &Path) -> Value {
    json!({"serial": serial, "storage_device": disk, "storage_leeway": 0})
}

#[tokio::test]
async fn the_disk_goes_where_it_is_told() {
    let (host, dir) = (SimulatedHost::new().unwrap(), tempfile::tempdir().unwrap());
    let record = plug(&host, "1-1", "S1");
    let disk = dir.path().join("disk");
    std::fs::write(&disk, vec![0; 1 << 20]).unwrap();
    let config = serde_json::from_value(storage_config("S1", &disk)).unwrap();
    let blueprint = Blueprint::new::<TestStorage>(config);
    blueprint.check().unwrap();
    let instance = contract::instance(blueprint, dir.path(), None);
    instance.start().await;
    assert_eq!(instance.health(), Health::Ready);
    record.take();
    let owner = KeyOwner::issue(KeyKind::Client);
    for (method, value) in [("host", 1), ("dut", 2), ("off", 0), ("host", 1)] {
        let done = instance.call(&owner.key(), None, method, vec![]).await;
        assert_eq!(done.unwrap(), Value::Null, "{method}");
        let setup = Setup {
            request_type: 0x41,
            request: 2,
            value,
            index: 1,
        };
        let wanted = [Operation::ControlOut(setup, Vec::new())];
        assert_eq!(record.take(), wanted, "{method}");
    }
}

#[test]
fn a_board_has_its_parts_and_storage_only_with_a_disk() {
    let parts = |config: Value| {
        let blueprint = Blueprint::new::<TestBoard>(serde_json::from_value(config).unwrap());
        blueprint.check().unwrap();
        let names = blueprint.children().into_iter().map(|child| child.name);
        names.collect::<Vec<_>>()
    };
    let disk = Path::new("/dev/disk/by-id/usb-stick");
    assert_eq!(parts(json!({})), ["power", "console"]);
    let whole = ["power", "console", "storage"];
    assert_eq!(parts(storage_config("S2", disk)), whole);
}

#[test]
fn what_is_wrong_with_a_part_is_told_of_the_board() {
    let refused = |config: Value| {
        let blueprint = Blueprint::new::<TestBoard>(serde_json::from_value(config).unwrap());
        blueprint.check().unwrap_err().key
    };
    assert_eq!(refused(json!({"baudrate": 0})), "baudrate");
    assert_eq!(refused(json!({"timeout_s": 0})), "timeout_s");
    assert_eq!(
        refused(json!({"alternate_console": "ttyUSB0"})),
        "alternate_console"
    );
    assert_eq!(refused(json!({"storage_device": "sda"})), "storage_device");
}
