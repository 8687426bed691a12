//! Tasmota over MQTT with TLS, against Debian's `mosquitto`.
//!
//! Which certificates are trusted is read from the environment (`SSL_CERT_FILE`), and the environment
//! of a running test must not change: so the test starts itself anew with the one that it needs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod rig;

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    process::Command,
    time::{Duration, Instant},
};

use rig::{
    Open, SOON,
    process::{Server, program},
};
use rigd_driver::Health;
use rigd_drivers_power::TasmotaPower;
use serde_json::{Value, json};

const PORT: &str = "RIGD_TEST_BROKER";

#[test]
fn a_certificate_is_trusted_or_not() {
    let Some(broker) = program("mosquitto", "mosquitto") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("cert.pem"), made.cert.pem()).unwrap();
    fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(path("other.pem"), other.cert.pem()).unwrap();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let text = format!(
        "listener {port} localhost\nallow_anonymous true\ncertfile {0}/cert.pem\nkeyfile {0}/key.pem\n",
        dir.path().display()
    );
    fs::write(path("conf"), text).unwrap();
    // Started by root, mosquitto becomes a user of its own, who has to reach the files.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["key.pem", "cert.pem", "conf"] {
        fs::set_permissions(path(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let _server = Server::start(Command::new(broker).arg("-c").arg(path("conf")));
    for (case, trusted) in [
        ("it_is_trusted", "cert.pem"),
        ("it_is_not_trusted", "other.pem"),
    ] {
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", case, "--ignored", "--nocapture"]);
        again
            .env("SSL_CERT_FILE", path(trusted))
            .env_remove("SSL_CERT_DIR");
        let output = again.env(PORT, port.to_string()).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{said}"
        );
    }
}

fn tasmota() -> Value {
    let port: u16 = std::env::var(PORT).unwrap().parse().unwrap();
    json!({"host": "localhost", "port": port, "cmnd_topic": "c", "stat_topic": "s"})
}

/// The health, once the broker is up.
async fn health() -> Health {
    let end = Instant::now() + SOON;
    loop {
        let health = Open::new::<TasmotaPower>(tasmota()).await.instance.health();
        match &health {
            Health::Absent(why) if why.contains("Connection refused") => {}
            _ => return health,
        }
        assert!(Instant::now() < end, "{health:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
#[ignore = "run by a_certificate_is_trusted_or_not"]
async fn it_is_trusted() {
    assert_eq!(health().await, Health::Ready);
}

#[tokio::test]
#[ignore = "run by a_certificate_is_trusted_or_not"]
async fn it_is_not_trusted() {
    let Health::Absent(why) = health().await else {
        panic!("a certificate that nobody trusts");
    };
    assert!(why.contains("certificate"), "{why}");
}
