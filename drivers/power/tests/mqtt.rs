//! Tasmota over MQTT: against a broker of the test's own, and against Debian's `mosquitto`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod rig;

use std::{fs, path::Path, process::Command, time::Duration};

use rig::{
    Open, SOON,
    broker::{Broker, Device, STAT, echo},
    config,
    process::{Server, program},
};
use rigd_driver::{Driver, DriverError, Health, contract};
use rigd_drivers_power::TasmotaPower;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

const CMND: &str = "cmnd/plug/POWER";

fn tasmota(port: u16) -> Value {
    json!({
        "host": "127.0.0.1", "port": port, "tls": false, "client_id": "rigd-test",
        "cmnd_topic": CMND, "stat_topic": STAT, "timeout": 1.0,
        "switching": {"minOffTime": 0, "retries": 0},
    })
}

const WELCOME: &[u8] = b"\x20\x02\0\0";

#[tokio::test]
async fn it_connects_subscribes_and_publishes() {
    let mut broker = Broker::start(WELCOME, echo).await;
    let mut given = tasmota(broker.port);
    given["username"] = json!("lab");
    given["password"] = json!("pw");
    let open = Open::new::<TasmotaPower>(given).await;
    assert_eq!(open.call("on").await.unwrap(), Value::Null);
    assert_eq!(
        open.call("state").await.unwrap(),
        json!({"on": true, "source": "device"})
    );
    open.call("off").await.unwrap();
    assert_eq!(
        open.call("state").await.unwrap(),
        json!({"on": false, "source": "device"})
    );
    let wanted: [&[u8]; 4] = [
        b"\x10\0\x04MQTT\x04\xc2\0\x1e\0\x09rigd-test\0\x03lab\0\x02pw",
        b"\x82\0\x01\0\x0fstat/plug/POWER\0",
        b"\x32\0\x0fcmnd/plug/POWER\0\x02ON",
        b"\x32\0\x0fcmnd/plug/POWER\0\x03OFF",
    ];
    for wanted in wanted {
        assert_eq!(broker.next().await, wanted);
    }
    let error = open.read().await.unwrap_err();
    assert!(matches!(error, DriverError::Unimplemented(_)), "{error:?}");
    // It says good-bye, or is just gone; either way nothing else is sent.
    open.instance.close().await;
    while let Ok(packet) = broker.packets.try_recv() {
        assert_eq!(packet, [0xe0]);
    }
}

#[tokio::test]
async fn a_device_that_does_not_confirm_is_an_error_unless_told_otherwise() {
    let devices: [Device; 2] = [|_| vec![], |_| vec![b"garbage"]];
    for device in devices {
        let broker = Broker::start(WELCOME, device).await;
        let mut given = tasmota(broker.port);
        given["timeout"] = json!(0.3);
        let open = Open::new::<TasmotaPower>(given.clone()).await;
        let error = open.error("on").await;
        assert!(matches!(error, DriverError::Timeout(_)), "{error:?}");
        let text = format!("switch on: no confirmation on {STAT} within 0.3 s, there was ");
        assert!(error.to_string().starts_with(&text), "{error}");
        assert_eq!(open.call("state").await.unwrap()["source"], "unknown");
        open.instance.close().await;
        given["strict"] = json!(false);
        let open = Open::new::<TasmotaPower>(given).await;
        open.call("on").await.unwrap();
    }
}

#[tokio::test]
async fn what_was_said_before_confirms_nothing() {
    // It answers ON to the first command and to no other.
    let broker = Broker::start(WELCOME, |word| {
        if word == b"ON" {
            vec![b"OFF", b"ON", b"OFF"]
        } else {
            vec![]
        }
    })
    .await;
    let mut given = tasmota(broker.port);
    given["timeout"] = json!(0.3);
    let open = Open::new::<TasmotaPower>(given).await;
    open.call("on").await.ok();
    assert_eq!(open.call("state").await.unwrap()["on"], false);
    let error = open.error("off").await;
    assert!(matches!(error, DriverError::Timeout(_)), "{error:?}");
}

#[tokio::test]
async fn a_broker_that_refuses_or_is_none_makes_the_instance_absent_with_the_reason() {
    let cases: [(&[u8], &str); 3] = [
        (
            b"\x20\x02\0\x05",
            "it does not let this client in; are `username` and `password` right?",
        ),
        (
            b"\x20\x02\0\x02",
            "it refuses the client id; is `client_id` right?",
        ),
        (
            b"\xff\xff\xff\xff\xff",
            "the broker sent a length of more than four bytes; is it an MQTT 3.1.1 broker?",
        ),
    ];
    for (answer, wanted) in cases {
        let broker = Broker::start(answer, echo).await;
        let open = Open::new::<TasmotaPower>(tasmota(broker.port)).await;
        let wanted = format!("MQTT broker 127.0.0.1:{}: {wanted}", broker.port);
        assert_eq!(open.instance.health(), Health::Absent(wanted));
    }
    let open = Open::new::<TasmotaPower>(tasmota(1)).await;
    let Health::Absent(why) = open.instance.health() else {
        panic!("{:?}", open.instance.health());
    };
    assert!(
        why.starts_with("MQTT broker 127.0.0.1:1: cannot connect: "),
        "{why}"
    );
}

#[tokio::test]
async fn a_broker_that_goes_and_comes_back_costs_the_calls_of_that_time_and_nothing_else() {
    let broker = Broker::start(WELCOME, echo).await;
    let port = broker.port;
    let open = Open::new::<TasmotaPower>(tasmota(port)).await;
    open.call("on").await.unwrap();
    broker.task.abort();
    let down = async {
        loop {
            match open.call("state").await {
                Ok(_) => sleep(Duration::from_millis(5)).await,
                Err(error) => break error,
            }
        }
    };
    let error = timeout(SOON, down).await.expect("the loss is seen");
    assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
    assert!(
        error
            .to_string()
            .starts_with(&format!("MQTT broker 127.0.0.1:{port}: ")),
        "{error}"
    );
    assert!(matches!(
        open.error("on").await,
        DriverError::Unavailable(_)
    ));
    // The instance is not opened anew, which would switch off in the middle of a lease.
    assert_eq!(open.instance.health(), Health::Ready);
    drop(broker);
    let mut broker = Broker::start_at(port, WELCOME, echo).await;
    let up = async {
        while open.call("off").await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, up).await.expect("it is connected again");
    // What failed while it was away is forgotten: the first command is the off.
    let kinds = [broker.next().await[0], broker.next().await[0]];
    assert_eq!(kinds, [0x10, 0x82]);
    assert!(broker.next().await.ends_with(b"OFF"));
}

#[tokio::test]
async fn it_is_off_at_both_ends_of_a_lease_unless_told_otherwise() {
    let mut broker = Broker::start(WELCOME, echo).await;
    let mut given = tasmota(broker.port);
    let open = Open::new::<TasmotaPower>(given.clone()).await;
    open.instance.lease_start().await;
    open.instance.lease_end().await;
    open.instance.close().await;
    for wanted in [&[0x10][..], &[0x82], b"OFF", b"OFF"] {
        let packet = broker.next().await;
        assert!(
            packet.starts_with(wanted) || packet.ends_with(wanted),
            "{packet:?}"
        );
    }
    given["switching"] = json!({"onLeaseStart": "keep", "onLeaseEnd": "keep"});
    let open = Open::new::<TasmotaPower>(given).await;
    open.instance.lease_start().await;
    open.instance.lease_end().await;
    open.instance.close().await;
    while let Ok(packet) = broker.packets.try_recv() {
        assert_ne!(packet[0], 0x32, "{packet:?}");
    }
}

#[test]
fn mistakes_in_a_config_are_told_by_their_key() {
    let key = |name: &str, value: Value| {
        let mut given = tasmota(1883);
        given[name] = value;
        TasmotaPower::check(&config(given)).unwrap_err().key
    };
    assert_eq!(key("host", json!("")), "host");
    assert_eq!(key("port", json!(0)), "port");
    assert_eq!(key("cmnd_topic", json!("cmnd/#")), "cmnd_topic");
    assert_eq!(key("stat_topic", json!("")), "stat_topic");
    assert_eq!(key("transport", json!("websockets")), "transport");
    assert_eq!(key("transport", json!("unix")), "host");
    assert_eq!(key("password", json!("pw")), "username");
    assert_eq!(key("timeout", json!(-1)), "timeout");
}

#[tokio::test]
async fn it_keeps_the_contract() {
    let broker = Broker::start(WELCOME, echo).await;
    contract::check::<TasmotaPower>(config(tasmota(broker.port))).await;
}

fn mosquitto(program: &Path, dir: &Path, port: u16) -> Server {
    let conf = dir.join("mosquitto.conf");
    let socket = dir.join("socket");
    let text = format!(
        "allow_anonymous false\npassword_file {0}/users\nlistener {port} 127.0.0.1\nlistener 0 {1}\n",
        dir.display(),
        socket.display()
    );
    fs::write(&conf, text).unwrap();
    Server::start(Command::new(program).arg("-c").arg(conf))
}

/// A device: what is published on its command topic it says on its state topic.
fn device(program: &Path, port: u16) -> Server {
    let script = r#"
        sub="$1 -h 127.0.0.1 -p $2 -u lab -P secret"
        pub="${1%_sub}_pub -h 127.0.0.1 -p $2 -u lab -P secret"
        $sub -t 'cmnd/plug/POWER' | while read -r word; do $pub -t stat/plug/POWER -m "$word"; done
    "#;
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", script, "device"])
        .arg(program)
        .arg(port.to_string());
    Server::start(&mut command)
}

#[tokio::test]
async fn a_real_broker_goes_and_comes_back() {
    let (Some(broker), Some(passwd), Some(client)) = (
        program("mosquitto", "mosquitto"),
        program("mosquitto_passwd", "mosquitto"),
        program("mosquitto_sub", "mosquitto-clients"),
    ) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let users = dir.path().join("users");
    let made = Command::new(passwd)
        .args(["-b", "-c"])
        .arg(&users)
        .args(["lab", "secret"])
        .status();
    assert!(made.unwrap().success());
    // Started by root, mosquitto becomes a user of its own, who has to reach the files.
    let open_to_all = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(dir.path(), open_to_all).unwrap();
    fs::set_permissions(&users, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut server = mosquitto(&broker, dir.path(), port);
    let mut given = tasmota(port);
    given["username"] = json!("lab");
    given["password"] = json!("secret");
    given["switching"] = json!({"minOffTime": 0, "maxSwitchesPerMinute": 0});
    let open = loop {
        let open = Open::new::<TasmotaPower>(given.clone()).await;
        if open.instance.health() == Health::Ready {
            break open;
        }
        assert!(server.runs(), "mosquitto ended");
        sleep(Duration::from_millis(20)).await;
    };
    let _device = device(&client, port);
    // Until the device has subscribed.
    let up = async { while open.call("on").await.is_err() {} };
    timeout(2 * SOON, up).await.expect("the device answers");
    for on in [false, true, false] {
        open.call(if on { "on" } else { "off" }).await.unwrap();
        assert_eq!(
            open.call("state").await.unwrap(),
            json!({"on": on, "source": "device"})
        );
    }

    let mut wrong = given.clone();
    wrong["password"] = json!("wrong");
    let refused = Open::new::<TasmotaPower>(wrong).await.instance.health();
    let Health::Absent(why) = refused else {
        panic!("{refused:?}")
    };
    assert!(
        why.contains("are `username` and `password` right?"),
        "{why}"
    );

    let mut unix = given.clone();
    unix["transport"] = json!("unix");
    unix["host"] = json!(dir.path().join("socket"));
    unix["client_id"] = json!("rigd-unix");
    let other = Open::new::<TasmotaPower>(unix).await;
    assert_eq!(other.instance.health(), Health::Ready);
    other.call("on").await.unwrap();

    drop(server);
    let down = async {
        while open.call("state").await.is_ok() {
            sleep(Duration::from_millis(5)).await
        }
    };
    timeout(SOON, down).await.expect("the loss is seen");
    let _server = mosquitto(&broker, dir.path(), port);
    let up = async {
        while open.call("on").await.is_err() {
            sleep(Duration::from_millis(20)).await
        }
    };
    timeout(2 * SOON, up).await.expect("it is connected again");
    assert_eq!(open.instance.health(), Health::Ready);
}
