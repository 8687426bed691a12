//! What all network switches have in common, shown on one of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod rig;

use std::{sync::Arc, time::Duration};

use rig::{Open, Reply, SOON, Web, ok};
use rigd_driver::{Blueprint, DriverError, Health};
use rigd_drivers_power::{EnergeniePower, HttpPower, TasmotaHttpPower};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

fn http(web: &Web, path: &str, switching: &Value) -> Value {
    let url = |word: &str| format!("http://{}/{path}{word}", web.host());
    json!({
        "power_on": {"url": url("on")},
        "power_off": {"url": url("off")},
        "timeout": 5.0,
        "switching": switching,
    })
}

async fn one(web: &Web, switching: Value) -> Arc<Open> {
    Arc::new(Open::new::<HttpPower>(http(web, "", &switching)).await)
}

fn start(
    open: &Arc<Open>,
    method: &'static str,
    args: Vec<Value>,
) -> tokio::task::JoinHandle<Result<Value, DriverError>> {
    let open = open.clone();
    tokio::spawn(async move { open.call_with(method, args).await })
}

#[tokio::test]
async fn a_board_stays_off_for_the_minimum_time() {
    let web = Web::start(vec![ok("")]).await;
    let open = one(&web, json!({"minOffTime": 0.4})).await;
    // Nothing is known of the time before.
    let started = Instant::now();
    open.call("on").await.unwrap();
    assert!(started.elapsed() < Duration::from_millis(400));
    open.call("off").await.unwrap();
    let off = Instant::now();
    open.call("on").await.unwrap();
    // The clock of the driver started when the answer came, a little before this one.
    assert!(
        off.elapsed() > Duration::from_millis(380),
        "{:?}",
        off.elapsed()
    );
}

#[tokio::test]
async fn cycle_is_off_a_pause_and_on() {
    let web = Web::start(vec![ok("")]).await;
    let open = one(&web, json!({"minOffTime": 0.3})).await;
    let started = Instant::now();
    open.call_with("cycle", vec![json!(0)]).await.unwrap();
    assert_eq!(web.asked(), ["GET /off", "GET /on"]);
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert_eq!(
        open.call("state").await.unwrap(),
        json!({"on": true, "source": "commanded"})
    );
    for wrong in [json!(-1), json!(61)] {
        let error = open.call_with("cycle", vec![wrong]).await.unwrap_err();
        assert!(
            matches!(error, DriverError::InvalidArgument(_)),
            "{error:?}"
        );
    }
    assert_eq!(web.asked().len(), 2);
}

#[tokio::test]
async fn an_off_ends_a_cycle_and_the_board_stays_off() {
    let web = Web::start(vec![ok("")]).await;
    let open = one(&web, json!({})).await;
    let cycle = start(&open, "cycle", vec![json!(60)]);
    web.until(1).await;
    open.call("off").await.unwrap();
    let error = timeout(SOON, cycle).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, DriverError::Cancelled(_)), "{error:?}");
    assert_eq!(error.to_string(), "an off took over");
    assert_eq!(web.asked(), ["GET /off", "GET /off"]);
    assert_eq!(open.call("state").await.unwrap()["on"], false);
}

#[tokio::test]
async fn an_off_ends_all_that_came_before_it_and_waits() {
    let web = Web::start(vec![ok("")]).await;
    let open = one(&web, json!({"minOffTime": 0})).await;
    let cycle = start(&open, "cycle", vec![json!(60)]);
    web.until(1).await;
    // Both wait behind the cycle.
    let waiting = [
        start(&open, "on", vec![]),
        start(&open, "cycle", vec![json!(0)]),
    ];
    tokio::task::yield_now().await;
    open.call("off").await.unwrap();
    for call in std::iter::once(cycle).chain(waiting) {
        let error = timeout(SOON, call).await.unwrap().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "an off took over");
    }
    assert_eq!(web.asked(), ["GET /off", "GET /off"]);
    // What comes after it is served.
    open.call("on").await.unwrap();
    assert_eq!(web.asked(), ["GET /off", "GET /off", "GET /on"]);
}

#[tokio::test]
async fn an_off_waits_for_no_on_that_gets_no_answer() {
    let web = Web::start(vec![Reply::Silence, ok("")]).await;
    let open = one(&web, json!({})).await;
    let on = start(&open, "on", vec![]);
    web.until(1).await;
    let started = Instant::now();
    open.call("off").await.unwrap();
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    let error = timeout(SOON, on).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, DriverError::Cancelled(_)), "{error:?}");
    assert_eq!(web.asked(), ["GET /on", "GET /off"]);
}

#[tokio::test]
async fn an_off_goes_before_a_question_that_gets_no_answer() {
    let web = Web::start(vec![Reply::Silence, ok(""), ok("{}")]).await;
    let mut given = http(&web, "", &json!({}));
    given["power_read"] = json!({"url": format!("http://{}/read", web.host())});
    let open = Open::new::<HttpPower>(given).await;
    let (reading, ()) = tokio::join!(open.read(), async {
        web.until(1).await;
        let started = Instant::now();
        open.call("off").await.unwrap();
        let took = started.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}");
    });
    assert_eq!(reading.unwrap(), json!({"voltage": 0.0, "current": 0.0}));
    assert_eq!(web.asked(), ["GET /read", "GET /off", "GET /read"]);
}

#[tokio::test]
async fn an_off_ends_the_repetitions_of_an_on() {
    let web = Web::start(vec![Reply::Raw(b""), ok("")]).await;
    let open = one(&web, json!({"retries": 5})).await;
    let on = start(&open, "on", vec![]);
    web.until(1).await;
    open.call("off").await.unwrap();
    assert!(timeout(SOON, on).await.unwrap().unwrap().is_err());
    assert_eq!(web.asked(), ["GET /on", "GET /off"]);
}

#[tokio::test]
async fn an_answer_that_is_late_but_in_time_is_one() {
    let late = Duration::from_millis(700);
    let web = Web::start(vec![Reply::Late(late)]).await;
    let open = one(&web, json!({})).await;
    let started = Instant::now();
    open.call("on").await.unwrap();
    assert!(started.elapsed() >= late);
    assert_eq!(web.asked(), ["GET /on"]);
}

#[tokio::test]
async fn an_answer_without_an_end_is_no_answer() {
    let web = Web::start(vec![Reply::Drip, ok(r#"{"POWER":"ON"}"#)]).await;
    let given = json!({"host": web.host(), "timeout": 0.5, "switching": {"retries": 0}});
    let open = Open::new::<TasmotaHttpPower>(given).await;
    let error = open.error("on").await;
    assert!(matches!(error, DriverError::Timeout(_)), "{error:?}");
    assert_eq!(open.call("state").await.unwrap()["on"], true);
}

#[tokio::test]
async fn the_budget_refuses_on_and_never_off() {
    let web = Web::start(vec![ok("")]).await;
    let open = one(&web, json!({"minOffTime": 0, "maxSwitchesPerMinute": 3})).await;
    open.call("on").await.unwrap();
    open.call("off").await.unwrap();
    let error = open.call_with("cycle", vec![json!(0)]).await.unwrap_err();
    assert!(matches!(error, DriverError::Exhausted(_)), "{error:?}");
    open.call("on").await.unwrap();
    let error = open.error("on").await;
    assert!(matches!(error, DriverError::Exhausted(_)), "{error:?}");
    let text = error.to_string();
    assert!(
        text.starts_with(
            "actuation budget: 3 switches a minute are used up; the next is possible in "
        ),
        "{text}"
    );
    for _ in 0..3 {
        open.call("off").await.unwrap();
    }
    // A cycle that is refused has not switched off either.
    let wanted = [
        "GET /on", "GET /off", "GET /on", "GET /off", "GET /off", "GET /off",
    ];
    assert_eq!(web.asked(), wanted);
}

#[tokio::test]
async fn a_device_that_is_opened_again_has_used_up_what_it_has() {
    let web = Web::start(vec![ok("")]).await;
    let switching = json!({"minOffTime": 0.5, "maxSwitchesPerMinute": 3});
    let given = rig::config(http(&web, "", &switching));
    let blueprint = Blueprint::new::<HttpPower>(given);
    let first = Open::of(blueprint.clone()).await;
    first.call("on").await.unwrap();
    first.call("off").await.unwrap();
    let off = Instant::now();
    first.instance.close().await;

    // The same settings, as after a loss of the device.
    let second = Open::of(blueprint).await;
    let state = second.call("state").await.unwrap();
    assert_eq!(state, json!({"on": null, "source": "unknown"}));
    second.call("on").await.unwrap();
    let took = off.elapsed();
    assert!(took > Duration::from_millis(480), "{took:?}");
    let error = second.error("on").await;
    assert!(matches!(error, DriverError::Exhausted(_)), "{error:?}");
    assert_eq!(web.asked(), ["GET /on", "GET /off", "GET /on"]);
}

#[tokio::test]
async fn outlets_of_one_device_take_turns() {
    let web = Web::start(vec![ok("")]).await;
    let mut calls = Vec::new();
    for outlet in 0..6 {
        let given = http(&web, &format!("{outlet}/"), &json!({"minOffTime": 0}));
        let open = Arc::new(Open::new::<HttpPower>(given).await);
        calls.push(start(&open, "on", vec![]));
        calls.push(start(&open, "off", vec![]));
    }
    for call in calls {
        // An `on` may have been overtaken by its `off`.
        timeout(SOON, call).await.unwrap().unwrap().ok();
    }
    assert!(web.asked().len() >= 6);
    assert_eq!(web.most.lock().unwrap().1, 1, "connections at once");
}

#[tokio::test]
async fn drivers_of_two_kinds_share_the_device_at_one_address() {
    let web = Web::start(vec![Reply::Silence, ok("")]).await;
    let first = one(&web, json!({"retries": 0})).await;
    let second = Open::new::<EnergeniePower>(json!({"host": web.host(), "timeout": 5})).await;
    let on = start(&first, "on", vec![]);
    web.until(1).await;
    let (second, _) = tokio::join!(second.call("off"), async {
        // The other one's request does not go out while this one is under way.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(web.asked().len(), 1);
        first.call("off").await.unwrap();
    });
    second.unwrap();
    assert!(timeout(SOON, on).await.unwrap().unwrap().is_err());
    assert_eq!(web.most.lock().unwrap().1, 1, "connections at once");
}

#[tokio::test]
async fn the_ends_of_a_lease_do_what_is_configured() {
    let web = Web::start(vec![ok("")]).await;
    let open = one(
        &web,
        json!({"minOffTime": 0, "onLeaseStart": "on", "onLeaseEnd": "off"}),
    )
    .await;
    open.instance.lease_start().await;
    assert_eq!(web.asked(), ["GET /on"]);
    open.owner.revoke("the lease ended");
    open.instance.lease_end().await;
    assert_eq!(web.asked(), ["GET /on", "GET /off"]);

    let web = Web::start(vec![ok("")]).await;
    let open = one(&web, json!({})).await;
    open.instance.lease_start().await;
    open.instance.lease_end().await;
    assert!(web.asked().is_empty());
}

#[tokio::test]
async fn nothing_is_sent_after_the_key_was_revoked() {
    let web = Web::start(vec![ok("")]).await;
    let open = one(&web, json!({"minOffTime": 60})).await;
    open.call("off").await.unwrap();
    let on = start(&open, "on", vec![]);
    while open.instance.busy().is_none() {
        tokio::task::yield_now().await;
    }
    open.owner.revoke("the lease ended");
    let error = timeout(SOON, on).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, DriverError::Fenced(_)), "{error:?}");
    assert_eq!(web.asked(), ["GET /off"]);
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_makes_the_instance_faulty_and_nothing_else() {
    let open = Open::new::<EnergeniePower>(
        json!({"host": "127.0.0.1:1", "passwordFile": "/nonexistent/pw"}),
    )
    .await;
    let Health::Faulty(why) = open.instance.health() else {
        panic!("{:?}", open.instance.health());
    };
    assert!(why.starts_with("passwordFile /nonexistent/pw: "), "{why}");
    let error = open.error("on").await;
    assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
}
