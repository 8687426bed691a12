//! The requests of a DUTLink's power output, byte by byte, on a board that the test plays.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt;
use rigd_driver::{Blueprint, DriverError, Health, Instance, KeyKind, KeyOwner, Value, contract};
use rigd_drivers_dutlink::DutlinkPower;
use rigd_usb::{
    Interface, Operation, Setup,
    simulated::{Answers, Record, Shown, SimulatedBus, SimulatedHost},
};
use rustix::io::Errno;
use serde_json::json;
use tokio::time::timeout;

type TestPower = DutlinkPower<SimulatedBus>;

/// Its interface for requests is the third; it says these texts one after another, the last for ever.
fn board(texts: &[&str]) -> Answers {
    let texts: Vec<_> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    let texts = Mutex::new(texts);
    Arc::new(move |operation| match operation {
        Operation::ControlIn(setup, 512) if setup.index == 2 => {
            let mut texts = texts.lock().unwrap();
            let next = texts[0].clone();
            if texts.len() > 1 {
                texts.remove(0);
            }
            Ok(next)
        }
        Operation::ControlOut(setup, _) if setup.index == 2 => Ok(Vec::new()),
        _ => Err(Errno::PIPE.into()),
    })
}

fn plug(
    host: &SimulatedHost,
    name: &str,
    serial: &str,
    interfaces: &[[u8; 3]],
    answers: Answers,
) -> Record {
    let shown = Shown {
        name,
        number: 4,
        ids: [0x2b23, 0x1012],
        serial: Some(serial),
        ..Shown::default()
    };
    let interfaces = interfaces.iter().zip(0..).map(|(class, number)| Interface {
        number,
        class: *class,
        endpoints: Vec::new(),
    });
    host.plug_in(&shown, interfaces.collect(), answers).unwrap()
}

const INTERFACES: &[[u8; 3]] = &[[2, 2, 1], [10, 0, 0], [255, 1, 1]];

struct Open {
    instance: Arc<Instance>,
    owner: KeyOwner,
    _dir: tempfile::TempDir,
}

impl Open {
    async fn new(config: Value) -> Self {
        let blueprint = Blueprint::new::<TestPower>(serde_json::from_value(config).unwrap());
        blueprint.check().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let instance = contract::instance(blueprint, dir.path(), None);
        instance.start().await;
        let owner = KeyOwner::issue(KeyKind::Client);
        Self {
            instance,
            owner,
            _dir: dir,
        }
    }

    async fn call(&self, method: &str) -> Result<Value, DriverError> {
        let key = self.owner.key();
        self.instance.call(&key, None, method, vec![]).await
    }
}

fn out(request: u8, value: u16) -> Operation {
    let setup = Setup {
        request_type: 0x41,
        request,
        value,
        index: 2,
    };
    Operation::ControlOut(setup, Vec::new())
}

#[tokio::test]
async fn the_supply_is_told_on_off_and_rescue() {
    let host = SimulatedHost::new().unwrap();
    let record = plug(&host, "1-1", "D1", INTERFACES, board(&["5V"]));
    let open = Open::new(json!({"serial": "D1", "switching": {"minOffTime": 0}})).await;
    for (method, value) in [("on", 1), ("off", 0), ("rescue", 4), ("off", 0), ("on", 1)] {
        assert_eq!(open.call(method).await.unwrap(), Value::Null);
        assert_eq!(record.take(), [out(1, value)], "{method}");
    }
    open.call("rescue").await.unwrap();
    let told = json!({"on": true, "source": "commanded"});
    assert_eq!(open.call("state").await.unwrap(), told);
}

#[tokio::test]
async fn readings_come_when_they_differ_until_nobody_listens() {
    let host = SimulatedHost::new().unwrap();
    let texts = ["5.10V 0.30A", "5.10V 0.30A", "0.00V 0.00A"];
    let record = plug(&host, "1-2", "D2", INTERFACES, board(&texts));
    let open = Open::new(json!({"serial": "D2"})).await;
    let key = open.owner.key();
    let items = open.instance.streaming_call(&key, None, "read", vec![]);
    let mut items = Box::pin(items.unwrap());
    let mut next = async || {
        let item = timeout(Duration::from_secs(10), items.next()).await;
        item.unwrap().unwrap().unwrap()
    };
    assert_eq!(next().await, json!({"voltage": 5.1, "current": 0.3}));
    let asked = Setup {
        request_type: 0xc1,
        request: 4,
        value: 1,
        index: 2,
    };
    let reading = [out(0, 0), Operation::ControlIn(asked, 512)];
    assert_eq!(record.take(), reading);
    assert_eq!(next().await, json!({"voltage": 0.0, "current": 0.0}));
    assert_eq!(record.take(), [reading.clone(), reading].concat());
}

#[tokio::test]
async fn a_board_that_cannot_be_used_says_why() {
    let host = SimulatedHost::new().unwrap();
    let none = Open::new(json!({"serial": "D3"})).await;
    assert!(matches!(none.instance.health(), Health::Absent(_)));
    plug(&host, "1-3", "D4", &INTERFACES[..2], board(&[""]));
    let without = Open::new(json!({"serial": "D4"})).await;
    let Health::Faulty(why) = without.instance.health() else {
        panic!("{:?}", without.instance.health());
    };
    assert!(why.contains("has no interface for requests"), "{why}");
    plug(
        &host,
        "1-4",
        "D5",
        INTERFACES,
        Arc::new(|_| Err(Errno::PIPE.into())),
    );
    let refuses = Open::new(json!({"serial": "D5"})).await;
    let error = refuses.call("on").await.unwrap_err();
    assert!(matches!(error, DriverError::Device(_)), "{error:?}");
}

#[test]
fn a_limit_and_one_serial_number_are_needed() {
    let refused = |config| {
        let config = serde_json::from_value(config).unwrap();
        let error = Blueprint::new::<TestPower>(config).check().unwrap_err();
        error.key
    };
    assert_eq!(refused(json!({"timeout_s": 0})), "timeout_s");
    assert_eq!(refused(json!({"timeout_s": 1000})), "timeout_s");
    let two = json!({"serial": "A", "usb": {"serial": "B"}});
    assert_eq!(refused(two), "usb.serial");
}

#[tokio::test]
async fn keeps_the_contract() {
    let host = SimulatedHost::new().unwrap();
    plug(&host, "1-5", "D6", INTERFACES, board(&["5V 1A"]));
    let config = serde_json::from_value(json!({"serial": "D6"})).unwrap();
    contract::check::<TestPower>(config).await;
}
