//! Instances under interlocks: who is refused, who waits, and who is stopped.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions do as tests do"
)]

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt};
use rigd_driver::{
    Blueprint, ByteStream, Call, Driver, DriverError, Gate, Health, Instance, InstanceConfig,
    Interface, Interlock, Key, KeyKind, KeyOwner, Mode, OpenCx, OpenError, echo_stream,
};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::watch;
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(20);

/// How a test steers its switch, and what it sees of it.
#[derive(Debug)]
struct Hands {
    state: Mutex<Option<&'static str>>,
    /// What asking it says.
    deaf: Mutex<Option<DriverError>>,
    mute: AtomicBool,
    /// A long call ends when this is set, a blocking one looks each millisecond.
    done: watch::Sender<bool>,
    acted: AtomicUsize,
    /// Where the driver switches to by itself.
    opens_to: Mutex<Option<&'static str>>,
    starts_to: Mutex<Option<&'static str>>,
    /// How many switches of the rig are on.
    lit: Arc<AtomicUsize>,
    /// Whether two were at the same time.
    both: AtomicBool,
}

impl Default for Hands {
    fn default() -> Self {
        Self {
            state: Mutex::new(Some("off")),
            deaf: Mutex::default(),
            mute: AtomicBool::new(false),
            done: watch::Sender::new(false),
            acted: AtomicUsize::new(0),
            opens_to: Mutex::default(),
            starts_to: Mutex::default(),
            lit: Arc::default(),
            both: AtomicBool::new(false),
        }
    }
}

impl Hands {
    fn set(&self, state: &'static str) {
        let mut now = self.state.lock().unwrap();
        match (now.replace(state), state) {
            (Some("on"), "on") | (Some("off") | None, "off") => {}
            (_, "on") if self.lit.fetch_add(1, Ordering::SeqCst) > 0 => {
                self.both.store(true, Ordering::SeqCst);
            }
            (_, "on") => {}
            _ => _ = self.lit.fetch_sub(1, Ordering::SeqCst),
        }
    }

    fn acted(&self) -> usize {
        self.acted.load(Ordering::SeqCst)
    }
}

#[derive(Debug, Clone, Default, Deserialize, schemars::JsonSchema)]
struct Config {
    #[serde(skip)]
    #[schemars(skip)]
    hands: Arc<Hands>,
}

struct Switch {
    hands: Arc<Hands>,
    gate: Gate,
}

impl Driver for Switch {
    const TYPE: &'static str = "test.switch";
    const CLIENT: &'static str = "test.client.Switch";
    type Config = Config;

    fn interface() -> Interface<Self> {
        Interface::new()
            .call("on", Mode::Exclusive, Self::on)
            .call("off", Mode::Preempting, Self::off)
            .call("cycle", Mode::Exclusive, Self::cycle)
            .call("write", Mode::Transfer, Self::write)
            .call("wait", Mode::Shared, Self::wait)
            .streaming("items", Self::items)
            .stream("connect", Self::connect)
            .switches("on", "on")
            .switches("off", "off")
            .passes("cycle", &["off", "on"])
    }

    async fn open(config: &Config, cx: &OpenCx) -> Result<Self, OpenError> {
        let hands = config.hands.clone();
        let to = *hands.opens_to.lock().unwrap();
        if let Some(to) = to {
            let passage = cx.gate().enter(to).await;
            let _passage = passage.map_err(|e| OpenError::Faulty(e.to_string()))?;
            hands.set(to);
        }
        let gate = cx.gate().clone();
        Ok(Self { hands, gate })
    }

    fn state(&self) -> Option<&'static str> {
        *self.hands.state.lock().unwrap()
    }

    async fn ask_state(&self) -> Result<(), DriverError> {
        if self.hands.mute.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let deaf = self.hands.deaf.lock().unwrap().clone();
        deaf.map_or(Ok(()), Err)
    }

    async fn lease_start(&self) -> Result<(), DriverError> {
        let to = *self.hands.starts_to.lock().unwrap();
        if let Some(to) = to {
            let _passage = self.gate.enter(to).await?;
            self.hands.set(to);
        }
        Ok(())
    }
}

impl Switch {
    async fn on(self: Arc<Self>, _: Call) -> Result<(), DriverError> {
        self.hands.set("on");
        Ok(())
    }

    async fn off(self: Arc<Self>, _: Call) -> Result<(), DriverError> {
        self.hands.set("off");
        Ok(())
    }

    async fn cycle(self: Arc<Self>, _: Call) -> Result<(), DriverError> {
        self.hands.set("off");
        tokio::task::yield_now().await;
        self.hands.set("on");
        Ok(())
    }

    /// Blocks until it is done, and does not look whether anybody wants it.
    async fn write(self: Arc<Self>, call: Call) -> Result<(), DriverError> {
        let hands = self.hands.clone();
        call.blocking(move |_| {
            // On the device's thread: from here on nothing stops it.
            hands.acted.fetch_add(1, Ordering::SeqCst);
            while !*hands.done.borrow() {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        })
        .await
    }

    async fn wait(self: Arc<Self>, _: Call) -> Result<(), DriverError> {
        self.hands.acted.fetch_add(1, Ordering::SeqCst);
        let mut done = self.hands.done.subscribe();
        done.wait_for(|done| *done).await.map(drop).ok();
        Ok(())
    }

    fn items(
        self: Arc<Self>,
        _: Call,
    ) -> impl Stream<Item = Result<usize, DriverError>> + Send + use<> {
        self.hands.acted.fetch_add(1, Ordering::SeqCst);
        futures::stream::iter(0..).map(Ok)
    }

    async fn connect(self: Arc<Self>, _: Call) -> Result<ByteStream, DriverError> {
        self.hands.acted.fetch_add(1, Ordering::SeqCst);
        Ok(echo_stream())
    }
}

struct Part {
    instance: Arc<Instance>,
    hands: Arc<Hands>,
}

impl Part {
    fn new(path: &str, lit: &Arc<AtomicUsize>) -> Self {
        let hands = Arc::new(Hands {
            lit: lit.clone(),
            ..Hands::default()
        });
        let config = Config {
            hands: hands.clone(),
        };
        let instance = Instance::new(InstanceConfig {
            exporter: "e".into(),
            path: path.into(),
            uuid: Uuid::new_v4(),
            state_dir: PathBuf::from("/nonexistent"),
            blueprint: Blueprint::new::<Switch>(config),
            parent: None,
            children: Default::default(),
            descriptor: None,
        });
        Self { instance, hands }
    }

    async fn call(&self, key: &Key, method: &str) -> Result<Value, DriverError> {
        let call = self.instance.call(key, None, method, vec![]);
        tokio::time::timeout(LIMIT, call).await.expect("it ends")
    }
}

/// What a rule says: its name, what it denies, and the states unless.
type Rule<'a> = (&'a str, &'a [&'a str], &'a [(&'a str, &'a str)]);

struct Rig {
    power: Part,
    storage: Part,
    owner: KeyOwner,
}

/// The rule of most boards.
const CARD: Rule<'static> = (
    "card",
    &[
        "storage.write",
        "storage.wait",
        "storage.items",
        "storage.connect",
    ],
    &[("power", "off")],
);
/// Its opposite.
const LIT: Rule<'static> = ("lit", CARD.1, &[("power", "on")]);

impl Rig {
    fn closed(rules: &[Rule<'_>]) -> Self {
        let lit = Arc::default();
        let rig = Self {
            power: Part::new("power", &lit),
            storage: Part::new("storage", &lit),
            owner: KeyOwner::issue(KeyKind::Client),
        };
        let part = |path: &str| match path {
            "power" => rig.power.instance.clone(),
            _ => rig.storage.instance.clone(),
        };
        let rules = rules.iter().map(|(name, deny, unless)| Interlock {
            name: (*name).into(),
            deny: deny
                .iter()
                .map(|method| method.split_once('.').unwrap())
                .map(|(path, method)| (part(path), method.into()))
                .collect(),
            unless: unless
                .iter()
                .map(|(path, state)| (part(path), (*state).into()))
                .collect(),
        });
        Interlock::install(rules.collect());
        rig
    }

    async fn open(rules: &[Rule<'_>]) -> Self {
        let rig = Self::closed(rules);
        rig.power.instance.start().await;
        rig.storage.instance.start().await;
        rig
    }

    fn key(&self) -> Key {
        self.owner.key()
    }

    /// Begins a call in the background and waits until it works.
    async fn begin(
        &self,
        method: &'static str,
    ) -> tokio::task::JoinHandle<Result<Value, DriverError>> {
        let (instance, key) = (self.storage.instance.clone(), self.key());
        let before = self.storage.hands.acted();
        let call = tokio::spawn(async move { instance.call(&key, None, method, vec![]).await });
        while self.storage.hands.acted() == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        call
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, DriverError>, text: &str) {
    match outcome {
        Err(DriverError::FailedPrecondition(told)) => assert_eq!(told, text),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn whoever_calls_is_refused_before_the_driver_hears_of_it() {
    let rig = Rig::open(&[CARD]).await;
    rig.power.hands.set("on");
    for kind in [KeyKind::Client, KeyKind::Hook, KeyKind::Daemon] {
        let owner = KeyOwner::issue(kind);
        refused(
            rig.storage.call(&owner.key(), "wait").await,
            "interlock card: storage.wait needs power to be off; it is on",
        );
        let text = "interlock card: storage.items needs power to be off; it is on";
        let items = rig
            .storage
            .instance
            .streaming_call(&owner.key(), None, "items", vec![]);
        let items: Vec<_> = items.unwrap().collect().await;
        refused(items.into_iter().next().unwrap(), text);
        let text = "interlock card: storage.connect needs power to be off; it is on";
        refused(
            rig.storage
                .instance
                .stream(&owner.key(), "connect")
                .await
                .map(drop),
            text,
        );
    }
    assert_eq!(rig.storage.hands.acted(), 0);
    // What no rule names is not asked.
    rig.storage.call(&rig.key(), "on").await.unwrap();
}

#[tokio::test]
async fn nothing_leaves_the_state_until_the_work_is_over() {
    let rig = Rig::open(&[CARD]).await;
    let write = rig.begin("write").await;
    let text = |method| {
        format!(
            "interlock card: power.{method} would take power from off, which storage.write needs (since 0 s)"
        )
    };
    for method in ["on", "cycle"] {
        refused(rig.power.call(&rig.key(), method).await, &text(method));
    }
    rig.power.call(&rig.key(), "off").await.unwrap();
    rig.storage.hands.done.send_replace(true);
    write.await.unwrap().unwrap();
    rig.power.call(&rig.key(), "on").await.unwrap();
}

#[tokio::test]
async fn work_that_blocks_holds_its_permit_although_its_caller_is_gone() {
    let rig = Rig::open(&[CARD]).await;
    let write = rig.begin("write").await;
    write.abort();
    assert!(write.await.unwrap_err().is_cancelled());
    let key = rig.key();
    let mut on = Box::pin(rig.power.call(&key, "on"));
    let early = tokio::time::timeout(Duration::from_millis(100), &mut on).await;
    assert!(early.is_err(), "the write still goes on: {early:?}");
    assert_eq!(rig.power.instance.state().unwrap(), Some("off"));
    rig.storage.hands.done.send_replace(true);
    on.await.unwrap();
    assert_eq!(rig.power.instance.state().unwrap(), Some("on"));
}

#[tokio::test]
async fn the_end_of_a_lease_ends_a_wait_for_what_winds_up() {
    let rig = Rig::open(&[CARD]).await;
    let write = rig.begin("write").await;
    write.abort();
    assert!(write.await.unwrap_err().is_cancelled());
    let key = rig.key();
    let on = rig.power.call(&key, "on");
    let end = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        rig.owner.revoke("the lease ended");
    };
    let (on, ()) = tokio::join!(on, end);
    assert!(matches!(on, Err(DriverError::Fenced(_))), "{on:?}");
    rig.storage.hands.done.send_replace(true);
    assert_eq!(rig.power.instance.state().unwrap(), Some("off"));
}

#[tokio::test]
async fn an_off_stops_work_that_needs_it_on() {
    let rig = Rig::open(&[LIT]).await;
    rig.power.hands.set("on");
    let wait = rig.begin("wait").await;
    let mut stream = rig
        .storage
        .instance
        .stream(&rig.key(), "connect")
        .await
        .unwrap();
    let items = rig
        .storage
        .instance
        .streaming_call(&rig.key(), None, "items", vec![]);
    let mut items = Box::pin(items.unwrap());
    items.next().await.unwrap().unwrap();
    rig.power.call(&rig.key(), "off").await.unwrap();
    let stopped = |method| {
        format!("interlock lit: storage.{method} was stopped: power.off took power from on")
    };
    let told = |error: DriverError| match error {
        DriverError::Fenced(fenced) => fenced.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(told(wait.await.unwrap().unwrap_err()), stopped("wait"));
    assert_eq!(
        told(stream.reader.next().await.unwrap().unwrap_err()),
        stopped("connect")
    );
    let sent = stream.writer.send(Bytes::from_static(b"x")).await;
    assert_eq!(told(sent.unwrap_err()), stopped("connect"));
    assert_eq!(
        told(items.next().await.unwrap().unwrap_err()),
        stopped("items")
    );
    rig.key().check().unwrap();
}

#[tokio::test]
async fn streams_hold_their_permit_until_they_are_closed() {
    let rig = Rig::open(&[CARD]).await;
    let stream = rig
        .storage
        .instance
        .stream(&rig.key(), "connect")
        .await
        .unwrap();
    let text = "interlock card: power.on would take power from off, which storage.connect needs (since 0 s)";
    refused(rig.power.call(&rig.key(), "on").await, text);
    // One direction is enough.
    drop(stream.reader);
    let key = rig.key();
    let on = rig.power.call(&key, "on").now_or_never();
    assert!(
        on.is_none(),
        "it waits for a stream whose reader is gone: {on:?}"
    );
    drop(stream.writer);
    rig.power.call(&rig.key(), "on").await.unwrap();

    rig.power.call(&rig.key(), "off").await.unwrap();
    let items = rig
        .storage
        .instance
        .streaming_call(&rig.key(), None, "items", vec![]);
    let mut items = Box::pin(items.unwrap());
    items.next().await.unwrap().unwrap();
    let text =
        "interlock card: power.on would take power from off, which storage.items needs (since 0 s)";
    refused(rig.power.call(&rig.key(), "on").await, text);
    drop(items);
    rig.power.call(&rig.key(), "on").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_state_that_nobody_can_tell_is_a_wrong_one() {
    let rig = Rig::open(&[CARD]).await;
    *rig.power.hands.deaf.lock().unwrap() =
        Some(DriverError::Timeout("no answer from pdu-1".into()));
    let unknown = "interlock card: storage.wait needs power to be off; its state is not known";
    refused(
        rig.storage.call(&rig.key(), "wait").await,
        &format!("{unknown}: no answer from pdu-1"),
    );
    rig.power.hands.mute.store(true, Ordering::SeqCst);
    refused(
        rig.storage.call(&rig.key(), "wait").await,
        &format!("{unknown}: no answer within 5 s"),
    );
    rig.power.hands.mute.store(false, Ordering::SeqCst);
    *rig.power.hands.deaf.lock().unwrap() = None;
    *rig.power.hands.state.lock().unwrap() = None;
    refused(rig.storage.call(&rig.key(), "wait").await, unknown);
    rig.power.instance.close().await;
    refused(
        rig.storage.call(&rig.key(), "wait").await,
        &format!("{unknown}: power is absent: closed"),
    );
    assert_eq!(rig.storage.hands.acted(), 0);
}

#[tokio::test]
async fn a_switch_at_the_start_of_a_lease_goes_through_the_gate() {
    let rig = Rig::open(&[("boot", &["power.on"], &[("storage", "on")])]).await;
    *rig.power.hands.starts_to.lock().unwrap() = Some("on");
    rig.power.instance.lease_start().await;
    assert_eq!(rig.power.instance.state().unwrap(), Some("off"));
    rig.storage.hands.set("on");
    rig.power.instance.lease_start().await;
    assert_eq!(rig.power.instance.state().unwrap(), Some("on"));
}

#[tokio::test(start_paused = true)]
async fn a_device_that_opens_into_a_forbidden_state_is_opened_when_it_may() {
    let rig = Rig::closed(&[("boot", &["power.on"], &[("storage", "on")])]);
    *rig.power.hands.opens_to.lock().unwrap() = Some("on");
    rig.storage.instance.start().await;
    rig.power.instance.start().await;
    let text = "interlock boot: switching power to on needs storage to be on; it is off";
    assert_eq!(rig.power.instance.health(), Health::Faulty(text.into()));
    assert_eq!(*rig.power.hands.state.lock().unwrap(), Some("off"));
    rig.storage.hands.set("on");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(rig.power.instance.health(), Health::Ready);
    assert_eq!(rig.power.instance.state().unwrap(), Some("on"));
}

/// Both rules at once, from many tasks: never both on, and everybody is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rules_that_refer_to_each_other_never_block_each_other() {
    let rig = Arc::new(
        Rig::open(&[
            ("a", &["power.on"], &[("storage", "off")]),
            ("b", &["storage.on"], &[("power", "off")]),
        ])
        .await,
    );
    let mut tasks = Vec::new();
    for task in 0..8 {
        let rig = rig.clone();
        tasks.push(tokio::spawn(async move {
            let mut on = 0;
            for round in 0..200 {
                let part = if (task + round) % 2 == 0 {
                    &rig.power
                } else {
                    &rig.storage
                };
                match part.call(&rig.key(), "on").await {
                    Ok(_) => on += 1,
                    Err(DriverError::FailedPrecondition(_)) => {}
                    Err(other) => panic!("{other:?}"),
                }
                part.call(&rig.key(), "off").await.unwrap();
            }
            on
        }));
    }
    let mut on = 0;
    for task in tasks {
        on += tokio::time::timeout(LIMIT, task)
            .await
            .expect("nobody is blocked")
            .unwrap();
    }
    assert!(on > 0, "somebody was let through");
    let both = |part: &Part| part.hands.both.load(Ordering::SeqCst);
    assert!(!both(&rig.power) && !both(&rig.storage), "both were on");
}
