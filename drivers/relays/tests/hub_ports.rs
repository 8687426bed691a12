//! The requests for the power of a hub's port, on hubs that the test plays.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

mod bench;

use std::{fs, os::unix::fs::symlink, sync::Mutex};

use bench::{Open, answers, refused};
use rigd_driver::{DriverError, Health, contract};
use rigd_drivers_relays::HubPortPower;
use rigd_usb::{
    Operation,
    simulated::{Answers, Record, Shown, SimulatedBus, SimulatedHost},
};
use rustix::io::Errno;
use serde_json::json;

type TestPort = HubPortPower<SimulatedBus>;

#[derive(Clone, Copy)]
struct Kind {
    superspeed: bool,
    characteristics: u8,
}

const USB2: Kind = Kind {
    superspeed: false,
    characteristics: 1,
};
const USB3: Kind = Kind {
    superspeed: true,
    characteristics: 1,
};

/// A hub with four ports, and Linux's part of it: a port is claimed once.
fn hub(kind: Kind) -> Answers {
    let state = Mutex::new(([true; 4], [false; 4]));
    answers(move |operation| {
        let (on, claimed) = &mut *state.lock().unwrap();
        match operation {
            Operation::ControlIn(setup, _) if setup.request == 6 => {
                let value = if kind.superspeed { 0x2a00 } else { 0x2900 };
                assert_eq!((setup.request_type, setup.value), (0xa0, value));
                let [high, _] = value.to_be_bytes();
                Ok(vec![9, high, 4, kind.characteristics, 0, 1, 100, 0, 0xff])
            }
            Operation::ControlIn(setup, 4) => {
                assert_eq!((setup.request_type, setup.request), (0xa3, 0));
                let high = if kind.superspeed { 2 } else { 1 };
                let port = usize::from(setup.index) - 1;
                Ok(vec![0, if on[port] { high } else { 0 }, 0, 0])
            }
            Operation::ControlOut(setup, data) => {
                assert_eq!((setup.request_type, setup.value), (0x23, 8));
                assert!(data.is_empty());
                on[usize::from(setup.index) - 1] = match setup.request {
                    1 => false,
                    3 => true,
                    _ => return Err(Errno::PIPE.into()),
                };
                Ok(Vec::new())
            }
            Operation::ClaimPort(port) => {
                let claim = &mut claimed[usize::from(*port) - 1];
                if std::mem::replace(claim, true) {
                    return Err(Errno::BUSY.into());
                }
                Ok(Vec::new())
            }
            Operation::ReleasePort(port) => {
                let claim = &mut claimed[usize::from(*port) - 1];
                if !std::mem::replace(claim, false) {
                    return Err(Errno::NOENT.into());
                }
                Ok(Vec::new())
            }
            other => panic!("{other:?}"),
        }
    })
}

fn plug(host: &SimulatedHost, name: &str, kind: Kind) -> Record {
    let protocol = if kind.superspeed { "03" } else { "01" };
    let shown = Shown {
        name,
        number: 2,
        ids: [0x05e3, if kind.superspeed { 0x0626 } else { 0x0610 }],
        more: &[("bDeviceClass", "09"), ("bDeviceProtocol", protocol)],
        ..Shown::default()
    };
    host.plug_in(&shown, Vec::new(), hub(kind)).unwrap()
}

/// Makes a port of one hub and a port of another one the two halves of a socket.
fn pair(host: &SimulatedHost, halves: [(&str, u8); 2]) {
    let dir = |(hub, port): (&str, u8)| {
        let dir = host.sysfs(hub).join(format!("{hub}:1.0/{hub}-port{port}"));
        fs::create_dir_all(&dir).unwrap();
        dir
    };
    let [one, other] = halves.map(dir);
    symlink(&other, one.join("peer")).unwrap();
    symlink(&one, other.join("peer")).unwrap();
}

/// What was asked about ports, in short: request and port.
fn asked(record: &Record) -> Vec<(&'static str, u16)> {
    let operations = record.take().into_iter();
    operations
        .filter_map(|operation| match operation {
            Operation::ControlOut(setup, _) if setup.request == 1 => Some(("off", setup.index)),
            Operation::ControlOut(setup, _) => Some(("on", setup.index)),
            Operation::ControlIn(setup, 4) => Some(("status", setup.index)),
            Operation::ClaimPort(port) => Some(("claim", port.into())),
            Operation::ReleasePort(port) => Some(("release", port.into())),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn a_port_is_taken_from_the_kernel_while_it_is_off() {
    let host = SimulatedHost::new().unwrap();
    let record = plug(&host, "5-1", USB2);
    let open = Open::new::<TestPort>(json!({"port": "5-1.3"})).await;
    record.take();
    open.call("off").await.unwrap();
    assert_eq!(asked(&record), [("claim", 3), ("off", 3), ("status", 3)]);
    let told = json!({"on": false, "source": "device"});
    assert_eq!(open.call("state").await.unwrap(), told);
    // Off again: it is claimed already.
    open.call("off").await.unwrap();
    record.take();
    open.call("on").await.unwrap();
    assert_eq!(asked(&record), [("release", 3), ("on", 3), ("status", 3)]);
    open.call("off").await.unwrap();
    open.instance.close().await;

    // A daemon that starts again keeps off what is off.
    record.take();
    let config = json!({"hub": {"port": "5-1"}, "hubPort": 3});
    let again = Open::new::<TestPort>(config).await;
    assert_eq!(asked(&record), [("status", 3), ("claim", 3)]);
    assert_eq!(again.call("state").await.unwrap(), told);
}

#[tokio::test]
async fn both_halves_of_a_usb_3_socket_are_switched() {
    let host = SimulatedHost::new().unwrap();
    let (two, three) = (plug(&host, "5-2", USB2), plug(&host, "6-2", USB3));
    pair(&host, [("5-2", 1), ("6-2", 4)]);
    // Whichever half is named.
    for port in ["5-2.1", "6-2.4"] {
        let open =
            Open::new::<TestPort>(json!({"port": port, "switching": {"minOffTime": 0}})).await;
        for half in [&two, &three] {
            half.take();
        }
        open.call("off").await.unwrap();
        assert_eq!(asked(&two), [("claim", 1), ("off", 1), ("status", 1)]);
        assert_eq!(asked(&three), [("claim", 4), ("off", 4), ("status", 4)]);
        open.call("on").await.unwrap();
        assert_eq!(asked(&two), [("release", 1), ("on", 1), ("status", 1)]);
        assert_eq!(asked(&three), [("release", 4), ("on", 4), ("status", 4)]);
        open.instance.close().await;
    }
    // One half alone leaves the socket with power.
    host.unplug("6-2").unwrap();
    let open = Open::new::<TestPort>(json!({"port": "5-2.1"})).await;
    assert!(
        matches!(open.instance.health(), Health::Ready),
        "the link is gone with its hub"
    );
}

#[tokio::test]
async fn a_hub_that_cannot_do_it_is_refused_and_says_why() {
    let host = SimulatedHost::new().unwrap();
    let kind = |characteristics| Kind {
        superspeed: false,
        characteristics,
    };
    plug(&host, "5-3", kind(0));
    plug(&host, "5-4", kind(2));
    plug(&host, "5-5", USB2);
    let shown = Shown {
        name: "5-6",
        number: 9,
        ids: [1, 2],
        more: &[("bDeviceClass", "00")],
        ..Shown::default()
    };
    let nothing = answers(|_| Ok(Vec::new()));
    host.plug_in(&shown, Vec::new(), nothing).unwrap();
    for (port, text) in [
        (
            "5-3.1",
            "USB device 05e3:0610 at 5-3 switches all of its ports together, which would take the others down as well; \
             it takes a hub with power switching per port",
        ),
        (
            "5-4.1",
            "USB device 05e3:0610 at 5-4 cannot switch the power of its ports; it takes a hub with power switching per port",
        ),
        (
            "5-5.5",
            "there is no port 5 on USB device 05e3:0610 at 5-5: it has 4",
        ),
    ] {
        let open = Open::new::<TestPort>(json!({"port": port})).await;
        assert_eq!(open.instance.health(), Health::Faulty(text.into()));
    }
    let open = Open::new::<TestPort>(json!({"port": "5-6.1"})).await;
    let Health::Faulty(why) = open.instance.health() else {
        panic!("{:?}", open.instance.health());
    };
    assert!(why.ends_with("is no hub"), "{why}");
    let open = Open::new::<TestPort>(json!({"port": "7-3"})).await;
    let absent = Health::Absent("there is no hub usb7".into());
    assert_eq!(open.instance.health(), absent);
}

#[tokio::test]
async fn a_hub_that_does_not_switch_is_an_error() {
    let host = SimulatedHost::new().unwrap();
    let honest = hub(USB2);
    let stuck = answers(move |operation| match operation {
        Operation::ControlOut(..) => Ok(Vec::new()),
        other => honest(other),
    });
    let shown = Shown {
        name: "5-7",
        number: 4,
        ids: [0x05e3, 0x0610],
        more: &[("bDeviceClass", "09"), ("bDeviceProtocol", "01")],
        ..Shown::default()
    };
    host.plug_in(&shown, Vec::new(), stuck).unwrap();
    let open = Open::new::<TestPort>(json!({"port": "5-7.2"})).await;
    let error = open.error("off").await;
    assert!(matches!(&error, DriverError::Device(_)), "{error:?}");
    assert!(
        error
            .to_string()
            .ends_with("told to switch off and reports that it is on")
    );
}

#[test]
fn a_port_is_named_once() {
    let of = refused::<TestPort>;
    let neither = ": write either `port`, or `hub` and `hubPort`";
    for config in [
        json!({}),
        json!({"port": "1-1.1", "hubPort": 1}),
        json!({"hub": {"serial": "x"}}),
        json!({"hubPort": 1}),
    ] {
        assert_eq!(of(config.clone()), neither, "{config}");
    }
    let text = of(json!({"port": "usb1"}));
    assert!(
        text.starts_with("port: \"usb1\" is no port of a hub"),
        "{text}"
    );
    let text = of(json!({"hub": {}, "hubPort": 1}));
    assert!(text.starts_with("hub: names no device"), "{text}");
    let text = of(json!({"hub": {"port": "x"}, "hubPort": 1}));
    assert!(text.starts_with("hub.port: "), "{text}");
    let text = of(json!({"hub": {"port": "1-1"}, "hubPort": 0}));
    assert_eq!(text, "hubPort: 0 is not within 1 to 31");
}

#[tokio::test]
async fn a_hub_port_keeps_the_contract() {
    let host = SimulatedHost::new().unwrap();
    plug(&host, "5-8", USB2);
    let config = serde_json::from_value(json!({"port": "5-8.1"})).unwrap();
    contract::check::<TestPort>(config).await;
}
