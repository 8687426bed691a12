use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, PoisonError},
};

use rigd_driver::{Blueprint, Driver, Health, InstanceConfig, Interface, Mode, contract};
use serde_json::{from_value, json};

use super::*;
use crate::SdMux;

type Driven = SdMux<SwitchMux>;

/// A line with a level.
#[derive(Clone, Default)]
struct Wire(Arc<Mutex<(bool, Vec<bool>)>>);

impl Wire {
    fn told(&self) -> Vec<bool> {
        std::mem::take(&mut self.0.lock().unwrap().1)
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LineConfig {
    #[serde(skip)]
    wire: Wire,
}

/// An output, as `gpio.output`; or a power switch that tells its state, as the others.
struct Line<const POWER: bool>(Wire);

impl<const POWER: bool> Driver for Line<POWER> {
    const TYPE: &'static str = "test.line";
    const CLIENT: &'static str = "package.client.Client";
    type Config = LineConfig;

    fn interface() -> Interface<Self> {
        let interface = Interface::new()
            .call("on", Mode::Exclusive, Self::on)
            .call("off", Mode::Preempting, Self::off)
            .switches("on", "on")
            .switches("off", "off");
        match POWER {
            true => interface.call("state", Mode::Shared, Self::state_of),
            false => interface.call("read_pin", Mode::Shared, Self::read_pin),
        }
    }

    async fn open(config: &LineConfig, _: &OpenCx) -> Result<Self, OpenError> {
        Ok(Self(config.wire.clone()))
    }
}

impl<const POWER: bool> Line<POWER> {
    fn set(&self, on: bool) {
        let mut wire = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        wire.0 = on;
        wire.1.push(on);
    }

    async fn on(self: Arc<Self>, _: Call) -> Result<(), DriverError> {
        self.set(true);
        Ok(())
    }

    async fn off(self: Arc<Self>, _: Call) -> Result<(), DriverError> {
        self.set(false);
        Ok(())
    }

    async fn state_of(self: Arc<Self>, _: Call) -> Result<Value, DriverError> {
        Ok(json!({"on": self.0.0.lock().unwrap().0, "source": "device"}))
    }

    async fn read_pin(self: Arc<Self>, _: Call) -> Result<u8, DriverError> {
        Ok(u8::from(self.0.0.lock().unwrap().0))
    }
}

fn card(dir: &Path) -> std::path::PathBuf {
    let card = dir.join("card");
    std::fs::write(&card, vec![0; 1 << 20]).unwrap();
    card
}

fn instance(
    blueprint: Blueprint,
    dir: &Path,
    children: BTreeMap<String, Arc<Instance>>,
) -> Arc<Instance> {
    Instance::new(InstanceConfig {
        exporter: "e".into(),
        path: "card".into(),
        uuid: uuid::Uuid::new_v4(),
        state_dir: dir.into(),
        blueprint,
        parent: None,
        children,
        descriptor: None,
    })
}

async fn line<const POWER: bool>(wire: &Wire, dir: &Path) -> Arc<Instance> {
    let wire = wire.clone();
    let line = Blueprint::new::<Line<POWER>>(LineConfig { wire });
    let line = instance(line, dir, BTreeMap::new());
    line.start().await;
    line
}

fn mux(line: Arc<Instance>, dir: &Path, host: &Value) -> Arc<Instance> {
    let config =
        json!({"storage_device": card(dir), "storage_leeway": 0, "host": host, "switchTime": 0});
    let config: SwitchMuxConfig = from_value(config).unwrap();
    Driven::check(&config).unwrap();
    let children = BTreeMap::from([(CHILD.to_owned(), line)]);
    instance(Blueprint::new::<Driven>(config), dir, children)
}

async fn follows<const POWER: bool>(host: Value, levels: [bool; 2]) {
    let (wire, dir) = (Wire::default(), tempfile::tempdir().unwrap());
    let mux = mux(line::<POWER>(&wire, dir.path()).await, dir.path(), &host);
    mux.start().await;
    assert_eq!(mux.health(), Health::Ready);
    assert!(wire.told().is_empty(), "opening switches nothing");
    let owner = KeyOwner::issue(KeyKind::Client);
    let [at_host, at_board] = levels;
    // Twice each way: it is asked where it is, and only told to go where it is not.
    for (method, wanted) in [
        ("dut", at_board),
        ("host", at_host),
        ("off", at_host),
        ("dut", at_board),
    ] {
        let before = wire.0.lock().unwrap().0;
        mux.call(&owner.key(), None, method, vec![]).await.unwrap();
        let told = if before == wanted {
            vec![]
        } else {
            vec![wanted]
        };
        assert_eq!(wire.told(), told, "{method}");
    }
    mux.close().await;
}

#[tokio::test]
async fn an_output_switches_it() {
    follows::<false>(json!("on"), [true, false]).await;
    follows::<false>(json!(false), [false, true]).await;
}

#[tokio::test]
async fn a_power_switch_switches_it() {
    follows::<true>(json!(true), [true, false]).await;
    follows::<true>(json!("off"), [false, true]).await;
}

#[tokio::test]
async fn nobody_else_switches_its_child() {
    let (wire, dir) = (Wire::default(), tempfile::tempdir().unwrap());
    let line = line::<true>(&wire, dir.path()).await;
    let mux = mux(line.clone(), dir.path(), &json!(true));
    mux.start().await;
    let owner = KeyOwner::issue(KeyKind::Client);
    for method in ["on", "off"] {
        let error = line.call(&owner.key(), None, method, vec![]).await;
        let error = error.unwrap_err();
        assert!(matches!(error, DriverError::FailedPrecondition(_)));
        let text = format!(
            "card.{method} is not for callers: it moves the card of card; call card.host or card.dut"
        );
        assert_eq!(error.to_string(), text);
    }
    assert!(wire.told().is_empty());
    let state = line.call(&owner.key(), None, "state", vec![]).await;
    assert_eq!(state.unwrap()["on"], json!(false));
    mux.call(&owner.key(), None, "host", vec![]).await.unwrap();
    assert_eq!(wire.told(), [true]);
    mux.close().await;
}

#[tokio::test]
async fn a_child_that_is_no_switch_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let config = || from_value::<SwitchMuxConfig>(json!({"storage_device": "/dev/sda"})).unwrap();
    let lonely = instance(
        Blueprint::new::<Driven>(config()),
        dir.path(),
        BTreeMap::new(),
    );
    lonely.start().await;
    let Health::Faulty(reason) = lonely.health() else {
        panic!("{:?}", lonely.health());
    };
    assert!(reason.starts_with("there is no child `switch`"), "{reason}");
    let children = BTreeMap::from([(CHILD.to_owned(), lonely.clone())]);
    let wrong = instance(Blueprint::new::<Driven>(config()), dir.path(), children);
    wrong.start().await;
    let text = "its child `switch` is a sdmux.switch, which has no `on` and `off`";
    let Health::Faulty(reason) = wrong.health() else {
        panic!("{:?}", wrong.health());
    };
    assert_eq!(reason, text);
    wrong.close().await;
    lonely.close().await;
}

#[test]
fn the_disk_is_named_in_one_way() {
    for (json, key) in [
        (json!({}), ""),
        (
            json!({"storage_device": "/dev/sda", "match": {"usb": {"port": "1-1"}}}),
            "match",
        ),
        (json!({"match": {}}), "match"),
        (json!({"match": {"usb": {"port": "x"}}}), "match.usb.port"),
    ] {
        let config: SwitchMuxConfig = from_value(json.clone()).unwrap();
        assert_eq!(Driven::check(&config).unwrap_err().key, key, "{json}");
    }
}

#[tokio::test]
async fn keeps_the_contract() {
    let (wire, dir) = (Wire::default(), tempfile::tempdir().unwrap());
    let mux = mux(
        line::<true>(&wire, dir.path()).await,
        dir.path(),
        &json!(true),
    );
    contract::check_instance::<Driven>(mux).await;
}
