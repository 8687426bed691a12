//! An instance around drivers that misbehave: what the others of the tree never notice.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the drivers of these tests panic on purpose, and helper functions as tests do"
)]
#![allow(
    clippy::await_holding_lock,
    reason = "the lock is the hung device; only the device thread waits for it"
)]

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use futures::{Stream, StreamExt};
use rigd_driver::{
    Blueprint, Call, Driver, DriverError, Health, HealthHandle, Instance, InstanceConfig,
    Interface, KeyKind, KeyOwner, Mode, OpenCx, OpenError,
};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

/// What a test sees of its driver, and how it steers it.
#[derive(Debug, Default)]
struct Hands {
    opened: AtomicUsize,
    leases: AtomicUsize,
    acted: AtomicUsize,
    /// The device answers while nobody holds this.
    device: Mutex<()>,
    health: Mutex<Option<HealthHandle>>,
}

#[derive(Debug, Clone, Default, Deserialize, schemars::JsonSchema)]
struct Config {
    /// Handed in by the test.
    #[serde(skip)]
    hands: Arc<Hands>,
    /// Attempts to open that fail.
    #[serde(skip)]
    absent: usize,
    /// Opening never ends.
    #[serde(skip)]
    hangs: bool,
}

impl schemars::JsonSchema for Hands {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Hands".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::Schema::default()
    }
}

struct Odd {
    hands: Arc<Hands>,
}

impl Driver for Odd {
    const TYPE: &'static str = "test.odd";
    const CLIENT: &'static str = "test.client.Odd";
    type Config = Config;

    fn interface() -> Interface<Self> {
        Interface::new()
            .call("act", Mode::Exclusive, Self::act)
            .call("write", Mode::Transfer, Self::act)
            .call("off", Mode::Preempting, Self::off)
            .call("panics", Mode::Shared, Self::panics)
            .call("panics_later", Mode::Shared, Self::panics_later)
            .call(
                "panics_on_the_device",
                Mode::Shared,
                Self::panics_on_the_device,
            )
            .streaming("items", Self::items)
    }

    async fn open(config: &Config, cx: &OpenCx) -> Result<Self, OpenError> {
        let hands = config.hands.clone();
        let attempt = hands.opened.fetch_add(1, Ordering::SeqCst);
        if config.hangs {
            std::future::pending::<()>().await;
        }
        if attempt < config.absent {
            return Err(OpenError::Absent("not plugged in".into()));
        }
        *hands.health.lock().unwrap() = Some(cx.health().clone());
        Ok(Self { hands })
    }

    async fn lease_start(&self) -> Result<(), DriverError> {
        self.hands.leases.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

impl Odd {
    async fn act(self: Arc<Self>, call: Call) -> Result<usize, DriverError> {
        let hands = self.hands.clone();
        call.blocking(move |_| {
            let _device = hands.device.lock().unwrap();
            Ok(hands.acted.fetch_add(1, Ordering::SeqCst) + 1)
        })
        .await
    }

    async fn off(self: Arc<Self>, _: Call) -> Result<(), DriverError> {
        Ok(())
    }

    // Not `async`: it panics before there is a future.
    fn panics(self: Arc<Self>, _: Call) -> std::future::Ready<Result<(), DriverError>> {
        panic!("at once")
    }

    async fn panics_later(self: Arc<Self>, _: Call) -> Result<(), DriverError> {
        tokio::task::yield_now().await;
        panic!("later")
    }

    async fn panics_on_the_device(self: Arc<Self>, call: Call) -> Result<(), DriverError> {
        call.blocking(|_| panic!("on the device thread")).await
    }

    fn items(
        self: Arc<Self>,
        _: Call,
    ) -> impl Stream<Item = Result<usize, DriverError>> + Send + use<> {
        let hands = self.hands.clone();
        futures::stream::iter(0..).map(move |item| {
            hands.acted.fetch_add(1, Ordering::SeqCst);
            Ok(item)
        })
    }
}

fn instance(config: Config) -> Arc<Instance> {
    Instance::new(InstanceConfig {
        exporter: "test".into(),
        path: "odd".into(),
        uuid: Uuid::new_v4(),
        state_dir: PathBuf::from("/nonexistent"),
        blueprint: Blueprint::new::<Odd>(config),
        parent: None,
        children: Default::default(),
        descriptor: None,
    })
}

fn key() -> KeyOwner {
    KeyOwner::issue(KeyKind::Client)
}

async fn call(instance: &Instance, owner: &KeyOwner, method: &str) -> Result<u64, String> {
    let result = instance.call(&owner.key(), None, method, vec![]).await;
    result
        .map(|value| value.as_u64().unwrap_or_default())
        .map_err(|error| error.to_string())
}

/// Runs what is due on the runtime, and gives other threads the time to do theirs.
async fn until(what: &str, done: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if done() {
            return;
        }
        tokio::task::yield_now().await;
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("{what} did not happen");
}

#[tokio::test]
async fn a_driver_that_panics_fails_its_call_and_serves_the_next() {
    let (odd, owner) = (instance(Config::default()), key());
    odd.start().await;
    for method in ["panics", "panics_later", "panics_on_the_device"] {
        let error = call(&odd, &owner, method).await.unwrap_err();
        assert!(
            error.starts_with("the driver failed unexpectedly"),
            "{method}: {error}"
        );
    }
    assert_eq!(call(&odd, &owner, "act").await, Ok(1));
    odd.close().await;
}

#[tokio::test]
async fn a_job_that_waits_when_its_lease_ends_never_starts() {
    let hands = Arc::new(Hands::default());
    let odd = instance(Config {
        hands: hands.clone(),
        ..Config::default()
    });
    odd.start().await;
    let held = hands.device.lock().unwrap();
    let (first, second) = (key(), key());
    let running = tokio::spawn({
        let (odd, key) = (odd.clone(), first.key());
        async move { odd.call(&key, None, "act", vec![]).await }
    });
    until("the first call", || odd.busy().is_some()).await;
    let waiting = tokio::spawn({
        let (odd, key) = (odd.clone(), second.key());
        async move { odd.call(&key, None, "act", vec![]).await }
    });
    tokio::task::yield_now().await;
    second.revoke("lease two ended");
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "fenced: lease two ended");
    drop(held);
    assert_eq!(running.await.unwrap().unwrap(), json!(1));
    assert_eq!(hands.acted.load(Ordering::SeqCst), 1);
    odd.close().await;
}

#[tokio::test]
async fn work_on_a_hung_device_keeps_its_turn_and_off_does_not_wait_for_it() {
    let hands = Arc::new(Hands::default());
    let (odd, owner) = (
        instance(Config {
            hands: hands.clone(),
            ..Config::default()
        }),
        key(),
    );
    odd.start().await;
    let held = hands.device.lock().unwrap();
    let running = tokio::spawn({
        let (odd, key) = (odd.clone(), owner.key());
        async move { odd.call(&key, None, "write", vec![]).await }
    });
    until("the write", || odd.busy().is_some()).await;
    let error = call(&odd, &owner, "act").await.unwrap_err();
    assert_eq!(error, "busy: write since 0 s");
    assert_eq!(call(&odd, &owner, "off").await, Ok(0));
    // The caller goes away; the device still has the work, so nobody else gets the turn.
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    assert!(odd.busy().is_some());
    drop(held);
    until("the end of the write", || odd.busy().is_none()).await;
    assert_eq!(call(&odd, &owner, "act").await, Ok(2));
    odd.close().await;
}

#[tokio::test]
async fn a_streaming_call_ends_with_its_key_and_takes_no_item_more() {
    let hands = Arc::new(Hands::default());
    let (odd, owner) = (
        instance(Config {
            hands: hands.clone(),
            ..Config::default()
        }),
        key(),
    );
    odd.start().await;
    let items = odd
        .streaming_call(&owner.key(), None, "items", vec![])
        .unwrap();
    let mut items = Box::pin(items);
    assert_eq!(items.next().await.unwrap().unwrap(), json!(0));
    owner.revoke("over");
    assert_eq!(
        items.next().await.unwrap().unwrap_err().to_string(),
        "fenced: over"
    );
    assert!(items.next().await.is_none());
    assert_eq!(hands.acted.load(Ordering::SeqCst), 1);
    odd.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_absent_device_is_tried_again_stays_absent_meanwhile_and_joins_the_lease() {
    let hands = Arc::new(Hands::default());
    let config = Config {
        hands: hands.clone(),
        absent: 3,
        ..Config::default()
    };
    let (odd, owner) = (instance(config), key());
    odd.start().await;
    odd.lease_start().await;
    let error = call(&odd, &owner, "act").await.unwrap_err();
    assert_eq!(error, "odd is absent: not plugged in");
    // Back-off of 1 s, 2 s and 4 s.
    for attempts in [2, 3] {
        tokio::time::sleep(Duration::from_millis(100 + 1000 * (attempts - 1))).await;
        assert_eq!(hands.opened.load(Ordering::SeqCst) as u64, attempts);
        assert_eq!(odd.health(), Health::Absent("not plugged in".into()));
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(odd.health(), Health::Ready);
    assert_eq!(
        hands.leases.load(Ordering::SeqCst),
        1,
        "the lease had begun"
    );
    let lost = hands.health.lock().unwrap().take().unwrap();
    lost.lost("unplugged");
    let error = call(&odd, &owner, "off").await.unwrap_err();
    assert_eq!(error, "odd is absent: unplugged");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(odd.health(), Health::Ready);
    lost.lost("said too late, by the driver of before");
    assert_eq!(odd.health(), Health::Ready);
    odd.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_opening_that_hangs_is_given_up_and_told() {
    let odd = instance(Config {
        hangs: true,
        ..Config::default()
    });
    odd.start().await;
    assert_eq!(
        odd.health(),
        Health::Faulty("did not open within 10 s".into())
    );
    odd.close().await;
}

#[tokio::test]
async fn a_device_that_answers_nothing_is_not_given_endless_work() {
    let hands = Arc::new(Hands::default());
    let (odd, owner) = (
        instance(Config {
            hands: hands.clone(),
            ..Config::default()
        }),
        key(),
    );
    odd.start().await;
    let (stop, held) = mpsc::channel::<()>();
    let holder = std::thread::spawn({
        let hands = hands.clone();
        move || {
            let _device = hands.device.lock().unwrap();
            held.recv().ok();
        }
    });
    until("the hold", || hands.device.try_lock().is_err()).await;
    let mut refused = 0;
    let mut waiting = Vec::new();
    for _ in 0..40 {
        // `panics_on_the_device` is shared, so only the device's own queue bounds it.
        let (odd, key) = (odd.clone(), owner.key());
        let method = if waiting.is_empty() {
            "act"
        } else {
            "panics_on_the_device"
        };
        waiting.push(tokio::spawn(async move {
            odd.call(&key, None, method, vec![]).await
        }));
        tokio::task::yield_now().await;
    }
    stop.send(()).unwrap();
    holder.join().unwrap();
    for call in waiting {
        if let Err(DriverError::Exhausted(text)) = call.await.unwrap() {
            assert!(text.starts_with("the device does not answer"), "{text}");
            refused += 1;
        }
    }
    assert!((20..40).contains(&refused), "{refused} of 40 were refused");
    odd.close().await;
}
