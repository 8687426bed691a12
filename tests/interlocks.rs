//! Interlocks of the real daemon: whoever calls is held to them, and drivers are as well.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

mod support;
mod traffic;

use std::{fs, path::PathBuf, time::Duration};

use rigd_client::{Code, Compression, Device, Error, Exporter};
use rustix::process::Signal;
use support::{daemon::Daemon, settings::Settings};
use tokio::io::AsyncWriteExt;
use traffic::{
    rig::within,
    run::{Running, to_the_end},
};

const SOON: Duration = Duration::from_secs(10);

/// The rule of most boards, on the tree of the example file.
const CARD: &str = "\
interlocks:
  - name: card
    deny: [dutlink.storage.host, dutlink.storage.write]
    unless: {dutlink.power: off}
";
/// What it says.
const REFUSED: &str =
    "interlock card: dutlink.storage.host needs dutlink.power to be off; it is on";

struct Rig {
    // Before its directories.
    daemon: Running,
    settings: Settings,
    socket: PathBuf,
}

impl Rig {
    /// The example file with more after it. `@DIR@` is the test's own directory.
    fn start(rest: &str) -> Self {
        let example = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/exporter.yaml"));
        Self::of(&format!("{}\n{rest}", example.unwrap()))
    }

    fn of(yaml: &str) -> Self {
        let settings = Settings::new();
        let dir = settings.path("");
        let dir = dir.to_str().unwrap().trim_end_matches('/');
        let file = settings.path("exporter.yaml");
        fs::write(&file, yaml.replace("@DIR@", dir)).unwrap();
        let socket = settings.path("rigd.sock");
        let mut command = Daemon::command(&settings);
        command.arg("run").arg(&file).arg("--unix").arg(&socket);
        let daemon = Running::spawn(command);
        Self {
            daemon,
            settings,
            socket,
        }
    }

    async fn connect(&self) -> Exporter {
        self.daemon.expect_line(" is ready");
        Exporter::connect_unix(&self.socket).await.unwrap()
    }

    /// `rigd call`: exit code, and what it said.
    fn call(&self, words: &[&str]) -> (Option<i32>, String) {
        let mut command = Daemon::command(&self.settings);
        command.args(["call", "rpi4"]).args(words).arg("--force");
        to_the_end(command)
    }

    /// Stops the daemon; what it said until then.
    fn stop(mut self) -> String {
        self.daemon.signal(Signal::TERM);
        assert_eq!(self.daemon.ended(SOON).code(), Some(0));
        self.daemon.output.text()
    }
}

async fn device(exporter: &Exporter, path: &str) -> Device {
    exporter.device(path).await.unwrap()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, Error>, text: &str) {
    let error = outcome.unwrap_err();
    assert_eq!(error.code(), Some(Code::FailedPrecondition), "{error}");
    assert_eq!(error.details(), Some(text));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_refused_until_the_state_is_right() {
    let rig = Rig::start(CARD);
    let exporter = rig.connect().await;
    let power = device(&exporter, "dutlink.power").await.power();
    let storage = device(&exporter, "dutlink.storage").await.storage();
    power.on().await.unwrap();
    refused(storage.host().await, REFUSED);
    let image = rig.settings.path("image");
    fs::write(&image, [7; 4096]).unwrap();
    let text = REFUSED.replace("storage.host", "storage.write");
    refused(storage.write_file(&image, Compression::None).await, &text);
    // `read` is not named; it takes the card to the host like `host`, which is.
    let out = rig.settings.path("out");
    let text = REFUSED.replace("storage.host", "storage.read");
    refused(storage.read_file(&out, Compression::None).await, &text);
    power.off().await.unwrap();
    storage.host().await.unwrap();
    storage.write_file(&image, Compression::None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_switches_the_power_on_under_a_write() {
    let rig = Rig::start(CARD);
    let exporter = rig.connect().await;
    let power = device(&exporter, "dutlink.power").await.power();
    let storage = device(&exporter, "dutlink.storage").await;
    let (mut bytes, source) = tokio::io::duplex(64 * 1024);
    let write = tokio::spawn(async move {
        let args = |handle| vec![handle];
        storage
            .upload("write", args, source, Compression::None)
            .await
    });
    // More than fits in between: when it is gone, the driver reads.
    let piece = vec![7; 1024 * 1024];
    within(SOON, "the write to begin", async {
        for _ in 0..16 {
            bytes.write_all(&piece).await.unwrap();
        }
    })
    .await;
    let text = "interlock card: dutlink.power.on would take dutlink.power from off, which \
                dutlink.storage.write needs (since ";
    let error = power.on().await.unwrap_err();
    assert_eq!(error.code(), Some(Code::FailedPrecondition), "{error}");
    assert!(error.details().unwrap().starts_with(text), "{error}");
    let (code, said) = rig.call(&["dutlink.power.on"]);
    assert!(code == Some(1) && said.contains(text), "{code:?} {said}");
    power.off().await.unwrap();
    assert!(!write.is_finished());
    // A client that leaves: whoever comes next waits until its write has wound up.
    write.abort();
    write.await.unwrap_err();
    power.on().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lab_hosts_own_command_is_refused_as_well() {
    let rig = Rig::start(CARD);
    rig.connect().await;
    assert_eq!(rig.call(&["dutlink.power.on"]).0, Some(0));
    let (code, said) = rig.call(&["dutlink.storage.host"]);
    assert!(code == Some(1) && said.contains(REFUSED), "{code:?} {said}");
    assert_eq!(rig.call(&["dutlink.power.off"]).0, Some(0));
    assert_eq!(rig.call(&["dutlink.storage.host"]).0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safe_state_is_held_to_the_rules() {
    let after = "safeState: [{call: dutlink.storage.host}, {call: dutlink.power.off}]\n";
    let rig = Rig::start(&format!("{CARD}{after}"));
    let exporter = rig.connect().await;
    device(&exporter, "dutlink.power")
        .await
        .power()
        .on()
        .await
        .unwrap();
    let text = rig.stop();
    let line = text
        .lines()
        .find(|line| line.contains("A step of safeState failed"));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    assert!(
        line.contains(REFUSED) && line.contains("dutlink.storage"),
        "{line}"
    );
    assert!(text.contains("power off"), "the other step went on: {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_is_refused_as_well() {
    let Some(venv) = support::python::venv() else {
        return;
    };
    let j = venv.bin("j");
    let j = j.display();
    let rig = Rig::start(&format!(
        "{CARD}hooks:\n  beforeLease:\n    onFailure: exit\n    \
         script: '{j} dutlink power on && ! {j} dutlink storage host > @DIR@/said 2>&1'\n"
    ));
    rig.connect().await;
    let said = fs::read_to_string(rig.settings.path("said")).unwrap();
    assert!(said.contains(REFUSED), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_for_an_instance_is_the_instance() {
    let rig = Rig::of(
        "metadata: {name: rpi4}\n\
         export:\n  dutlink: {type: virtual.board}\n  supply: {ref: dutlink.power}\n  card: {ref: dutlink.storage}\n\
         interlocks: [{name: card, deny: [card.host], unless: {supply: off}}]\n",
    );
    let exporter = rig.connect().await;
    device(&exporter, "dutlink.power")
        .await
        .power()
        .on()
        .await
        .unwrap();
    for path in ["card", "dutlink.storage"] {
        refused(
            device(&exporter, path).await.storage().host().await,
            REFUSED,
        );
    }
    device(&exporter, "supply")
        .await
        .power()
        .off()
        .await
        .unwrap();
    device(&exporter, "card")
        .await
        .storage()
        .host()
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_that_a_driver_makes_by_itself_is_held_to_the_rules() {
    let rig = Rig::of(
        "metadata: {name: rpi4}\n\
         export:\n  mux: {type: storage.mock-mux}\n  power:\n    type: power.command\n    config:\n      \
         turnOn: [/bin/sh, -c, 'echo on >> @DIR@/power']\n      turnOff: [/bin/sh, -c, 'echo off >> @DIR@/power']\n      \
         switching: {onLeaseStart: 'on', minOffTime: 0}\n\
         interlocks: [{name: boot, deny: [power.on], unless: {mux: dut}}]\n",
    );
    let exporter = rig.connect().await;
    // Nobody has switched the mux, so nobody knows where it is.
    let text = "power to on needs mux to be dut; its state is not known";
    let line = rig.daemon.expect_line("Instance failed at lease start");
    assert!(
        line.contains(&format!("interlock boot: switching {text}")),
        "{line}"
    );
    let power = device(&exporter, "power").await;
    let unknown = "needs mux to be dut; its state is not known";
    for method in ["on", "cycle"] {
        let text = format!("interlock boot: power.{method} {unknown}");
        refused(power.call(method, vec![]).await, &text);
    }
    let trace = rig.settings.path("power");
    assert!(!trace.exists(), "the relay was switched");
    device(&exporter, "mux")
        .await
        .call("dut", vec![])
        .await
        .unwrap();
    power.call("on", vec![]).await.unwrap();
    assert_eq!(fs::read_to_string(trace).unwrap(), "on\n");
}

#[test]
fn a_rule_that_leads_nowhere_is_refused_with_its_place() {
    let mut rig = Rig::start(&CARD.replace("dutlink.power", "dutlink.powr"));
    assert_eq!(rig.daemon.ended(SOON).code(), Some(2));
    let text = rig.daemon.output.text();
    assert!(text.contains("did you mean `dutlink.power`?"), "{text}");
}
