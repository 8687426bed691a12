use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::broadcast;
use uuid::Uuid;

use super::*;
use crate::{
    Blueprint, Child, Driver, HealthHandle, Instance, InstanceConfig, Interface, OpenCx, OpenError,
};

/// A socket that a device is plugged into, and who looked at it when.
#[derive(Clone)]
struct Socket {
    there: Arc<Mutex<bool>>,
    events: broadcast::Sender<()>,
    attempts: Arc<Mutex<Vec<Instant>>>,
    health: Arc<Mutex<Option<HealthHandle>>>,
    panics: bool,
}

impl Default for Socket {
    fn default() -> Self {
        Self {
            there: Arc::default(),
            events: broadcast::Sender::new(4),
            attempts: Arc::default(),
            health: Arc::default(),
            panics: false,
        }
    }
}

impl Socket {
    fn plug(&self, there: bool) {
        *self.there.lock().unwrap() = there;
        self.events.send(()).ok();
    }

    fn attempts(&self) -> usize {
        self.attempts.lock().unwrap().len()
    }

    fn lose(&self) {
        *self.there.lock().unwrap() = false;
        let health = self.health.lock().unwrap().clone();
        health.unwrap().lost("pulled out");
    }
}

#[derive(Deserialize, JsonSchema)]
struct Config {
    #[serde(skip)]
    socket: Socket,
}

struct Plugged;

impl Driver for Plugged {
    const TYPE: &'static str = "test.plugged";
    const CLIENT: &'static str = "package.client.Client";
    type Config = Config;

    fn interface() -> Interface<Self> {
        Interface::new()
    }

    fn children(_: &Config) -> Vec<Child> {
        vec![Child::new::<Part>("part", PartConfig {})]
    }

    async fn open(config: &Config, cx: &OpenCx) -> Result<Self, OpenError> {
        let socket = &config.socket;
        socket.attempts.lock().unwrap().push(Instant::now());
        *socket.health.lock().unwrap() = Some(cx.health().clone());
        let (mut events, panics) = (socket.events.subscribe(), socket.panics);
        cx.wake_on(async move {
            events.recv().await.ok();
            assert!(!panics, "wanted");
        });
        match *socket.there.lock().unwrap() {
            true => Ok(Self),
            false => Err(OpenError::Absent("not plugged in".into())),
        }
    }
}

#[derive(Deserialize, JsonSchema)]
struct PartConfig {}

struct Part;

impl Driver for Part {
    const TYPE: &'static str = "test.part";
    const CLIENT: &'static str = "package.client.Client";
    type Config = PartConfig;

    fn interface() -> Interface<Self> {
        Interface::new()
    }

    async fn open(_: &PartConfig, cx: &OpenCx) -> Result<Self, OpenError> {
        cx.parent::<Plugged>().map(|_| Self)
    }
}

fn instance(blueprint: Blueprint, parent: Option<Arc<Instance>>) -> Arc<Instance> {
    Instance::new(described(blueprint, parent))
}

fn described(blueprint: Blueprint, parent: Option<Arc<Instance>>) -> InstanceConfig {
    InstanceConfig {
        exporter: "e".into(),
        path: "p".into(),
        uuid: Uuid::new_v4(),
        state_dir: "/nowhere".into(),
        blueprint,
        parent,
        children: BTreeMap::new(),
        descriptor: None,
    }
}

async fn absent(socket: &Socket) -> Arc<Instance> {
    let socket = socket.clone();
    let instance = instance(Blueprint::new::<Plugged>(Config { socket }), None);
    instance.start().await;
    assert!(matches!(instance.health(), Health::Absent(_)));
    instance
}

/// How long until the instance is ready.
async fn ready(instance: &Instance) -> Duration {
    let began = Instant::now();
    while instance.health() != Health::Ready {
        assert!(began.elapsed() < Duration::from_secs(120), "never ready");
        sleep(Duration::from_millis(10)).await;
    }
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_plug_opens_at_once_however_long_the_back_off_is() {
    let socket = Socket::default();
    let instance = absent(&socket).await;
    // By now the back-off is at its longest, 30 s.
    sleep(Duration::from_secs(100)).await;
    let before = socket.attempts();
    socket.plug(true);
    let took = ready(&instance).await;
    assert!(took < Duration::from_millis(200), "{took:?}");
    assert_eq!(socket.attempts(), before + 1);
    instance.close().await;
}

#[tokio::test(start_paused = true)]
async fn without_an_event_the_back_off_is_left() {
    let socket = Socket::default();
    let instance = absent(&socket).await;
    *socket.there.lock().unwrap() = true;
    let took = ready(&instance).await;
    assert!(
        took.as_secs_f64() > 0.9 && took.as_secs_f64() < 1.1,
        "{took:?}"
    );
    instance.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_events_is_no_storm_of_attempts() {
    let socket = Socket::default();
    let instance = absent(&socket).await;
    let before = socket.attempts();
    for _ in 0..60_000 {
        socket.plug(false);
        sleep(Duration::from_millis(1)).await;
    }
    // 60 s: half a dozen while the gap grows, then one in 5 s.
    let attempts = socket.attempts() - before;
    assert!((12..=22).contains(&attempts), "{attempts}");
    let times = socket.attempts.lock().unwrap().clone();
    let gaps = times.windows(2).map(|two| two[1] - two[0]);
    assert!(gaps.skip(1).all(|gap| gap >= GAP.0), "{times:?}");
    // What comes after a calm is quick again.
    sleep(CALM + Duration::from_secs(10)).await;
    socket.plug(true);
    assert!(ready(&instance).await < Duration::from_millis(200));
    instance.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_events_is_one_attempt() {
    let socket = Socket::default();
    let instance = absent(&socket).await;
    sleep(Duration::from_secs(100)).await;
    let before = socket.attempts();
    for _ in 0..50 {
        socket.plug(false);
        sleep(Duration::from_millis(1)).await;
    }
    socket.plug(true);
    ready(&instance).await;
    assert_eq!(socket.attempts(), before + 1);
    instance.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_device_that_was_lost_is_opened_when_it_is_back() {
    let socket = Socket::default();
    socket.plug(true);
    let instance = instance(
        Blueprint::new::<Plugged>(Config {
            socket: socket.clone(),
        }),
        None,
    );
    instance.start().await;
    socket.lose();
    sleep(Duration::from_secs(100)).await;
    assert!(matches!(instance.health(), Health::Absent(_)));
    socket.plug(true);
    assert!(ready(&instance).await < Duration::from_millis(200));
    instance.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_part_is_opened_when_its_parent_is_back() {
    let socket = Socket::default();
    let parent = absent(&socket).await;
    let child = parent.blueprint().children().remove(0).blueprint;
    let part = instance(child, Some(parent.clone()));
    part.start().await;
    sleep(Duration::from_secs(100)).await;
    assert!(matches!(part.health(), Health::Absent(_)));
    socket.plug(true);
    let took = ready(&part).await;
    assert!(took < Duration::from_millis(400), "{took:?}");
    part.close().await;
    parent.close().await;
}

/// Works only while its child does.
struct Above;

impl Driver for Above {
    const TYPE: &'static str = "test.above";
    const CLIENT: &'static str = "package.client.Client";
    type Config = PartConfig;

    fn interface() -> Interface<Self> {
        Interface::new()
    }

    async fn open(_: &PartConfig, cx: &OpenCx) -> Result<Self, OpenError> {
        match cx.child("below").map(|child| child.health()) {
            Some(Health::Ready) => Ok(Self),
            other => Err(OpenError::Absent(format!("its child: {other:?}"))),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_is_opened_when_its_child_is_back() {
    let socket = Socket::default();
    let child = absent(&socket).await;
    let above = Instance::new(InstanceConfig {
        children: BTreeMap::from([("below".to_owned(), child.clone())]),
        ..described(Blueprint::new::<Above>(PartConfig {}), None)
    });
    above.start().await;
    sleep(Duration::from_secs(100)).await;
    assert!(matches!(above.health(), Health::Absent(_)));
    socket.plug(true);
    let took = ready(&above).await;
    assert!(took < Duration::from_millis(400), "{took:?}");
    above.close().await;
    child.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_panics_costs_only_itself() {
    let socket = Socket {
        panics: true,
        ..Socket::default()
    };
    let instance = absent(&socket).await;
    socket.plug(true);
    let took = ready(&instance).await;
    assert!(took >= Duration::from_millis(900), "{took:?}");
    instance.close().await;
}
