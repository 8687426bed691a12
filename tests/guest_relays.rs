//! The daemon on relay boards and hubs that are emulated down to the wire, behind the kernel's own USB
//! drivers, in a QEMU guest: the exact bytes that each one is sent.
//!
//! Needs x86_64, QEMU and the kernel's packages (`tests/setup-debian`); says `SKIPPED` without.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

#[path = "guest/rig.rs"]
mod rig;
mod support;

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rig::{Guest, Hardware, STEP_LIMIT};
use rigd_client::{Code, Error, Exporter};
use serde_json::{Value, json};
use support::{python::venv, repository};

const USB: &[&str] = &[
    "noyito=noyito,bus=0",
    "board=hid-relay,bus=0,serial=HW341",
    "board2=hid-relay,bus=0,serial=HW342",
    "ykush=ykush,bus=0,serial=YK21245",
    "hub=hub,usb3=1,bus=6",
    "ganged=hub,power=ganged,serial=GANGED,bus=5",
];

#[tokio::test(flavor = "multi_thread")]
async fn relay_boards() {
    let hardware = Hardware {
        usb: USB,
        hub: Some("8M"),
        ..Hardware::default()
    };
    let Some(mut guest) = Guest::boot(&hardware) else {
        return;
    };
    guest.until("node GUEST0000 \"$disk\"");
    let file = repository().join("tests/guest/exporters/relays.yaml");
    let exporter = guest.serve(&file).await;

    a_ykush_gets_its_reports(&guest, &exporter).await;
    a_noyito_board_gets_its_frames(&guest, &exporter).await;
    relay_boards_are_told_apart_by_their_number(&guest, &exporter).await;
    both_halves_of_a_socket_are_switched(&guest, &exporter).await;
    a_hub_with_a_stick_keeps_its_port_off(&mut guest, &exporter).await;
    what_cannot_be_switched_says_why(&exporter).await;
    the_released_client_drives_them(&guest);
    a_board_that_does_not_answer_costs_itself(&guest, &exporter).await;
    a_board_is_pulled_in_a_call_and_comes_back(&guest, &exporter).await;
    guest.stop();
}

/// Reports that it was sent since `seen` of them, shortened to what is not 0 at their ends.
fn reports(guest: &Guest, name: &str, seen: &mut usize) -> Vec<String> {
    let all = guest.usb(name).texts("report", "data");
    let new = all[*seen..].iter().map(|hex| {
        let short = hex.trim_end_matches("00");
        format!("{short:0<width$}", width = short.len().next_multiple_of(2))
    });
    let new = new.collect();
    *seen = all.len();
    new
}

async fn a_ykush_gets_its_reports(guest: &Guest, exporter: &Exporter) {
    let ykush = guest.usb("ykush");
    // Off at the start of the lease, and a look whether it is.
    ykush.wait("look at the port", |events| {
        events.iter().filter(|e| e["event"] == "report").count() >= 2
    });
    let mut seen = 0;
    assert_eq!(reports(guest, "ykush", &mut seen), ["02", "22"]);
    assert!(
        ykush
            .texts("report", "data")
            .iter()
            .all(|hex| hex.len() == 128)
    );
    assert_eq!(ykush.state()["on"], json!([true, false, true]));
    on_and_off(exporter, "ykush").await;
    assert_eq!(reports(guest, "ykush", &mut seen), ["12", "22", "02", "22"]);
    let state = call(exporter, "ykush", "state").await.unwrap();
    assert_eq!(state, json!({"on": false, "source": "device"}));
    on_and_off(exporter, "ykush_all").await;
    reports(guest, "ykush", &mut seen);
    assert_eq!(ykush.state()["on"], json!([false, false, false]));
}

async fn a_noyito_board_gets_its_frames(guest: &Guest, exporter: &Exporter) {
    let mut seen = 0;
    on_and_off(exporter, "noyito").await;
    call(exporter, "noyito", "on").await.unwrap();
    assert_eq!(
        reports(guest, "noyito", &mut seen),
        ["a00301a4", "a00300a3", "a00301a4"]
    );
    let noyito = guest.usb("noyito");
    assert_eq!(noyito.state()["on"], json!([false, false, true, false]));
    for (device, word) in [("noyito", "on"), ("noyito_all", "partial")] {
        assert_eq!(call(exporter, device, "status").await.unwrap(), json!(word));
    }
    call(exporter, "noyito_all", "off").await.unwrap();
    assert_eq!(
        call(exporter, "noyito", "status").await.unwrap(),
        json!("off")
    );
}

async fn relay_boards_are_told_apart_by_their_number(guest: &Guest, exporter: &Exporter) {
    on_and_off(exporter, "board").await;
    call(exporter, "other_board", "on").await.unwrap();
    assert_eq!(reports(guest, "board", &mut 0), ["ff02", "fd02"]);
    assert_eq!(reports(guest, "board2", &mut 0), ["ff01"]);
    assert_eq!(guest.usb("board2").state()["on"], json!([true, false]));
    let state = call(exporter, "other_board", "state").await.unwrap();
    assert_eq!(state, json!({"on": true, "source": "device"}));
}

async fn both_halves_of_a_socket_are_switched(guest: &Guest, exporter: &Exporter) {
    let halves = [guest.usb("hub"), guest.usb("hub.3")];
    for (method, on) in [("off", false), ("on", true)] {
        call(exporter, "port", method).await.unwrap();
        for half in &halves {
            assert_eq!(half.state()["power"], json!([true, on, true, true]));
        }
    }
}

/// QEMU's hub keeps what is behind a port without power, and reports no change: this shows that the
/// hub takes the requests with something plugged in, and that the port stays as it was told.
async fn a_hub_with_a_stick_keeps_its_port_off(guest: &mut Guest, exporter: &Exporter) {
    let status = "guest-io control 0409:55aa a3 00 00 01 /4";
    assert_eq!(guest.run(status), "03010000");
    call(exporter, "stick", "off").await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(guest.run(status), "00000000");
    let state = call(exporter, "stick", "state").await.unwrap();
    assert_eq!(state, json!({"on": false, "source": "device"}));
    call(exporter, "stick", "on").await.unwrap();
    guest.until("dd if=$(node GUEST0000 \"$disk\") bs=512 count=1 iflag=direct of=/dev/null 2>&1");
}

async fn what_cannot_be_switched_says_why(exporter: &Exporter) {
    let error = call(exporter, "ganged", "off").await.unwrap_err();
    let text = "switches all of its ports together";
    assert!(refused(&error, Code::Unavailable, text), "{error}");
    let error = call(exporter, "missing", "on").await.unwrap_err();
    assert!(refused(&error, Code::Unavailable, "YK0"), "{error}");
}

fn the_released_client_drives_them(guest: &Guest) {
    let Some(venv) = venv() else { return };
    let script = "
from jumpstarter.utils.env import env
with env() as client:
    client.ykush.on()
    client.ykush.off()
    client.board.cycle(wait=0)
    client.port.off()
    client.port.on()
    print('done', flush=True)
";
    let before = guest.usb("ykush").texts("report", "data").len();
    let client = Command::new(venv.python())
        .args(["-c", script])
        .env("JUMPSTARTER_HOST", &guest.address)
        .env("JMP_GRPC_INSECURE", "1")
        .env("JMP_DRIVERS_ALLOW", "UNSAFE")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env_remove("http_proxy")
        .env_remove("https_proxy")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&client.stdout);
    let wrong = String::from_utf8_lossy(&client.stderr);
    assert!(
        said.contains("done"),
        "{said}{wrong}\n{}",
        guest.stderr.text()
    );
    let mut seen = before;
    assert_eq!(reports(guest, "ykush", &mut seen), ["12", "22", "02", "22"]);
    assert_eq!(guest.usb("board").state()["on"], json!([false, true]));
}

async fn a_board_that_does_not_answer_costs_itself(guest: &Guest, exporter: &Exporter) {
    let ykush = guest.usb("ykush");
    ykush.stall();
    let began = Instant::now();
    let (stuck, other) = tokio::join!(
        call(exporter, "ykush", "on"),
        call(exporter, "board", "off")
    );
    other.unwrap();
    let error = stuck.unwrap_err();
    assert_eq!(error.code(), Some(Code::DeadlineExceeded), "{error}");
    assert!(began.elapsed() < STEP_LIMIT);
    ykush.recover();
    until_ready(exporter, "ykush", "on").await;
}

async fn a_board_is_pulled_in_a_call_and_comes_back(guest: &Guest, exporter: &Exporter) {
    let ykush = guest.usb("ykush");
    ykush.set(json!({"answer": "unplug", "only": "in"}));
    let error = call(exporter, "ykush", "off").await.unwrap_err();
    assert_eq!(error.code(), Some(Code::Unavailable), "{error}");
    call(exporter, "board", "on").await.unwrap();
    ykush.recover();
    ykush.plug();
    until_ready(exporter, "ykush", "off").await;
    assert_eq!(ykush.state()["on"][1], json!(false));
}

async fn on_and_off(exporter: &Exporter, device: &str) {
    for method in ["on", "off"] {
        let done = call(exporter, device, method).await;
        assert_eq!(done.unwrap(), Value::Null, "{device} {method}");
    }
}

async fn call(exporter: &Exporter, device: &str, method: &str) -> Result<Value, Error> {
    let device = exporter.device(device).await.unwrap();
    device.call(method, vec![]).await
}

fn refused(error: &Error, code: Code, text: &str) -> bool {
    error.code() == Some(code) && error.details().is_some_and(|d| d.contains(text))
}

/// An instance that is not ready is tried again when its device comes, or after a while.
async fn until_ready(exporter: &Exporter, device: &str, method: &str) {
    let end = Instant::now() + STEP_LIMIT;
    while let Err(error) = call(exporter, device, method).await {
        assert!(Instant::now() < end, "{device} does not come back: {error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
