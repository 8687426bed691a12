//! The power switch of programs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod rig;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use rig::{Open, config};
use rigd_driver::{Driver, DriverError, contract};
use rigd_drivers_power::CommandPower;
use rustix::process::{Pid, test_kill_process};
use serde_json::{Value, json};

fn sh(script: &str) -> Value {
    json!(["/bin/sh", "-c", script])
}

fn log(dir: &Path, word: &str) -> Value {
    sh(&format!("echo {word} >>{}", dir.join("log").display()))
}

#[tokio::test]
async fn programs_are_run_without_a_shell() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a; b $(c)");
    let open =
        Open::new::<CommandPower>(json!({"turnOn": ["touch", file], "turnOff": ["rm", file]}))
            .await;
    assert_eq!(open.call("on").await.unwrap(), Value::Null);
    assert!(file.exists());
    assert_eq!(
        open.call("state").await.unwrap(),
        json!({"on": true, "source": "commanded"})
    );
    open.call("off").await.unwrap();
    assert!(!file.exists());
    let error = open.error("off").await;
    assert!(matches!(error, DriverError::Device(_)), "{error:?}");
    assert!(
        error
            .to_string()
            .starts_with("rm failed with exit code 1: "),
        "{error}"
    );
}

#[tokio::test]
async fn the_state_is_asked_for_where_there_is_a_way() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state");
    let given = json!({
        "turnOn": sh(&format!("echo on >{}", file.display())),
        "turnOff": ["/bin/true"],
        "state": ["cat", file],
        "read": ["echo", "{\"voltage\": 5.1, \"current\": 0.4}"],
    });
    let open = Open::new::<CommandPower>(given).await;
    open.call("on").await.unwrap();
    assert_eq!(
        open.call("state").await.unwrap(),
        json!({"on": true, "source": "device"})
    );
    assert_eq!(
        open.read().await.unwrap(),
        json!({"voltage": 5.1, "current": 0.4})
    );
    let error = open.error("off").await.to_string();
    assert!(
        error.ends_with("was told to switch off and reports that it is on"),
        "{error}"
    );
    fs::write(&file, "maybe").unwrap();
    let error = open.error("state").await.to_string();
    assert_eq!(error, "cat printed \"maybe\" instead of on or off");
}

#[tokio::test]
async fn the_whole_group_is_killed_at_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let script = format!("sleep 100 & echo $$ $! >{}; wait", pids.display());
    let open = Open::new::<CommandPower>(
        json!({"turnOn": sh(&script), "turnOff": ["/bin/true"], "timeout": 0.5}),
    )
    .await;
    let error = open.error("on").await;
    assert!(matches!(error, DriverError::Timeout(_)), "{error:?}");
    let pids = fs::read_to_string(&pids).unwrap();
    for pid in pids.split_whitespace() {
        gone(pid.parse().unwrap());
    }
    open.call("off").await.unwrap();
}

/// Until the process is gone; orphans are reaped by init.
fn gone(pid: i32) {
    let end = Instant::now() + Duration::from_secs(10);
    let alive = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        test_kill_process(Pid::from_raw(pid).unwrap()).is_ok() && !stat.contains(") Z ")
    };
    while alive() {
        assert!(Instant::now() < end, "process {pid} lives on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn secrets_come_by_the_environment_and_nothing_else_of_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let (secret, out) = (dir.path().join("secret"), dir.path().join("out"));
    fs::write(&secret, "hunter2\n").unwrap();
    let given = json!({
        "turnOn": sh(&format!("env >{}; tr '\\0' ' ' </proc/$$/cmdline >>{}", out.display(), out.display())),
        "turnOff": ["/bin/true"],
        "env": {"PDU": "pdu-1"},
        "envFiles": {"PDU_PASSWORD": secret},
    });
    let open = Open::new::<CommandPower>(given).await;
    open.call("on").await.unwrap();
    let env = fs::read_to_string(&out).unwrap();
    assert!(
        env.contains("PDU=pdu-1\n") && env.contains("PDU_PASSWORD=hunter2\n"),
        "{env}"
    );
    // Cargo sets many of these for the test, and none of them gets through.
    assert!(!env.contains("CARGO"), "{env}");
    assert_eq!(env.matches("hunter2").count(), 1, "{env}");
}

#[tokio::test]
async fn a_program_that_is_not_there_or_leaves_something_behind() {
    let dir = tempfile::tempdir().unwrap();
    let given = json!({"turnOn": ["/nonexistent/program"], "turnOff": sh("sleep 100 & echo $! >&2; exit 3")});
    let open = Open::new::<CommandPower>(given).await;
    let error = open.error("on").await.to_string();
    assert!(
        error.starts_with("/nonexistent/program: cannot be started: "),
        "{error}"
    );
    // Its output stays open, and the call ends all the same.
    let error = open.error("off").await.to_string();
    let (start, pid) = error.split_once("exit code 3: ").unwrap();
    assert_eq!(start, "/bin/sh failed with ");
    let pid = Pid::from_raw(pid.trim_matches('"').parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    drop(dir);
}

#[tokio::test]
async fn a_flood_of_output_is_cut() {
    let script = "head -c 3000000 /dev/zero | tr '\\0' x; exit 1";
    let open =
        Open::new::<CommandPower>(json!({"turnOn": sh(script), "turnOff": ["/bin/true"]})).await;
    let error = open.error("on").await.to_string();
    assert!(error.len() < 400, "{}", error.len());
}

#[tokio::test]
async fn programs_of_one_device_run_one_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let lock = dir.path().join("lock");
    // Fails when another one is inside.
    let script = format!("mkdir {0} && sleep 0.05 && rmdir {0}", lock.display());
    let given = json!({"turnOn": sh(&script), "turnOff": ["/bin/true"], "device": "test-pdu"});
    let mut opens = Vec::new();
    for _ in 0..4 {
        opens.push(Open::new::<CommandPower>(given.clone()).await);
    }
    let calls = opens.iter().map(|open| open.call("on"));
    for outcome in futures::future::join_all(calls).await {
        outcome.unwrap();
    }
}

#[tokio::test]
async fn it_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let given = json!({"turnOn": log(dir.path(), "on"), "turnOff": log(dir.path(), "off")});
    contract::check::<CommandPower>(config(given)).await;
    assert!(!dir.path().join("log").exists());
    let wrong: Value = json!({"turnOn": [], "turnOff": ["/bin/true"]});
    assert_eq!(
        CommandPower::check(&config(wrong)).unwrap_err().key,
        "turnOn"
    );
    let wrong: Value = json!({"turnOn": ["a"], "turnOff": ["b"], "envFiles": {"X": "relative"}});
    assert_eq!(
        CommandPower::check(&config(wrong)).unwrap_err().key,
        "envFiles"
    );
}
