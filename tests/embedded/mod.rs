//! A lab host for each test: directories, exporter files, the real `rigd` with its embedded
//! controller, and clients that speak to it as released ones do.

#![allow(
    dead_code,
    reason = "every test binary compiles this anew and uses its own part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy exempts only functions marked as tests"
)]

pub(crate) mod caller;
pub(crate) mod commands;
pub(crate) mod stranger;
mod tunnel;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{daemon::Daemon, settings::Settings};
use caller::{Caller, Credentials};
use commands::{Said, said};

/// Anything that takes no time by itself, on a machine that is busy with the other tests.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// A switch, and a console that gives back what is typed.
const EXPORT: &str = "export:\n  power: {type: power.mock}\n  echo: {type: network.echo}\n";

/// Directories, and what is done in them.
pub(crate) struct Site {
    pub(crate) settings: Settings,
}

impl Site {
    pub(crate) fn new() -> Self {
        let settings = Settings::new();
        fs::create_dir(settings.path("exporters")).unwrap();
        Self { settings }
    }

    /// One with an exporter `rpi4`, whose label is `board: rpi4`.
    pub(crate) fn with_board() -> Self {
        let site = Self::new();
        site.exporter("rpi4", "labels: {board: rpi4}\n");
        site
    }

    pub(crate) fn file(&self, exporter: &str) -> PathBuf {
        self.settings
            .path("exporters")
            .join(format!("{exporter}.yaml"))
    }

    /// Writes an exporter's file; `rest` are its other keys, `@DIR@` in them the test's directory.
    pub(crate) fn exporter(&self, name: &str, rest: &str) {
        let dir = self.settings.path("");
        let dir = dir.to_str().unwrap().trim_end_matches('/');
        let rest = rest.replace("@DIR@", dir);
        let text = format!("metadata: {{name: {name}}}\n{rest}{EXPORT}");
        fs::write(self.file(name), text).unwrap();
    }

    /// Where the controller keeps its things.
    pub(crate) fn state(&self) -> PathBuf {
        self.settings.path("state/controller")
    }

    /// The state itself.
    pub(crate) fn state_file(&self) -> PathBuf {
        self.state().join("controller.redb")
    }

    /// The file of the lab's own client.
    pub(crate) fn own_client(&self) -> PathBuf {
        self.settings.path("state/client/clients/default.yaml")
    }

    /// A file in the home directory, which is the working directory too.
    pub(crate) fn home(&self, name: &str) -> PathBuf {
        self.settings.path("home").join(name)
    }

    /// `rigd ARGS`, with nothing of the caller's and away from a daemon that this machine may have.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Daemon::command(&self.settings);
        for name in [
            "RIGD_STATE_DIR",
            "RIGD_RUNTIME_DIR",
            "RIGD_CONFIG",
            "XDG_CONFIG_HOME",
            "JMP_CLIENT_CONFIG_HOME",
        ] {
            command.env_remove(name);
        }
        command.env("RIGD_SOCKET", self.settings.path("run/control.sock"));
        command.args(args);
        command
    }

    /// `rigd run` of all exporter files, on the port of before or another free one.
    pub(crate) fn run_command(&self, args: &[&str]) -> Command {
        let mut command = self.command(&["run"]);
        command.arg(self.settings.path("exporters")).args(args);
        command
    }

    /// Where the tests' controllers listen.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.settings.port)
    }

    /// `rigd run` of all exporter files, on the port of this test.
    pub(crate) fn run(&self) -> Daemon {
        self.run_with(&[])
    }

    pub(crate) fn run_with(&self, args: &[&str]) -> Daemon {
        let address = self.address();
        let listen = ["--controller-listen", &address];
        let command = self.run_command(&[&listen[..], args].concat());
        Daemon::serve_by(command, &self.settings)
    }

    /// `rigd controller run` on the port of this test.
    pub(crate) fn controller(&self, args: &[&str]) -> Daemon {
        Daemon::serve_by(self.controller_command(args), &self.settings)
    }

    pub(crate) fn controller_command(&self, args: &[&str]) -> Command {
        let address = self.address();
        let words = ["controller", "run", "--controller-listen", &address];
        self.command(&[&words[..], args].concat())
    }

    /// A command to its end.
    pub(crate) fn rigd(&self, args: &[&str]) -> Said {
        said(self.command(args), "")
    }

    /// The same to its good end; what it printed.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        self.rigd(args).ok()
    }

    /// Makes a client; the file of its credentials.
    #[track_caller]
    pub(crate) fn create_client(&self, name: &str) -> PathBuf {
        let file = self.home(&format!("{name}.yaml"));
        let out = file.to_str().unwrap();
        self.ok(&["controller", "create", "client", name, "--out", out]);
        file
    }

    /// A new client, connected where its file says.
    pub(crate) async fn client(&self, name: &str) -> Caller {
        let file = self.create_client(name);
        Caller::connect(Credentials::read(&file)).await.unwrap()
    }

    /// A client with the file of before, which may have been written before there was a port.
    pub(crate) async fn known(&self, name: &str) -> Caller {
        let who = Credentials::read(&self.home(&format!("{name}.yaml")));
        let channel = who.connect_at(&self.address()).await.unwrap();
        Caller { who, channel }
    }

    /// The objects of a kind, as `rigd get` prints them.
    #[track_caller]
    pub(crate) fn get(&self, kind: &str) -> Vec<Value> {
        let text = self.ok(&["get", kind, "-o", "json"]);
        let list: Value = serde_json::from_str(&text).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// Name and uid of all objects, and which leases are open: what must not change by itself.
    #[track_caller]
    pub(crate) fn inventory(&self) -> Vec<String> {
        let mut all = Vec::new();
        for kind in ["exporters", "clients", "leases", "policies"] {
            for object in self.get(kind) {
                let (meta, ended) = (&object["metadata"], &object["status"]["ended"]);
                all.push(format!("{kind} {} {} {ended}", meta["name"], meta["uid"]));
            }
        }
        all
    }

    /// Waits until something is so.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, met: impl Fn() -> bool) {
        let end = Instant::now() + LIMIT;
        while !met() {
            assert!(Instant::now() < end, "not within {LIMIT:?}: {what}");
            std::thread::sleep(POLL);
        }
    }
}

/// What follows the first `KEY: ` of a file, at any depth.
#[track_caller]
pub(crate) fn value<'a>(text: &'a str, key: &str) -> &'a str {
    let mut lines = text.lines().map(str::trim_start);
    let found = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
    found.unwrap_or_else(|| panic!("no {key} in {text}"))
}

/// Everything below a directory, with its content.
pub(crate) fn snapshot(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(snapshot(&path)),
            false => all.push((path.clone(), fs::read(&path).unwrap())),
        }
    }
    all.sort();
    all
}
