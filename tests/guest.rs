//! The daemon on simulated hardware behind real kernel interfaces: in a QEMU guest with gpio-sim,
//! served to clients on the host. Reads its lines back from the other side.
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
    future::Future,
    io::{BufRead, BufReader, Write as _},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rig::{Guest, Hardware, STEP_LIMIT};
use rigd_client::{Code, Error, Exporter};
use serde_json::Value;
use support::{python::venv, repository};

const GPIO: &[&str] = &[
    "relays=relay1,strap,fan,led,taken",
    "buttons=button",
    "usb-relay=usb1",
];

/// One boot for all of it: each one costs as much as all the steps together.
#[tokio::test(flavor = "multi_thread")]
async fn gpio() {
    let Some(mut guest) = Guest::boot(&Hardware {
        gpio: GPIO,
        ..Hardware::default()
    }) else {
        return;
    };
    trace_lines(&mut guest);
    take_a_line(&mut guest);
    let file = repository().join("tests/guest/exporters/gpio.yaml");
    let exporter = guest.serve(&file).await;

    lines_have_their_initial_value_at_once(&mut guest);
    relays_switch(&mut guest, &exporter).await;
    what_cannot_be_taken_says_why(&mut guest, &exporter).await;
    waits_end_with_their_edge(&mut guest, &exporter).await;
    a_wait_holds_up_nobody(&mut guest, &exporter).await;
    a_chip_is_pulled_and_comes_back(&mut guest, &exporter).await;
    the_released_client_drives_all_of_it(&mut guest);
    guest.stop();
}

/// The kernel tells each value that a line is given.
fn trace_lines(guest: &mut Guest) {
    guest.run("busybox mount -t debugfs d /sys/kernel/debug");
    guest.run("echo 1 >/sys/kernel/debug/tracing/events/gpio/gpio_value/enable");
}

/// Physical levels that line `offset` of the first chip was given since the last look.
fn traced(guest: &mut Guest, offset: u32) -> Vec<String> {
    let chips = guest.run("grep gpiochip0: /sys/kernel/debug/gpio");
    let base = chips
        .split("GPIOs ")
        .nth(1)
        .and_then(|t| t.split('-').next());
    let number = base.unwrap().parse::<u32>().unwrap() + offset;
    let trace = guest.run("cat /sys/kernel/debug/tracing/trace");
    let mark = format!("gpio_value: {number} set ");
    let values = trace.lines().filter_map(|line| line.split(&mark).nth(1));
    values.map(str::to_owned).collect()
}

fn take_a_line(guest: &mut Guest) {
    guest.run("exec 3< <(exec hold-line /dev/gpiochip0 4 flasher); holder=$!; read -r _ <&3");
}

fn lines_have_their_initial_value_at_once(guest: &mut Guest) {
    for (offset, name, raw) in [(0, "relay1", "0"), (1, "strap", "0"), (2, "fan", "1")] {
        assert_eq!(guest.run(&format!("guest-gpio get {name}")), raw);
        // Once with the request, and once at the lease's start.
        let given = traced(guest, offset);
        let right = !given.is_empty() && given.iter().all(|level| level == raw);
        assert!(right, "{name} was given {given:?}");
    }
}

async fn relays_switch(guest: &mut Guest, exporter: &Exporter) {
    for (device, line, on) in [
        ("relay", "relay1", "1"),
        ("strap", "strap", "0"),
        ("fan", "fan", "1"),
    ] {
        let off = if on == "1" { "0" } else { "1" };
        for (method, raw, reads) in [("off", off, 0), ("on", on, 1), ("off", off, 0)] {
            call(exporter, device, method, vec![]).await.unwrap();
            assert_eq!(
                guest.run(&format!("guest-gpio get {line}")),
                raw,
                "{device} {method}"
            );
            let read = call(exporter, device, "read_pin", vec![]).await.unwrap();
            assert_eq!(read, Value::from(reads), "{device} {method}");
        }
    }
    let told = "line 0 (relay1) on() -> pin reads: active";
    let seen = guest.stderr.wait(STEP_LIMIT, |line| line.contains(told));
    assert!(seen.is_some(), "{}", guest.stderr.text());
}

async fn what_cannot_be_taken_says_why(guest: &mut Guest, exporter: &Exporter) {
    let error = call(exporter, "misspelt", "on", vec![]).await.unwrap_err();
    let text = "gpiochip0 (relays) has no line called \"realy1\" (did you mean \"relay1\"?)";
    assert!(refused(&error, Code::Unavailable, text), "{error}");

    let error = call(exporter, "taken", "on", vec![]).await.unwrap_err();
    let text = "line 4 (\"taken\") of gpiochip0 (relays) is held by \"flasher\"";
    assert!(refused(&error, Code::Unavailable, text), "{error}");
    guest.run("kill $holder; exec 3<&-");
    until_ready(exporter, "taken", "on").await;
    assert_eq!(guest.run("guest-gpio get taken"), "1");

    // Ours are busy for others, who read whose they are.
    let said = guest.run("hold-line /dev/gpiochip0 0 other 2>&1 || :");
    assert_eq!(said, "Device or resource busy: rigd gpio/relay");
}

async fn waits_end_with_their_edge(guest: &mut Guest, exporter: &Exporter) {
    let button = |method, args| call(exporter, "button", method, args);
    assert_eq!(button("read_pin", vec![]).await.unwrap(), Value::from(0));
    button("wait_for_inactive", vec![Value::Null])
        .await
        .unwrap();

    // Each one begins before its edge, and one of before does not count.
    for (method, args, level) in [
        ("wait_for_active", vec![Value::Null], "1"),
        ("wait_for_inactive", vec![Value::from(20.0)], "0"),
        ("wait_for_edge", vec!["rising".into(), Value::Null], "1"),
        ("wait_for_edge", vec!["falling".into(), Value::from(0)], "0"),
    ] {
        pressed_in_between(guest, button(method, args.clone()), level).await;
    }
    let error = button("wait_for_edge", vec!["rising".into(), Value::from(0.2)])
        .await
        .unwrap_err();
    let text = "Timed out waiting for line 0 edge event";
    assert!(refused(&error, Code::DeadlineExceeded, text), "{error}");
    let error = button("wait_for_edge", vec!["up".into(), Value::Null])
        .await
        .unwrap_err();
    assert!(
        refused(&error, Code::InvalidArgument, "Invalid edge type: up"),
        "{error}"
    );
}

/// The line changes while the call waits; it must not be over before.
async fn pressed_in_between(
    guest: &mut Guest,
    wait: impl Future<Output = Result<Value, Error>>,
    level: &str,
) {
    let mut wait = std::pin::pin!(wait);
    let early = tokio::time::timeout(Duration::from_millis(500), &mut wait).await;
    assert!(early.is_err(), "{early:?} before the edge to {level}");
    tokio::task::block_in_place(|| guest.run(&format!("guest-gpio set button {level}")));
    let ended = tokio::time::timeout(STEP_LIMIT, wait).await;
    ended.expect("the wait ends with its edge").unwrap();
}

async fn a_wait_holds_up_nobody(guest: &mut Guest, exporter: &Exporter) {
    let button = exporter.device("button").await.unwrap();
    let waiting = async { button.call("wait_for_active", vec![Value::Null]).await };
    {
        let mut waiting = std::pin::pin!(waiting);
        let early = tokio::time::timeout(Duration::from_millis(300), &mut waiting).await;
        assert!(early.is_err(), "{early:?}");
        let read = call(exporter, "button", "read_pin", vec![]).await.unwrap();
        assert_eq!(read, Value::from(0));
        call(exporter, "relay", "off", vec![]).await.unwrap();
        // Here the client goes.
    }
    pressed_in_between(
        guest,
        button.call("wait_for_active", vec![Value::Null]),
        "1",
    )
    .await;
    guest.run("guest-gpio set button 0");
}

async fn a_chip_is_pulled_and_comes_back(guest: &mut Guest, exporter: &Exporter) {
    call(exporter, "pluggable", "off", vec![]).await.unwrap();
    guest.run("guest-gpio unplug usb-relay");
    // The kernel says so: nobody had to call. It is looked for again at once, by its label.
    let told = "no GPIO chip has the label or name";
    let seen = guest.stderr.wait(STEP_LIMIT, |line| line.contains(told));
    assert!(seen.is_some(), "{}", guest.stderr.text());
    let error = call(exporter, "pluggable", "on", vec![]).await.unwrap_err();
    assert!(
        refused(&error, Code::Unavailable, "pluggable is absent"),
        "{error}"
    );
    call(exporter, "relay", "on", vec![]).await.unwrap();

    guest.run("guest-gpio plug usb-relay usb1");
    until_ready(exporter, "pluggable", "read_pin").await;
    assert_eq!(guest.run("guest-gpio get usb1"), "1", "its initial value");
    call(exporter, "pluggable", "off", vec![]).await.unwrap();
    assert_eq!(guest.run("guest-gpio get usb1"), "0");
}

/// `tests/guest/client.py` says what it did, and goes on when that was seen.
fn the_released_client_drives_all_of_it(guest: &mut Guest) {
    let Some(venv) = venv() else { return };
    let mut client = Command::new(venv.python())
        .arg(repository().join("tests/guest/client.py"))
        .env("JUMPSTARTER_HOST", &guest.address)
        .env("JMP_GRPC_INSECURE", "1")
        .env("JMP_DRIVERS_ALLOW", "UNSAFE")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env_remove("http_proxy")
        .env_remove("https_proxy")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut answer = client.stdin.take().unwrap();
    let said = BufReader::new(client.stdout.take().unwrap());
    let mut steps = Vec::new();
    for line in said.lines() {
        // The client prints the daemon's log as well.
        let line = line.unwrap();
        let Some(step) = line.strip_prefix("step: ") else {
            continue;
        };
        match step {
            "relay on" | "relay on again" => assert_eq!(guest.run("guest-gpio get relay1"), "1"),
            "relay off" => assert_eq!(guest.run("guest-gpio get relay1"), "0"),
            "led on" => assert_eq!(guest.run("guest-gpio get led"), "1"),
            "press" => drop(guest.run("guest-gpio set button 1")),
            "release" => drop(guest.run("guest-gpio set button 0")),
            _ => {}
        }
        if step != "done" {
            writeln!(answer).unwrap();
        }
        steps.push(step.to_owned());
    }
    let status = client.wait().unwrap();
    let wanted = [
        "relay on",
        "relay on again",
        "relay off",
        "led on",
        "press",
        "release",
        "done",
    ];
    assert!(
        status.success() && steps == wanted,
        "{status} after {steps:?}:\n{}",
        guest.stderr.text()
    );
}

async fn call(
    exporter: &Exporter,
    device: &str,
    method: &str,
    args: Vec<Value>,
) -> Result<Value, Error> {
    exporter
        .device(device)
        .await
        .unwrap()
        .call(method, args)
        .await
}

fn refused(error: &Error, code: Code, text: &str) -> bool {
    error.code() == Some(code) && error.details().is_some_and(|d| d.contains(text))
}

/// An instance that is not ready is tried again after a second and more.
async fn until_ready(exporter: &Exporter, device: &str, method: &str) {
    let end = Instant::now() + STEP_LIMIT;
    loop {
        match call(exporter, device, method, vec![]).await {
            Ok(_) => return,
            Err(error) if error.code() == Some(Code::Unavailable) && Instant::now() < end => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => panic!("{device} does not come back: {error}"),
        }
    }
}
