//! Consoles behind a demuxer, which a script stands for that makes real pseudo-terminals.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod rig;

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt;
use rig::{expect, send};
use rigd_driver::{
    Blueprint, ByteStream, DriverError, Health, Instance, KeyKind, KeyOwner, contract,
};
use rigd_drivers_serial::{NvDemux, NvDemuxConfig};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// A start of Python on a loaded machine, and a back-off.
const SOON: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// A directory with a demuxer and the device that it is for.
struct Lab(tempfile::TempDir);

impl Lab {
    fn new() -> Self {
        let lab = Self(tempfile::tempdir().unwrap());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rig/demuxer.py");
        symlink(script, lab.path("demuxer")).unwrap();
        lab.write("targets", "BPMP: 0\nCCPLEX: 0\n");
        lab.write("port-if01", "");
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// Its starts: process and arguments.
    fn runs(&self) -> Vec<(i32, String)> {
        let text = fs::read_to_string(self.path("runs")).unwrap_or_default();
        let runs = text.lines().map(|line| {
            let (pid, args) = line.split_once(' ').unwrap();
            (pid.parse().unwrap(), args.to_owned())
        });
        runs.collect()
    }

    fn config(&self, given: &Value) -> NvDemuxConfig {
        let mut all = json!({
            "demuxer_path": self.path("demuxer"),
            "device": self.path("port-*"),
            "poll_interval": 0.1,
        });
        let given = given.as_object().unwrap().clone();
        all.as_object_mut().unwrap().extend(given);
        serde_json::from_value(all).unwrap()
    }

    async fn open(&self, given: Value) -> Open {
        let blueprint = Blueprint::new::<NvDemux>(self.config(&given));
        blueprint.check().unwrap();
        let instance = contract::instance(blueprint, self.0.path(), None);
        instance.start().await;
        Open {
            instance,
            owner: KeyOwner::issue(KeyKind::Client),
        }
    }
}

struct Open {
    instance: Arc<Instance>,
    owner: KeyOwner,
}

impl Open {
    async fn connect(&self) -> Result<ByteStream, DriverError> {
        self.instance.stream(&self.owner.key(), "connect").await
    }

    async fn until(&self, what: &str, wanted: impl Fn(&Health) -> bool) {
        until(what, || wanted(&self.instance.health())).await;
    }
}

/// Neither health nor another process tells by itself.
async fn until(what: &str, met: impl Fn() -> bool) {
    let end = Instant::now() + SOON;
    while !met() {
        assert!(Instant::now() < end, "{what}: not in time");
        tokio::time::sleep(POLL).await;
    }
}

/// Reads until the text has come.
async fn hear(stream: &mut ByteStream, text: &str) {
    let mut seen = String::new();
    while !seen.contains(text) {
        let item = tokio::time::timeout(SOON, stream.reader.next()).await;
        let bytes = item.unwrap_or_else(|_| panic!("no {text:?} in {seen:?}"));
        seen.push_str(&String::from_utf8_lossy(
            &bytes.expect("it goes on").unwrap(),
        ));
    }
}

fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

fn runs(pid: i32) -> bool {
    // A zombie does not.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.starts_with(" Z"))
}

fn faulty(text: &'static str) -> impl Fn(&Health) -> bool {
    move |health| matches!(health, Health::Faulty(why) if why.contains(text))
}

fn absent(text: &'static str) -> impl Fn(&Health) -> bool {
    move |health| matches!(health, Health::Absent(why) if why.contains(text))
}

#[tokio::test]
async fn keeps_the_contract() {
    let lab = Lab::new();
    contract::check::<NvDemux>(lab.config(&json!({}))).await;
}

#[tokio::test]
async fn consoles_of_a_board_share_one_program() {
    let lab = Lab::new();
    // Both come before the demuxer has named anything, and wait.
    let one = lab.open(json!({})).await;
    let other = lab.open(json!({"target": "BPMP: 0"})).await;
    let mut first = one.connect().await.unwrap();
    let mut second = other.connect().await.unwrap();
    send(&mut first, "boot").await;
    expect(&mut first, "CCPLEX: 0: boot").await;
    send(&mut second, "power").await;
    expect(&mut second, "BPMP: 0: power").await;
    let runs = lab.runs();
    let device = lab.path("port-if01");
    let args = format!("-m T264 -d {}", device.display());
    assert_eq!(runs.len(), 1, "{runs:?}");
    assert_eq!(runs[0].1, args);

    // One goes, the other stays; with the last one the program ends.
    one.instance.close().await;
    send(&mut second, "still").await;
    expect(&mut second, "BPMP: 0: still").await;
    other.instance.close().await;
    assert!(!self::runs(runs[0].0));
}

#[tokio::test]
async fn a_program_that_ends_is_started_again_and_streams_go_on() {
    let lab = Lab::new();
    let open = lab.open(json!({})).await;
    let mut stream = open.connect().await.unwrap();
    send(&mut stream, "1").await;
    expect(&mut stream, "CCPLEX: 0: 1").await;
    signal(lab.runs()[0].0, Signal::KILL);
    hear(&mut stream, "is back after").await;
    send(&mut stream, "2").await;
    hear(&mut stream, "CCPLEX: 0: 2").await;
    assert_eq!(lab.runs().len(), 2);
    open.instance.close().await;
}

#[tokio::test]
async fn a_device_that_another_program_has_is_a_fault_of_its_consoles_alone() {
    let lab = Lab::new();
    lab.write("locked", "");
    let open = lab.open(json!({})).await;
    open.until("a fault", faulty("ERROR: unable to obtain file lock"))
        .await;
    let error = open.connect().await.unwrap_err();
    assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
    assert!(
        error.to_string().contains("another program uses"),
        "{error}"
    );
    // One that hangs is ended, and tried again.
    until("a second try", || lab.runs().len() >= 2).await;
    assert!(!runs(lab.runs()[0].0));
    lab.remove("locked");
    open.until("an end of the fault", |health| *health == Health::Ready)
        .await;
    let mut stream = open.connect().await.unwrap();
    send(&mut stream, "1").await;
    expect(&mut stream, "CCPLEX: 0: 1").await;
    open.instance.close().await;
}

#[tokio::test]
async fn a_device_that_is_not_there_is_waited_for() {
    let lab = Lab::new();
    lab.remove("port-if01");
    let open = lab.open(json!({"timeout": 0.2})).await;
    // A client that comes at once waits, and is then told in upstream's words.
    let error = open.connect().await.unwrap_err();
    let pattern = lab.path("port-*").display().to_string();
    let wanted = format!(
        "Timeout waiting for demuxer to become ready (device pattern: {pattern}): no device matches {pattern}"
    );
    assert!(error.to_string().ends_with(&wanted), "{error}");
    assert!(lab.runs().is_empty());
    // Of several the first by name is taken; the later one comes second, so that it is never alone.
    lab.write("port-if02", "");
    lab.write("port-if03", "");
    open.until("the device", |health| *health == Health::Ready)
        .await;
    assert!(lab.runs()[0].1.ends_with("port-if02"), "{:?}", lab.runs());
    open.instance.close().await;
}

#[tokio::test]
async fn a_target_that_the_program_does_not_have_is_told_with_those_that_it_has() {
    let lab = Lab::new();
    let open = lab.open(json!({"target": "CCPLEX: 7", "timeout": 3})).await;
    let text = "it has no target \"CCPLEX: 7\", only \"BPMP: 0\", \"CCPLEX: 0\"";
    open.until("word of it", absent(text)).await;
    open.instance.close().await;
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_told() {
    let lab = Lab::new();
    let open = lab.open(json!({"demuxer_path": lab.path("none")})).await;
    open.until("a fault", faulty("cannot be started: No such file"))
        .await;
    open.instance.close().await;
}

#[tokio::test]
async fn consoles_that_do_not_go_together_are_faulty() {
    let lab = Lab::new();
    let first = lab.open(json!({})).await;
    for (given, text) in [
        (
            json!({"target": "BPMP: 0", "chip": "T234"}),
            "Chip mismatch: T234 != T264",
        ),
        (
            json!({}),
            "Target 'CCPLEX: 0' already registered by another driver",
        ),
    ] {
        let other = lab.open(given).await;
        assert_eq!(other.instance.health(), Health::Faulty(text.into()));
        other.instance.close().await;
    }
    first.connect().await.unwrap();
    first.instance.close().await;
    // The target is free again.
    let next = lab.open(json!({})).await;
    next.connect().await.unwrap();
    next.instance.close().await;
}

#[tokio::test]
async fn a_program_that_does_not_listen_is_killed() {
    let lab = Lab::new();
    lab.write("stubborn", "");
    let open = lab.open(json!({})).await;
    open.connect().await.unwrap();
    let began = Instant::now();
    open.instance.close().await;
    let took = began.elapsed();
    assert!(!runs(lab.runs()[0].0));
    assert!(took > Duration::from_secs(4), "{took:?}");
}
