//! The drivers that speak HTTP, each against a recorder on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod rig;

use rig::{Open, Reply, Web, config, ok};
use rigd_driver::{Driver, DriverError, contract};
use rigd_drivers_power::{EnergeniePower, HttpPower, ShellyPower, TasmotaHttpPower};
use serde_json::{Value, json};

fn http(web: &Web) -> Value {
    let url = |path: &str| format!("http://{}/{path}", web.host());
    json!({
        "name": "board",
        "power_on": {"url": url("set?token=t&on=1"), "method": "post", "data": "{\"on\":true}"},
        "power_off": {"url": url("off"), "data": "not sent with GET"},
        "power_read": {"url": url("read"), "voltage_path": "m.0.v", "current_path": "m.0.i"},
        "auth": {"basic": {"user": "me", "password": "pw"}},
        "timeout": 1.0,
        "switching": {"minOffTime": 0},
    })
}

#[tokio::test]
async fn http_sends_what_is_configured() {
    let reading = json!({"m": [{"v": 230.5, "i": "0.25"}]}).to_string();
    let web = Web::start(vec![
        ok(""),
        Reply::Text(204, "", String::new()),
        ok(&reading),
    ])
    .await;
    let open = Open::new::<HttpPower>(http(&web)).await;
    assert_eq!(open.call("on").await.unwrap(), Value::Null);
    assert_eq!(open.call("off").await.unwrap(), Value::Null);
    assert_eq!(
        open.read().await.unwrap(),
        json!({"voltage": 230.5, "current": 0.25})
    );
    let wanted = [
        "POST /set?token=t&on=1 {\"on\":true}",
        "GET /off",
        "GET /read",
    ];
    assert_eq!(web.asked(), wanted);
    for request in web.whole() {
        assert!(
            request.contains("Authorization: Basic bWU6cHc=\r\n"),
            "{request}"
        );
        assert!(
            !request.to_ascii_lowercase().contains("content-type"),
            "{request}"
        );
    }
}

#[tokio::test]
async fn http_tells_a_status_in_upstreams_words_and_no_secret() {
    let web = Web::start(vec![Reply::Text(503, "", "busy".into())]).await;
    let open = Open::new::<HttpPower>(http(&web)).await;
    let error = open.error("on").await;
    assert!(matches!(error, DriverError::Unknown(_)), "{error:?}");
    let wanted = format!(
        "503 Server Error: Service Unavailable for url: http://{}/set?[REDACTED]",
        web.host()
    );
    assert_eq!(error.to_string(), wanted);
    assert_eq!(
        open.call("state").await.unwrap(),
        json!({"on": null, "source": "unknown"})
    );
}

#[tokio::test]
async fn http_reads_only_what_is_there() {
    let web = Web::start(vec![ok("no json"), ok("{}")]).await;
    let mut given = http(&web);
    let open = Open::new::<HttpPower>(given.clone()).await;
    let error = open.read().await.unwrap_err();
    assert!(
        matches!(error, DriverError::InvalidArgument(_)),
        "{error:?}"
    );
    assert!(
        error
            .to_string()
            .starts_with("read endpoint did not return JSON: "),
        "{error}"
    );
    let error = open.read().await.unwrap_err().to_string();
    assert_eq!(error, "configured path 'm.0.v' not found in read response");
    given.as_object_mut().unwrap().remove("power_read");
    let open = Open::new::<HttpPower>(given).await;
    let error = open.read().await.unwrap_err();
    assert!(
        matches!(error, DriverError::InvalidArgument(_)),
        "{error:?}"
    );
    assert_eq!(error.to_string(), "power_read endpoint is not configured");
}

#[tokio::test]
async fn http_follows_redirects() {
    let web = Web::start(vec![
        Reply::Text(302, "Location: /moved\r\n", String::new()),
        ok(""),
    ])
    .await;
    Open::new::<HttpPower>(http(&web))
        .await
        .call("off")
        .await
        .unwrap();
    assert_eq!(web.asked(), ["GET /off", "GET /moved"]);
}

#[tokio::test]
async fn a_get_is_repeated_and_a_post_is_not() {
    let broken = Reply::Raw(b"");
    let web = Web::start(vec![broken.clone(), broken.clone(), ok("")]).await;
    let mut given = http(&web);
    given["timeout"] = json!(10);
    let open = Open::new::<HttpPower>(given).await;
    open.call("off").await.unwrap();
    assert_eq!(web.asked().len(), 3);
    drop(web);

    let web = Web::start(vec![broken, ok("")]).await;
    let open = Open::new::<HttpPower>(http(&web)).await;
    let error = open.error("on").await;
    assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
    assert_eq!(web.asked().len(), 1);
}

#[tokio::test]
async fn a_device_that_is_gone_late_or_talks_nonsense_is_told_and_comes_back() {
    let web = Web::start(vec![Reply::Silence, Reply::Raw(b"SSH-2.0-x\r\n\r\n")]).await;
    let port = web.port;
    let given =
        json!({"host": web.host(), "timeout": 0.4, "switching": {"minOffTime": 0, "retries": 0}});
    let open = Open::new::<TasmotaHttpPower>(given).await;
    let late = open.error("on").await;
    assert!(matches!(late, DriverError::Timeout(_)), "{late:?}");
    let wanted = format!(
        "no answer from 127.0.0.1:{port} within 0.4 s; is the device on, and its address right?"
    );
    assert_eq!(late.to_string(), wanted);
    assert!(open.call("state").await.is_err());
    let nonsense = open.error("on").await;
    assert!(
        matches!(nonsense, DriverError::Unavailable(_)),
        "{nonsense:?}"
    );

    drop(web);
    let gone = loop {
        // The listener is closed when its task is gone, a moment later.
        let error = open.error("on").await;
        if error.to_string().contains("cannot connect") {
            break error;
        }
        tokio::task::yield_now().await;
    };
    assert!(matches!(gone, DriverError::Unavailable(_)), "{gone:?}");
    assert!(
        gone.to_string()
            .contains("is the device on, and its address right?"),
        "{gone}"
    );

    let _web = Web::start_at(port, vec![ok(r#"{"POWER":"ON"}"#)]).await;
    open.call("on").await.unwrap();
}

#[tokio::test]
async fn energenie_logs_in_and_switches() {
    let web = Web::start(vec![ok("")]).await;
    let given =
        json!({"host": web.host(), "password": "a b&c", "slot": 3, "switching": {"minOffTime": 0}});
    let open = Open::new::<EnergeniePower>(given).await;
    assert_eq!(open.call("on").await.unwrap(), Value::Null);
    open.call("off").await.unwrap();
    let login = "POST /login.html pw=a+b%26c";
    assert_eq!(
        web.asked(),
        [login, "POST / cte3=1", login, "POST / cte3=0"]
    );
    for request in web.whole() {
        assert!(
            request.contains("Content-Type: application/x-www-form-urlencoded\r\n"),
            "{request}"
        );
    }
    assert_eq!(
        open.call("state").await.unwrap(),
        json!({"on": false, "source": "commanded"})
    );
    let error = open.read().await.unwrap_err();
    assert!(matches!(error, DriverError::Unimplemented(_)), "{error:?}");
}

#[tokio::test]
async fn energenie_takes_its_password_from_a_file() {
    let web = Web::start(vec![ok("")]).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pw");
    std::fs::write(&file, "hunter2\n").unwrap();
    let open = Open::new::<EnergeniePower>(json!({"host": web.host(), "passwordFile": file})).await;
    open.call("on").await.unwrap();
    assert_eq!(
        web.asked(),
        ["POST /login.html pw=hunter2", "POST / cte1=1"]
    );
}

#[tokio::test]
async fn energenie_fails_aloud_unless_told_otherwise() {
    for (strict, status) in [(true, 403), (true, 204), (false, 403)] {
        let web = Web::start(vec![Reply::Text(status, "", String::new())]).await;
        let given = json!({"host": web.host(), "strict": strict});
        let open = Open::new::<EnergeniePower>(given).await;
        assert_eq!(open.call("off").await.is_err(), strict, "{status}");
        // The switch is not sent after a login that failed.
        assert_eq!(web.asked(), ["POST /login.html pw=1"]);
        assert_eq!(open.call("state").await.unwrap()["source"], "unknown");
    }
}

#[tokio::test]
async fn they_keep_the_contract() {
    let web = Web::start(vec![ok("{}")]).await;
    contract::check::<HttpPower>(config(http(&web))).await;
    contract::check::<EnergeniePower>(config(json!({"host": web.host()}))).await;
    contract::check::<ShellyPower>(config(json!({"host": web.host()}))).await;
    contract::check::<TasmotaHttpPower>(config(json!({"host": web.host()}))).await;
}

#[test]
fn mistakes_in_a_config_are_told_by_their_key() {
    fn key<D: Driver>(given: Value) -> String {
        D::check(&config(given)).unwrap_err().key
    }
    let url = |url: &str| json!({"power_on": {"url": "http://a/"}, "power_off": {"url": url}});
    assert_eq!(key::<HttpPower>(url("ftp://a/")), "power_off.url");
    assert_eq!(key::<HttpPower>(url("a")), "power_off.url");
    assert_eq!(
        key::<EnergeniePower>(json!({"host": "", "slot": 1})),
        "host"
    );
    assert_eq!(
        key::<EnergeniePower>(json!({"host": "a", "slot": 5})),
        "slot"
    );
    assert_eq!(
        key::<EnergeniePower>(json!({"host": "a", "timeout": 0})),
        "timeout"
    );
    assert_eq!(
        key::<EnergeniePower>(json!({"host": "a", "password": "x", "passwordFile": "/y"})),
        "passwordFile"
    );
    assert_eq!(
        key::<ShellyPower>(json!({"host": "a", "generation": 3})),
        "generation"
    );
    assert_eq!(key::<TasmotaHttpPower>(json!({"host": "http://a"})), "host");
    assert_eq!(
        key::<TasmotaHttpPower>(json!({"host": "a", "relay": 0})),
        "relay"
    );
    assert_eq!(
        key::<TasmotaHttpPower>(json!({"host": "a", "switching": {"minOffTime": 61}})),
        "switching.minOffTime"
    );
}
