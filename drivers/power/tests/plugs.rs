//! Plugs of the shelf over HTTP: Shelly and Tasmota, each against a recorder on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod rig;

use rig::{Open, Reply, Web, ok};
use rigd_driver::DriverError;
use rigd_drivers_power::{ShellyPower, TasmotaHttpPower};
use serde_json::json;

#[tokio::test]
async fn shelly_of_the_first_generation() {
    let status = json!({"emeters": [{"voltage": 231.0, "current": 0.5}]}).to_string();
    let plan = vec![
        ok(r#"{"ison":true}"#),
        ok(r#"{"ison":false}"#),
        ok(&status),
        ok(r#"{"ison":true}"#),
    ];
    let web = Web::start(plan).await;
    let given = json!({"host": web.host(), "generation": 1, "password": "pw", "switching": {"minOffTime": 0}});
    let open = Open::new::<ShellyPower>(given).await;
    open.call("on").await.unwrap();
    assert_eq!(
        open.call("state").await.unwrap(),
        json!({"on": false, "source": "device"})
    );
    assert_eq!(
        open.read().await.unwrap(),
        json!({"voltage": 231.0, "current": 0.5})
    );
    let error = open.error("off").await;
    assert!(matches!(error, DriverError::Device(_)), "{error:?}");
    let wanted = format!(
        "{} was told to switch off and reports that it is on",
        web.host()
    );
    assert_eq!(error.to_string(), wanted);
    let wanted = [
        "GET /relay/0?turn=on",
        "GET /relay/0",
        "GET /status",
        "GET /relay/0?turn=off",
    ];
    assert_eq!(web.asked(), wanted);
    assert!(web.whole()[0].contains("Authorization: Basic YWRtaW46cHc=\r\n"));
}

#[tokio::test]
async fn shelly_of_the_second_generation_with_a_digest() {
    let challenge = "WWW-Authenticate: Digest qop=\"auth\", realm=\"shellyplus1-a8\", nonce=\"60dc2c69\", algorithm=SHA-256\r\n";
    let refused = Reply::Text(401, challenge, String::new());
    let status = ok(r#"{"id":1,"output":true,"voltage":229.9,"current":0.1}"#);
    let plan = vec![
        refused.clone(),
        ok(r#"{"was_on":false}"#),
        refused,
        status.clone(),
        status,
    ];
    let web = Web::start(plan).await;
    let given = json!({"host": web.host(), "output": 1, "password": "pw"});
    let open = Open::new::<ShellyPower>(given).await;
    open.call("on").await.unwrap();
    assert_eq!(
        open.read().await.unwrap(),
        json!({"voltage": 229.9, "current": 0.1})
    );
    let set = "GET /rpc/Switch.Set?id=1&on=true";
    let get = "GET /rpc/Switch.GetStatus?id=1";
    assert_eq!(web.asked(), [set, set, get, get, get]);
    let second = &web.whole()[1];
    let wanted = "username=\"admin\", realm=\"shellyplus1-a8\", nonce=\"60dc2c69\", uri=\"/rpc/Switch.Set?id=1&on=true\"";
    assert!(second.contains(wanted), "{second}");
}

#[tokio::test]
async fn shelly_with_a_wrong_password_or_generation() {
    let challenge =
        "WWW-Authenticate: Digest qop=\"auth\", realm=\"r\", nonce=\"n\", algorithm=SHA-256\r\n";
    let web = Web::start(vec![Reply::Text(401, challenge, String::new())]).await;
    let open = Open::new::<ShellyPower>(json!({"host": web.host(), "password": "pw"})).await;
    let error = open.error("on").await.to_string();
    assert!(error.ends_with("; are user and password right?"), "{error}");
    assert_eq!(web.asked().len(), 2);

    let web = Web::start(vec![ok("{}")]).await;
    let open = Open::new::<ShellyPower>(json!({"host": web.host(), "generation": 1})).await;
    let error = open.error("on").await.to_string();
    assert!(
        error.ends_with("does `generation` fit the device?"),
        "{error}"
    );
}

#[tokio::test]
async fn tasmota_over_http() {
    let energy =
        json!({"StatusSNS": {"ENERGY": {"Voltage": 230, "Current": [0.1, 0.2]}}}).to_string();
    let plan = vec![
        ok(r#"{"POWER2":"ON"}"#),
        ok(r#"{"POWER2":"OFF"}"#),
        ok(&energy),
        ok(r#"{"Command":"Unknown"}"#),
    ];
    let web = Web::start(plan).await;
    let given =
        json!({"host": web.host(), "relay": 2, "password": "a b", "switching": {"minOffTime": 0}});
    let open = Open::new::<TasmotaHttpPower>(given).await;
    open.call("on").await.unwrap();
    assert_eq!(
        open.call("state").await.unwrap(),
        json!({"on": false, "source": "device"})
    );
    assert_eq!(
        open.read().await.unwrap(),
        json!({"voltage": 230.0, "current": 0.2})
    );
    let error = open.error("off").await.to_string();
    assert!(error.contains("there must be such a relay"), "{error}");
    assert!(!error.contains("a%20b"), "{error}");
    let with = "GET /cm?user=admin&password=a%20b&cmnd=";
    let wanted =
        ["Power2%20On", "Power2", "Status%2010", "Power2%20Off"].map(|c| format!("{with}{c}"));
    assert_eq!(web.asked(), wanted);
}

#[tokio::test]
async fn tasmota_refuses_with_a_warning() {
    let web = Web::start(vec![ok(
        r#"{"WARNING":"Need user=<username>&password=<password>"}"#,
    )])
    .await;
    let error = Open::new::<TasmotaHttpPower>(json!({"host": web.host()}))
        .await
        .error("on")
        .await;
    assert!(
        error.to_string().contains("are user and password right?"),
        "{error}"
    );
}
