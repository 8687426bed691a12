//! Consoles on emulated FTDI adapters, which record what the kernel's driver sets: speed, format,
//! breaks, modem lines; and which are pulled in a session.

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
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rig::{Guest, Hardware, STEP_LIMIT, emulated::Usb};
use rigd_client::{ByteChannel, Exporter};
use serde_json::{Value, json};
use support::repository;
use tokio::time::timeout;

/// One boot for all of it: each one costs as much as all the steps together.
#[tokio::test(flavor = "multi_thread")]
async fn consoles() {
    let hardware = Hardware {
        usb: &["console=ftdi,serial=FT1", "gentle=ftdi,serial=FT2"],
        ..Hardware::default()
    };
    let Some(mut guest) = Guest::boot(&hardware) else {
        return;
    };
    guest.until("node FT1 'ttyUSB*' && node FT2 'ttyUSB*'");
    let file = repository().join("tests/guest/exporters/console.yaml");
    let exporter = guest.serve(&file).await;
    let (console, gentle) = (guest.usb("console"), guest.usb("gentle"));

    the_line_is_set_as_configured(&console, &gentle);
    data_goes_both_ways(&exporter, &console).await;
    a_lease_sets_it_otherwise(&exporter, &console).await;
    what_the_adapter_refuses_changes_nothing(&exporter, &console).await;
    nothing_but_clients_moves_the_modem_lines(&exporter, &console).await;
    a_pulled_adapter_is_a_gap(&exporter, &console).await;
    stop(guest, &gentle);
}

fn the_line_is_set_as_configured(console: &Usb, gentle: &Usb) {
    set_to(console, 115_200);
    assert_eq!(format(console), (json!(8), json!("N"), json!(1)));
    // The kernel raises both when it opens the port, and nobody moves them.
    assert_eq!(console.values("dtr", "on"), [true]);
    assert_eq!(console.values("rts", "on"), [true]);
    set_to(gentle, 9600);
    assert_eq!(format(gentle), (json!(7), json!("E"), json!(2)));
    // The one pulse at the start of the daemon.
    assert_eq!(gentle.values("dtr", "on"), [true, false]);
    assert_eq!(gentle.values("rts", "on"), [true, false]);
}

/// The chip divides 3 MHz in eighths, so what it sets is near what it is told.
#[track_caller]
fn set_to(console: &Usb, baudrate: u64) {
    let rate = last(console, "baud", "rate").as_u64().unwrap();
    assert!(rate.abs_diff(baudrate) * 100 <= baudrate, "{rate}");
}

async fn data_goes_both_ways(exporter: &Exporter, console: &Usb) {
    let mut board = console.board();
    let mut stream = open(exporter, "console").await;
    let all: Vec<u8> = (0..=255).collect();
    stream.send(Bytes::from(all.clone())).await.unwrap();
    assert_eq!(heard(&mut board, 256), all);
    board.write_all(&all).unwrap();
    assert_eq!(read(&mut stream, |seen| seen.len() >= 256).await, all);
}

async fn a_lease_sets_it_otherwise(exporter: &Exporter, console: &Usb) {
    call(exporter, "set_baudrate", json!(1_500_000)).await;
    set_to(console, 1_500_000);
    call(exporter, "set_format", json!("7E2")).await;
    assert_eq!(format(console), (json!(7), json!("E"), json!(2)));
    call(exporter, "set_flow_control", json!("rtscts")).await;
    assert_eq!(last(console, "flow", "control"), json!("rts_cts"));
    call(exporter, "set_flow_control", json!("xonxoff")).await;
    call(exporter, "set_flow_control", json!("none")).await;
    assert_eq!(last(console, "flow", "control"), json!("none"));
    let started = Instant::now();
    call(exporter, "send_break", json!(300)).await;
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert_eq!(console.values("break", "on"), [true, false]);
    call(exporter, "set_format", json!("8N1")).await;
    call(exporter, "set_baudrate", json!(115_200)).await;
}

async fn what_the_adapter_refuses_changes_nothing(exporter: &Exporter, console: &Usb) {
    let device = exporter.device("console").await.unwrap();
    let refused = device.call("set_baudrate", vec![json!(5_000_000)]).await;
    let error = refused.unwrap_err().to_string();
    assert!(
        error.contains(" does not do 5000000 baud; it offers "),
        "{error}"
    );
    let refused = device.call("set_format", vec![json!("6N1")]).await;
    let error = refused.unwrap_err().to_string();
    assert!(error.contains(" does not do 6 data bits"), "{error}");
    set_to(console, 115_200);
    assert_eq!(format(console), (json!(8), json!("N"), json!(1)));
    let settings = device.call("get_settings", vec![]).await.unwrap();
    assert_eq!(settings["baudrate"], 115_200);
    let mut board = console.board();
    let mut stream = open(exporter, "console").await;
    board.write_all(b"still here").unwrap();
    let seen = read(&mut stream, |seen| seen.len() >= 10).await;
    assert_eq!(seen, b"still here");
}

async fn nothing_but_clients_moves_the_modem_lines(exporter: &Exporter, console: &Usb) {
    let before = lines(console);
    for _ in 0..3 {
        drop(open(exporter, "console").await);
    }
    let device = exporter.device("console").await.unwrap();
    device.call("close", vec![]).await.unwrap();
    assert_eq!(lines(console), before, "streams moved them");
    call(exporter, "set_dtr", json!(false)).await;
    call(exporter, "set_rts", json!(false)).await;
    let wanted = [json!({"dtr": false}), json!({"rts": false})];
    assert_eq!(lines(console)[before.len()..], wanted);
    call(exporter, "set_dtr", json!(true)).await;
    call(exporter, "set_rts", json!(true)).await;
}

async fn a_pulled_adapter_is_a_gap(exporter: &Exporter, console: &Usb) {
    let mut stream = open(exporter, "console").await;
    call(exporter, "set_baudrate", json!(57_600)).await;
    console.unplug();
    let ends = |seen: &[u8], end: &str| seen.ends_with(end.as_bytes());
    let lost = read(&mut stream, |s| {
        ends(s, "what is sent now is discarded]\r\n")
    })
    .await;
    let lost = String::from_utf8(lost).unwrap();
    assert!(
        lost.starts_with("\r\n[rigd: usb.serial \"FT1\" was lost: "),
        "{lost}"
    );
    let device = exporter.device("console").await.unwrap();
    let error = device.call("send_break", vec![]).await.unwrap_err();
    assert!(error.to_string().contains(" was lost: "), "{error}");
    stream.send(Bytes::from_static(b"reboot\n")).await.unwrap();
    console.plug();
    let back = read(&mut stream, |s| ends(s, "]\r\n")).await;
    let back = String::from_utf8(back).unwrap();
    assert!(
        back.starts_with("\r\n[rigd: usb.serial \"FT1\" is back after ")
            && back.ends_with(" s; 7 bytes sent meanwhile were discarded]\r\n"),
        "{back}"
    );
    // The session's own speed.
    set_to(console, 57_600);
    let mut board = console.board();
    stream.send(Bytes::from_static(b"help\n")).await.unwrap();
    assert_eq!(heard(&mut board, 5), b"help\n");
    board.write_all(b"U-Boot").unwrap();
    let seen = read(&mut stream, |seen| seen.len() >= 6).await;
    assert_eq!(seen, b"U-Boot");
}

/// The end of the daemon does not move the lines of a board that resets on them.
fn stop(mut guest: Guest, gentle: &Usb) {
    guest.run("kill $rigd && wait $rigd");
    assert_eq!(gentle.values("dtr", "on"), [true, false]);
    assert_eq!(gentle.values("rts", "on"), [true, false]);
    let text = guest.stderr.text();
    assert!(!text.contains("panicked at"), "{text}");
}

async fn open(exporter: &Exporter, device: &str) -> ByteChannel {
    let mut stream = exporter.device(device).await.unwrap().console().open();
    stream.opened().await.unwrap();
    stream
}

async fn call(exporter: &Exporter, method: &str, value: Value) {
    let device = exporter.device("console").await.unwrap();
    let done = timeout(STEP_LIMIT, device.call(method, vec![value]));
    done.await.expect("an answer").unwrap();
}

async fn read(stream: &mut ByteChannel, enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut seen = Vec::new();
    let reading = async {
        while !enough(&seen) {
            let bytes = stream.recv().await.unwrap().expect("the stream goes on");
            seen.extend_from_slice(&bytes);
        }
    };
    let done = timeout(STEP_LIMIT, reading).await;
    assert!(done.is_ok(), "only {:?}", String::from_utf8_lossy(&seen));
    seen
}

fn heard(board: &mut UnixStream, length: usize) -> Vec<u8> {
    let mut heard = vec![0; length];
    board.read_exact(&mut heard).unwrap();
    heard
}

fn last(usb: &Usb, event: &str, key: &str) -> Value {
    usb.values(event, key).pop().unwrap_or_default()
}

fn format(usb: &Usb) -> (Value, Value, Value) {
    let part = |key| last(usb, "format", key);
    (part("bits"), part("parity"), part("stop"))
}

/// Moves of DTR and RTS, in their order.
fn lines(usb: &Usb) -> Vec<Value> {
    let moved = |event: &Value| match event["event"].as_str() {
        Some(line @ ("dtr" | "rts")) => Some(json!({line: event["on"]})),
        _ => None,
    };
    usb.events().iter().filter_map(moved).collect()
}
