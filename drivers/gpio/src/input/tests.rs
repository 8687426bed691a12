use std::{future::Future, time::Duration};

use rigd_driver::{Blueprint, Health, Instance, Key, KeyKind, KeyOwner, Value, contract};
use serde_json::{from_value, json};
use tokio::{task::JoinHandle, time::timeout};

use super::*;
use crate::simulated::{Host, Pin, plug, unplug};

/// Anything that should happen does so in milliseconds.
const SOON: Duration = Duration::from_secs(10);
/// Long enough for what must not happen to have happened.
const NOT_YET: Duration = Duration::from_millis(50);

struct Rig {
    instance: Arc<Instance>,
    pin: Pin,
    owner: KeyOwner,
    _dir: tempfile::TempDir,
}

impl Rig {
    async fn open<const HOST: u32>() -> Self {
        let pin = plug(HOST, "gpiochip0", "buttons", &["button"]).remove(0);
        Self::with::<HOST>(pin).await
    }

    async fn with<const HOST: u32>(pin: Pin) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let blueprint = Blueprint::new::<GpioInput<Host<HOST>>>(config());
        let instance = contract::instance(blueprint, dir.path(), None);
        instance.start().await;
        assert_eq!(instance.health(), Health::Ready);
        Self {
            instance,
            pin,
            owner: KeyOwner::issue(KeyKind::Client),
            _dir: dir,
        }
    }

    /// Makes edges until one comes after the wait has begun.
    async fn edges_until(
        &self,
        to: Level,
        mut wait: JoinHandle<Result<Value, DriverError>>,
    ) -> Result<Value, DriverError> {
        loop {
            self.pin.edge(to, now());
            if let Ok(ended) = timeout(NOT_YET, &mut wait).await {
                return ended.unwrap();
            }
        }
    }

    fn call(
        &self,
        method: &'static str,
        args: &[Value],
    ) -> impl Future<Output = Result<Value, DriverError>> + use<> {
        let (instance, key, args): (_, Key, _) =
            (self.instance.clone(), self.owner.key(), args.to_vec());
        async move {
            timeout(SOON, instance.call(&key, None, method, args))
                .await
                .unwrap()
        }
    }
}

fn config() -> GpioInputConfig {
    from_value(json!({"line": "button"})).unwrap()
}

#[tokio::test]
async fn keeps_the_contract() {
    plug(100, "gpiochip0", "buttons", &["button"]);
    contract::check::<GpioInput<Host<100>>>(config()).await;
}

#[tokio::test]
async fn a_level_that_is_there_needs_no_wait() {
    let rig = Rig::open::<101>().await;
    assert_eq!(rig.call("read_pin", &[]).await.unwrap(), json!(0));
    rig.call("wait_for_inactive", &[Value::Null]).await.unwrap();
    rig.pin.edge(Level::Active, now());
    assert_eq!(rig.call("read_pin", &[]).await.unwrap(), json!(1));
    rig.call("wait_for_active", &[json!(5.0)]).await.unwrap();
}

#[tokio::test]
async fn waits_end_with_their_edge_and_several_with_the_same() {
    let rig = Rig::open::<102>().await;
    let waits = [
        tokio::spawn(rig.call("wait_for_active", &[Value::Null])),
        tokio::spawn(rig.call("wait_for_edge", &[json!("rising"), Value::Null])),
    ];
    let mut falling = tokio::spawn(rig.call("wait_for_edge", &[json!("falling"), json!(0)]));
    for wait in waits {
        let answer = rig.edges_until(Level::Active, wait).await;
        assert_eq!(answer.unwrap(), Value::Null);
    }
    assert!(timeout(NOT_YET, &mut falling).await.is_err());
    rig.edges_until(Level::Inactive, falling).await.unwrap();
}

#[tokio::test]
async fn an_edge_of_before_the_call_does_not_count() {
    let rig = Rig::open::<103>().await;
    let before = now();
    rig.pin.edge(Level::Active, before);
    let error = rig
        .call("wait_for_edge", &[json!("rising"), json!(0.05)])
        .await
        .unwrap_err();
    assert!(matches!(&error, DriverError::Timeout(_)), "{error:?}");
    assert_eq!(error.to_string(), "Timed out waiting for line 0 edge event");
    // Also one that the kernel hands over only now.
    let mut wait = tokio::spawn(rig.call("wait_for_edge", &[json!("rising"), Value::Null]));
    tokio::time::sleep(NOT_YET).await;
    rig.pin.edge(Level::Active, before);
    assert!(timeout(NOT_YET, &mut wait).await.is_err());
    rig.edges_until(Level::Active, wait).await.unwrap();
}

#[tokio::test]
async fn a_wait_holds_up_nobody_and_ends_with_its_lease() {
    let rig = Rig::open::<104>().await;
    let wait = tokio::spawn(rig.call("wait_for_active", &[Value::Null]));
    tokio::time::sleep(NOT_YET).await;
    assert_eq!(rig.call("read_pin", &[]).await.unwrap(), json!(0));
    rig.owner.revoke("lease demo ended");
    let error = wait.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "fenced: lease demo ended");
}

#[tokio::test]
async fn wrong_arguments_say_what_is_right() {
    let rig = Rig::open::<105>().await;
    for (args, text) in [
        (
            [json!("up"), Value::Null],
            "Invalid edge type: up; rising and falling are",
        ),
        (
            [json!("rising"), json!(-1)],
            "timeout -1 is no number of seconds",
        ),
    ] {
        let error = rig.call("wait_for_edge", &args).await.unwrap_err();
        assert!(
            matches!(&error, DriverError::InvalidArgument(_)),
            "{error:?}"
        );
        assert!(error.to_string().starts_with(text), "{error}");
    }
}

#[tokio::test]
async fn a_line_without_interrupts_can_be_read() {
    let pin = plug(106, "gpiochip0", "buttons", &["button"]).remove(0);
    pin.cannot_interrupt();
    let rig = Rig::with::<106>(pin).await;
    assert_eq!(rig.call("read_pin", &[]).await.unwrap(), json!(0));
    rig.call("wait_for_inactive", &[Value::Null]).await.unwrap();
    let error = rig
        .call("wait_for_active", &[Value::Null])
        .await
        .unwrap_err();
    assert!(matches!(&error, DriverError::Unimplemented(_)), "{error:?}");
    assert_eq!(
        error.to_string(),
        "line 0 (\"button\") of gpiochip0 (buttons) cannot interrupt, so it reports no edges"
    );
}

#[tokio::test]
async fn a_wait_ends_when_the_chip_goes_away() {
    let rig = Rig::open::<107>().await;
    let wait = tokio::spawn(rig.call("wait_for_active", &[Value::Null]));
    tokio::time::sleep(NOT_YET).await;
    unplug(107);
    let error = wait.await.unwrap().unwrap_err();
    assert!(matches!(&error, DriverError::Unavailable(_)), "{error:?}");
    let reason = "line 0 (\"button\") of gpiochip0 (buttons) is gone: its chip was removed";
    // As absent, if the wait has not begun by then.
    assert!(error.to_string().ends_with(reason), "{error}");
}
