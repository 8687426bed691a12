use std::time::Duration;

use futures::StreamExt;
use rigd_driver::{Blueprint, Driver, Health, Instance, KeyKind, KeyOwner, Value, contract};
use serde_json::{from_value, json};

use super::*;
use crate::{
    line::{Direction, Level},
    simulated::{Host, Pin, plug, unplug},
};

struct Rig {
    instance: Arc<Instance>,
    owner: KeyOwner,
    _dir: tempfile::TempDir,
}

impl Rig {
    /// A relay on line `relay1`.
    async fn start<const HOST: u32>(rest: Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let blueprint = Blueprint::new::<GpioRelay<Host<HOST>>>(config(rest));
        blueprint.check().unwrap();
        let instance = contract::instance(blueprint, dir.path(), None);
        instance.start().await;
        Self {
            instance,
            owner: KeyOwner::issue(KeyKind::Client),
            _dir: dir,
        }
    }

    async fn call(&self, method: &str) -> Result<Value, DriverError> {
        let key = self.owner.key();
        self.instance.call(&key, None, method, vec![]).await
    }

    async fn wait_for(&self, wanted: impl Fn(&Health) -> bool) {
        let seen = async {
            while !wanted(&self.instance.health()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), seen)
            .await
            .unwrap();
    }
}

fn config(rest: Value) -> GpioRelayConfig {
    let mut config = json!({"line": "relay1", "device": "relays"});
    config
        .as_object_mut()
        .unwrap()
        .extend(rest.as_object().unwrap().clone());
    from_value(config).unwrap()
}

fn relays(host: u32) -> Pin {
    plug(host, "gpiochip0", "relays", &["relay0", "relay1"]).remove(1)
}

#[tokio::test]
async fn keeps_the_contract() {
    relays(200);
    contract::check::<GpioRelay<Host<200>>>(config(json!({}))).await;
    let pin = relays(201);
    let output = from_value(json!({"line": 1})).unwrap();
    contract::check::<crate::GpioOutput<Host<201>>>(output).await;
    assert_eq!(pin.holder(), None, "close lets the line go");
}

#[tokio::test]
async fn switches_and_reads_back() {
    let pin = relays(202);
    let rig = Rig::start::<202>(json!({})).await;
    for (method, level, number) in [("on", Level::Active, 1), ("off", Level::Inactive, 0)] {
        assert_eq!(rig.call(method).await.unwrap(), Value::Null);
        assert_eq!(pin.level(), level);
        assert_eq!(rig.call("read_pin").await.unwrap(), json!(number));
    }
    let items = rig
        .instance
        .streaming_call(&rig.owner.key(), None, "read", vec![]);
    let items: Vec<_> = items.unwrap().collect().await;
    assert!(
        matches!(&items[..], [Err(DriverError::Unimplemented(_))]),
        "{items:?}"
    );
}

#[tokio::test]
async fn the_initial_value_is_part_of_the_request() {
    for (host, value, level) in [
        (203, json!("active"), Level::Active),
        (204, json!("on"), Level::Active),
        (205, json!(true), Level::Active),
        (206, json!("off"), Level::Inactive),
        (207, json!(null), Level::Inactive),
    ] {
        let pin = relays(host);
        let rest = json!({"initial_value": value, "active_low": true, "drive": "open_drain",
            "bias": "pull_up"});
        let rig = match host {
            203 => Rig::start::<203>(rest).await,
            204 => Rig::start::<204>(rest).await,
            205 => Rig::start::<205>(rest).await,
            206 => Rig::start::<206>(rest).await,
            _ => Rig::start::<207>(rest).await,
        };
        assert_eq!(rig.instance.health(), Health::Ready);
        let requests = pin.requests();
        let [request] = &requests[..] else {
            panic!("{requests:?}")
        };
        assert_eq!(
            request.direction,
            Direction::Output(level, Drive::OpenDrain)
        );
        assert_eq!((request.bias, request.active_low), (Bias::PullUp, true));
        assert_eq!(request.consumer, "rigd contract/power-gpio");
        assert_eq!(pin.sets(), [], "nothing is set after the request");
    }
}

#[tokio::test]
async fn a_lease_starts_with_the_initial_value_or_keeps_the_state() {
    let pin = relays(208);
    let rig = Rig::start::<208>(json!({})).await;
    rig.call("on").await.unwrap();
    rig.instance.lease_end().await;
    assert_eq!(
        pin.level(),
        Level::Active,
        "the end of a lease changes nothing"
    );
    rig.instance.lease_start().await;
    assert_eq!(pin.level(), Level::Inactive);

    let pin = relays(209);
    let rig = Rig::start::<209>(json!({"onLeaseStart": "keep"})).await;
    rig.call("on").await.unwrap();
    rig.instance.lease_end().await;
    rig.instance.lease_start().await;
    assert_eq!(pin.sets(), [Level::Active]);
}

#[tokio::test]
async fn the_limits_of_all_power_switches_hold() {
    let pin = relays(213);
    let switching = json!({"maxSwitchesPerMinute": 2, "minOffTime": 0.2});
    let rig = Rig::start::<213>(json!({"switching": switching})).await;
    rig.call("off").await.unwrap();
    let off = std::time::Instant::now();
    rig.call("on").await.unwrap();
    assert!(
        off.elapsed() > Duration::from_millis(150),
        "{:?}",
        off.elapsed()
    );
    let error = rig.call("on").await.unwrap_err();
    assert!(matches!(&error, DriverError::Exhausted(_)), "{error:?}");
    let state = rig.call("state").await.unwrap();
    assert_eq!(state, json!({"on": true, "source": "device"}));
    rig.call("off").await.unwrap();
    assert_eq!(pin.level(), Level::Inactive, "an off is never refused");
}

#[tokio::test]
async fn a_line_that_is_taken_names_its_holder() {
    let pin = relays(210);
    pin.hold(Some("pinctrl-sdhci"));
    let rig = Rig::start::<210>(json!({})).await;
    let reason = "line 1 (\"relay1\") of gpiochip0 (relays) is held by \"pinctrl-sdhci\"";
    assert_eq!(rig.instance.health(), Health::Faulty(reason.into()));
    let error = rig.call("on").await.unwrap_err();
    assert!(
        error.to_string().contains("held by \"pinctrl-sdhci\""),
        "{error}"
    );
    // The next attempt finds it free.
    pin.hold(None);
    rig.wait_for(|health| *health == Health::Ready).await;
    rig.call("on").await.unwrap();
}

#[tokio::test]
async fn a_chip_that_comes_back_is_opened_anew() {
    let old = relays(211);
    let rig = Rig::start::<211>(json!({})).await;
    rig.call("on").await.unwrap();
    unplug(211);
    rig.wait_for(|health| *health != Health::Ready).await;
    let error = rig.call("on").await.unwrap_err();
    assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
    // As another number, and with its line elsewhere: it goes by label and name.
    let new = plug(211, "gpiochip4", "relays", &["relay1"]).remove(0);
    rig.wait_for(|health| *health == Health::Ready).await;
    assert_eq!(new.level(), Level::Inactive);
    rig.call("on").await.unwrap();
    assert_eq!((new.level(), old.sets().len()), (Level::Active, 1));
}

#[tokio::test]
async fn a_chip_that_hangs_costs_its_own_calls_only() {
    let pin = relays(212);
    let rig = Rig::start::<212>(json!({})).await;
    pin.hang(true);
    // The clock runs ahead to the limit, since nothing else is to be done.
    tokio::time::pause();
    let error = rig.call("off").await.unwrap_err();
    tokio::time::resume();
    pin.hang(false);
    assert!(matches!(&error, DriverError::Timeout(_)), "{error:?}");
    let place = "line 1 (\"relay1\") of gpiochip0 (relays)";
    assert_eq!(
        error.to_string(),
        format!("cannot set {place}: no answer in 5 s")
    );
    rig.wait_for(|health| *health == Health::Ready).await;
    rig.call("on").await.unwrap();
    assert_eq!(pin.level(), Level::Active);
}

#[test]
fn empty_names_are_refused_without_hardware() {
    for (key, rest) in [
        ("device", json!({"device": ""})),
        ("line", json!({"line": ""})),
    ] {
        let error = GpioRelay::<Host<0>>::check(&config(rest)).unwrap_err();
        assert_eq!(error.key, key);
    }
}
