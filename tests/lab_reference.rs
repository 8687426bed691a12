//! Checks the tests' own controller and router against the released exporter and clients, so that
//! what they say about rigd can be believed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

mod lab;
mod support;

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use lab::{Heard, Lab, What};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use support::{
    lines::Lines,
    python::{Venv, venv},
    settings::Settings,
};

/// Starting Python takes seconds, and several of them share two cores with a compiler.
const LIMIT: Duration = Duration::from_secs(90);

const POWER: &str = "export:\n  power: {type: jumpstarter_driver_power.driver.MockPower}\n";

/// A command of the released packages, and all that it starts.
struct Python {
    child: Child,
    output: Lines,
}

impl Python {
    fn start(venv: &Venv, settings: &Settings, program: &str, args: &[&str]) -> Self {
        let bin = venv.bin("");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut child = Command::new(venv.bin(program))
            .args(args)
            .env_clear()
            // `j` for children, also those of hooks.
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("HOME", settings.path("home"))
            .env("JMP_CLIENT_CONFIG_HOME", settings.path("home"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PYTHONUNBUFFERED", "1")
            .env("COLUMNS", "400")
            .env("NONINTERACTIVE", "1")
            .current_dir(settings.path("home"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let output = Lines::default();
        output.collect(child.stdout.take().unwrap());
        output.collect(child.stderr.take().unwrap());
        Self { child, output }
    }

    fn ended(&mut self) -> ExitStatus {
        let end = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            let text = self.output.text();
            assert!(Instant::now() < end, "not over in time:\n{text}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[track_caller]
    fn succeeded(&mut self) {
        let status = self.ended();
        assert!(status.success(), "{status}:\n{}", self.output.text());
    }

    fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // Also after its end: it may have left children.
        kill_process_group(Pid::from_child(&self.child), Signal::KILL).ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("printed:\n{}", self.output.text());
        }
    }
}

fn config(lab: &Lab, settings: &Settings, rest: &str) -> PathBuf {
    let file = settings.path("exporter.yaml");
    fs::write(&file, lab.exporter_yaml("rig", rest)).unwrap();
    file
}

fn exporter(venv: &Venv, settings: &Settings, file: &Path) -> Python {
    let file = file.to_str().unwrap();
    Python::start(venv, settings, "jmp", &["run", "--exporter-config", file])
}

/// What the exporter said, in short.
fn story(heard: &[Heard]) -> Vec<String> {
    let word = |it: &Heard| {
        Some(match &it.what {
            What::Register { .. } => "register".to_owned(),
            What::Unregister { reason } => format!("unregister: {reason}"),
            What::Report {
                message,
                release: false,
                ..
            } => message.clone(),
            What::Report { message, .. } => format!("releasing: {message}"),
            What::StatusOpened => "status".to_owned(),
            What::Listen { .. } => "listen".to_owned(),
            What::ListenClosed { .. } => "listen closed".to_owned(),
            What::ReleaseLease { .. } => "release".to_owned(),
            _ => return None,
        })
    };
    heard
        .iter()
        .filter(|it| it.from == "rig")
        .filter_map(word)
        .collect()
}

#[test]
fn a_lease_from_start_to_end() {
    let Some(venv) = venv() else { return };
    let (lab, settings) = (Lab::start(), Settings::new());
    lab.label("rig", "board", "x");
    lab.client_home(&settings.path("home"), "bench");
    let mut exporter = exporter(venv, &settings, &config(&lab, &settings, POWER));
    lab.wait(LIMIT, |heard| {
        heard.iter().any(|it| it.what == What::StatusOpened)
    });

    let shell = ["shell", "--selector", "board=x", "--", "j", "power", "on"];
    Python::start(venv, &settings, "jmp", &shell).succeeded();
    exporter.terminate();
    exporter.ended();
    let heard = lab.wait(LIMIT, |heard| {
        heard
            .iter()
            .any(|it| matches!(it.what, What::Unregister { .. }))
    });
    let mut story = story(&heard);
    // These two race with each other.
    story[3..5].sort();
    assert_eq!(
        story,
        [
            "register",
            "Exporter registered and available",
            "status",
            "Ready for commands",
            "listen",
            "Available for new lease",
            "listen closed",
            "Exporter shutting down",
            "unregister: Exporter shutdown",
        ],
        "{}",
        lab::listing(&heard)
    );
}
