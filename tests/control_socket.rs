//! The commands that ask a running daemon, against the real one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

mod lab;
mod support;
mod traffic;

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use lab::{Lab, reported};
use rigd_proto::v1::ExporterStatus::{Available, LeaseReady};
use serde_json::{Value, json};
use support::{
    copy_program,
    daemon::{Daemon, Listen},
    settings::Settings,
};
use traffic::run::to_the_end;

const LIMIT: Duration = Duration::from_secs(20);
/// Who is in no group of ours.
const NOBODY: u32 = 65534;

const TREE: &str = "\
export:
  power: {type: power.mock}
  console: {type: serial, config: {url: @DIR@/not-there, check_present: false}}
";

/// A daemon for one exporter named `rig`.
struct Rig {
    // Before its directories.
    daemon: Daemon,
    file: PathBuf,
    settings: Settings,
}

impl Rig {
    /// Without a controller, on a socket of its own.
    fn alone(rest: &str) -> Self {
        let settings = Settings::new();
        let file = write(&settings, &format!("metadata: {{name: rig}}\n{TREE}{rest}"));
        let daemon = Daemon::start(&file, Listen::Unix, &settings);
        let rig = Self {
            settings,
            file,
            daemon,
        };
        // The exporter's own socket may be there before.
        rig.until_status("a control socket", |_| true);
        rig
    }

    /// With one, free.
    fn leasable(lab: &Lab, rest: &str) -> Self {
        let settings = Settings::new();
        let file = write(
            &settings,
            &lab.exporter_yaml("rig", &format!("{TREE}{rest}")),
        );
        let daemon = Daemon::serve(&[&file], &settings);
        lab.wait(LIMIT, |heard| reported(heard, "rig", Available));
        Self {
            settings,
            file,
            daemon,
        }
    }

    /// Runs `rigd ARGS`: exit code, and both outputs.
    fn rigd(&self, args: &[&str]) -> (Option<i32>, String) {
        let mut command = command(&self.settings);
        command.args(args);
        to_the_end(command)
    }

    #[track_caller]
    fn says(&self, code: i32, args: &[&str], wanted: &[&str]) {
        let (found, said) = self.rigd(args);
        assert_eq!(found, Some(code), "rigd {args:?} said {said}");
        for wanted in wanted {
            assert!(
                said.contains(wanted),
                "rigd {args:?}: no {wanted:?} in {said}"
            );
        }
    }

    /// The exporter, as machines see it, once it is as wanted.
    #[track_caller]
    fn until_status(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + LIMIT;
        loop {
            let (_, said) = self.rigd(&["status", "rig", "-o", "json"]);
            let found = serde_json::from_str(&said).unwrap_or(Value::Null);
            let exporter = &found["exporters"][0];
            if exporter.is_object() && wanted(exporter) {
                return exporter.clone();
            }
            assert!(Instant::now() < end, "no {what}; the last status: {said}");
        }
    }
}

fn write(settings: &Settings, yaml: &str) -> PathBuf {
    let file = settings.path("rig.yaml");
    let dir = settings.path("");
    fs::write(&file, yaml.replace("@DIR@/", dir.to_str().unwrap())).unwrap();
    file
}

/// `rigd`, with nothing of the caller's.
fn command(settings: &Settings) -> Command {
    let mut command = Daemon::command(settings);
    command
        .env_remove("RIGD_SOCKET")
        .env_remove("RIGD_RUNTIME_DIR");
    command
}

#[test]
fn status_shows_what_does_not_work() {
    let mut rig = Rig::alone("");
    let exporter = rig.until_status("service", |exporter| exporter["state"] == "serving");
    assert_eq!(exporter["link"], Value::Null);
    assert_eq!(exporter["instances"][1]["path"], "power");
    assert_eq!(exporter["instances"][1]["health"], "ready");
    assert_eq!(exporter["sockets"], json!([rig.daemon.host]));
    rig.says(
        0,
        &["status"],
        &[
            "rig       serving  -      direct",
            "console  serial  absent: ",
        ],
    );
    let (_, said) = rig.rigd(&["status"]);
    assert!(!said.contains("power"), "it needs no attention: {said}");
    rig.says(
        0,
        &["status", "--all"],
        &["power    power.mock  ready", &rig.daemon.host],
    );
    rig.says(
        1,
        &["status", "rog"],
        &["error: no exporter 'rog'; there are: rig"],
    );
    rig.daemon.stop_cleanly();
    assert!(!rig.settings.path("run/control.sock").exists());
}

#[test]
fn calls_print_json_lines() {
    let rig = Rig::alone("");
    rig.until_status("service", |exporter| exporter["state"] == "serving");
    assert_eq!(
        rig.rigd(&["call", "rig", "power.on"]),
        (Some(0), "null\n".into())
    );
    let (code, said) = rig.rigd(&["call", "rig", "power.read"]);
    assert_eq!(code, Some(0), "{said}");
    let items: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(items.len(), 2, "{said}");
    assert!(items[1]["voltage"].is_number(), "{said}");
    rig.says(1, &["call", "rig", "power.nope"], &["error: ", "nope"]);
    rig.says(1, &["call", "rig", "nope.on"], &["error: ", "'nope'"]);
    rig.says(1, &["call", "rig", "power.on", "{\"a\": 1}"], &["error: "]);
    rig.says(1, &["call", "rig", "console.connect"], &["error: "]);
    rig.says(2, &["call", "rig", "power."], &["dutlink.power.on"]);
    rig.says(
        2,
        &["call", "rig", "power.on", "9007199254740993"],
        &["beyond 2^53"],
    );
}

#[test]
fn reload_tells_what_changed_or_what_is_wrong() {
    let rig = Rig::alone("");
    rig.says(0, &["reload"], &["nothing has changed"]);
    let good = fs::read_to_string(&rig.file).unwrap();
    fs::write(&rig.file, good.clone() + "bogus: 1\n").unwrap();
    rig.says(
        1,
        &["reload"],
        &["rig.yaml:5:1", "bogus", "nothing was changed"],
    );
    let more = good + "  second: {type: power.mock}\n";
    fs::write(&rig.file, more).unwrap();
    rig.says(0, &["reload"], &["rig"]);
    rig.until_status("new instance", |exporter| {
        exporter["instances"][3]["path"] == "second"
    });
}

#[test]
fn a_lease_is_respected_unless_forced() {
    let lab = Lab::start();
    let mut rig = Rig::leasable(&lab, "");
    let free = rig.until_status("link", |exporter| exporter["state"] == "available");
    assert_eq!(free["link"]["connected"], true, "{free}");
    rig.says(0, &["call", "rig", "power.on"], &["null"]);
    let lease = lab.lease("rig", "bench");
    lab.wait(LIMIT, |heard| reported(heard, "rig", LeaseReady));
    let leased = rig.until_status("lease", |exporter| exporter["state"] == "leased");
    assert_eq!(leased["lease"]["name"], json!(lease));
    let holder = leased["lease"]["client"].as_str().unwrap();
    assert!(holder.contains("bench"), "{holder}");
    rig.says(0, &["status"], &[&format!("{lease} by {holder}")]);
    rig.says(
        1,
        &["call", "rig", "power.off"],
        &["error: ", holder, "--force"],
    );
    rig.says(0, &["call", "rig", "power.off", "--force"], &["null"]);
    rig.says(
        1,
        &["hook", "run", "rig", "beforeLease"],
        &["error: ", holder],
    );
    rig.daemon.stop_cleanly();
}

#[test]
fn a_hold_keeps_leases_away_until_it_ends() {
    let lab = Lab::start();
    let mut rig = Rig::leasable(&lab, "");
    rig.says(2, &["hold", "rig"], &["--reason"]);
    rig.says(1, &["hold", "rig", "--reason", " "], &["error: the reason"]);
    rig.says(
        0,
        &["hold", "rig", "--reason", "relay is stuck"],
        &["rigd unhold rig"],
    );
    rig.says(0, &["status"], &["held: relay is stuck"]);
    let held = rig.until_status("hold", |exporter| exporter["hold"] == "relay is stuck");
    assert_ne!(held["state"], "available");
    rig.says(0, &["unhold", "rig"], &["rig can be leased again"]);
    rig.until_status("end of the hold", |exporter| {
        exporter["hold"].is_null() && exporter["state"] == "available"
    });
    lab.lease("rig", "bench");
    lab.wait(LIMIT, |heard| reported(heard, "rig", LeaseReady));
    rig.daemon.stop_cleanly();
}

#[test]
fn hooks_are_rehearsed() {
    let hooks = "hooks:\n  beforeLease: {script: echo said by the hook}\n  \
                 afterLease: {script: 'echo also said; exit 3'}\n";
    let lab = Lab::start();
    let mut rig = Rig::leasable(&lab, hooks);
    let (code, said) = rig.rigd(&["hook", "run", "rig", "beforeLease"]);
    assert_eq!(
        (code, &*said),
        (Some(0), "said by the hook\nbeforeLease: ok\n")
    );
    rig.until_status("end", |exporter| exporter["state"] == "available");
    rig.says(
        1,
        &["hook", "run", "rig", "afterLease"],
        &["also said\n", "error: afterLease: ", "exit code 3"],
    );
    rig.says(2, &["hook", "run", "rig", "middleLease"], &["beforeLease"]);
    rig.daemon.stop_cleanly();

    let alone = Rig::alone(hooks);
    alone.says(
        1,
        &["hook", "run", "rig", "beforeLease"],
        &["error: ", "controller"],
    );
    alone.says(
        1,
        &["hold", "rig", "--reason", "x"],
        &["error: ", "controller"],
    );
}

#[test]
fn the_socket_is_found_and_else_the_places_are_told() {
    let rig = Rig::alone("");
    let socket = rig.settings.path("run/control.sock");
    let elsewhere = Settings::new();
    let ask = |args: &[&str], variable: Option<&Path>| {
        let mut command = command(&elsewhere);
        command.arg("status").args(args);
        command.envs(variable.map(|socket| ("RIGD_SOCKET", socket)));
        to_the_end(command)
    };
    let (code, said) = ask(&[], None);
    assert_eq!(code, Some(1), "{said}");
    let tried = elsewhere.path("run/control.sock");
    for wanted in [
        &format!("tried {} (not there)", tried.display()),
        "/run/rigd/control.sock",
        "rigd run",
    ] {
        assert!(said.contains(wanted), "no {wanted:?} in {said}");
    }
    let (code, said) = ask(&[], Some(&socket));
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = ask(&["--socket", socket.to_str().unwrap()], Some(&tried));
    assert_eq!(code, Some(0), "the flag comes first: {said}");
    let (code, said) = ask(&[], Some(&tried));
    assert_eq!(code, Some(1), "{said}");
    assert!(!said.contains("/run/rigd/"), "only what was named: {said}");
}

#[test]
fn strangers_are_told_of_the_group() {
    if !rustix::process::getuid().is_root() {
        println!("SKIPPED: only root can be somebody else");
        return;
    }
    let rig = Rig::alone("");
    let open = fs::Permissions::from_mode(0o755);
    for dir in ["", "run", "home"] {
        fs::set_permissions(rig.settings.path(dir), open.clone()).unwrap();
    }
    // The build's own directory may not be open to everybody.
    let binary = rig.settings.path("rigd");
    copy_program(env!("CARGO_BIN_EXE_rigd").as_ref(), &binary);
    let mut stranger = Command::new(&binary);
    stranger
        .args(["status", "--socket"])
        .arg(rig.settings.path("run/control.sock"))
        .env_clear()
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let (code, said) = to_the_end(stranger);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("you may not use the control socket"),
        "{said}"
    );
    assert!(said.contains("usermod -aG rigd"), "{said}");
}
