//! One exporter named `rig` at a lab of its own, served by a daemon of its own.

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

pub(crate) mod echo;
pub(crate) mod impostor;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use rigd_client::Exporter;
use rigd_proto::v1::ExporterStatus::{Available, LeaseReady};
use serde_json::Value;

#[allow(unused_imports, reason = "every test binary uses its own part of it")]
pub(crate) use crate::support::mounts::{private_mounts, wrapped};
use crate::{
    lab::{Dialled, Lab, reported},
    support::{daemon::Daemon, settings::Settings},
};

/// Anything that takes no time by itself, on a machine that is busy with the other tests.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

/// A switch, and a console that gives back what is typed.
pub(crate) const EXPORT: &str =
    "export:\n  power: {type: power.mock}\n  echo: {type: network.echo}\n";

/// What all tokens of a lab begin with: the first letters of a JSON Web Token.
const TOKEN: &str = "eyJ";

/// The daemon ends before its lab.
pub(crate) struct Rig {
    pub(crate) daemon: Daemon,
    pub(crate) lab: Lab,
    pub(crate) settings: Settings,
}

/// A client's way through the router, open until this is dropped.
pub(crate) struct Client {
    pub(crate) exporter: Exporter,
    _door: Dialled,
}

impl std::ops::Deref for Client {
    type Target = Exporter;

    fn deref(&self) -> &Exporter {
        &self.exporter
    }
}

impl Rig {
    /// The lab's exporter with `rest` beside what it exports, registered. `@DIR@` in `rest` is the
    /// directory of the test.
    pub(crate) fn start(lab: Lab, rest: &str) -> Self {
        let yaml = lab.exporter_yaml("rig", &format!("{EXPORT}{rest}"));
        let rig = Self::serve(lab, &yaml);
        rig.is_free();
        rig
    }

    /// Whatever the file says, whether the controller takes it or not.
    pub(crate) fn serve(lab: Lab, yaml: &str) -> Self {
        let settings = Settings::new();
        let file = write(&settings, yaml);
        let command = command(&settings, &file);
        Self::serve_by(lab, settings, command)
    }

    /// By a command of the test's own.
    pub(crate) fn serve_by(lab: Lab, settings: Settings, command: Command) -> Self {
        Self {
            daemon: Daemon::serve_by(command, &settings),
            lab,
            settings,
        }
    }

    /// Other contents of the exporter's file, and `rigd reload`.
    pub(crate) fn reload(&self, yaml: &str) {
        write(&self.settings, yaml);
        let output = self.ask(&["reload"]);
        assert!(output.contains("rig"), "{output}");
    }

    /// Waits until the controller knows that it is free.
    #[track_caller]
    pub(crate) fn is_free(&self) {
        self.lab
            .wait(LIMIT, |heard| reported(heard, "rig", Available));
    }

    /// Gives it to a client, and waits until it is ready.
    #[track_caller]
    pub(crate) fn lease(&self) -> String {
        let lease = self.lab.lease("rig", "bench");
        self.lab
            .wait(LIMIT, |heard| reported(heard, "rig", LeaseReady));
        lease
    }

    pub(crate) async fn connect(&self, lease: &str) -> Client {
        Client::dial(&self.lab, lease).await
    }

    /// Serves a whole lease.
    pub(crate) async fn is_leasable(&self) {
        let lease = self.lease();
        let client = self.connect(&lease).await;
        client.switch_on().await;
        self.lab.end_lease(&lease);
        self.is_free();
    }

    /// What `rigd` says to these arguments.
    pub(crate) fn ask(&self, args: &[&str]) -> String {
        let output = Daemon::command(&self.settings).args(args).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        text(&output.stdout) + &text(&output.stderr)
    }

    /// The exporter in `rigd status -o json`.
    pub(crate) fn status(&self) -> Value {
        let text = self.ask(&["status", "-o", "json"]);
        let status: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
        let exporters = status["exporters"].as_array().unwrap();
        let rig = exporters.iter().find(|it| it["name"] == "rig");
        rig.unwrap_or_else(|| panic!("{text}")).clone()
    }

    /// Waits until `rigd status` shows it.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, met: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + LIMIT;
        loop {
            let now = self.status();
            if met(&now) {
                return now;
            }
            let output = || self.daemon.output.text();
            assert!(Instant::now() < end, "no {what}: {now:#}\n{}", output());
            std::thread::sleep(POLL);
        }
    }

    /// Waits until there is no link, and tells why.
    #[track_caller]
    pub(crate) fn until_cut_off(&self) -> String {
        let cut_off = |it: &Value| {
            let link = &it["link"];
            link["connected"] == false && link["detail"] != "connecting"
        };
        let shown = self.until("outage", cut_off);
        shown["link"]["detail"].as_str().unwrap().to_owned()
    }

    /// A file of the test's directory that a hook makes.
    #[track_caller]
    pub(crate) fn until_there(&self, name: &str) -> PathBuf {
        let file = self.settings.path(name);
        let end = Instant::now() + LIMIT;
        while !file.exists() {
            let output = || self.daemon.output.text();
            assert!(Instant::now() < end, "no {name}:\n{}", output());
            std::thread::sleep(POLL);
        }
        file
    }

    /// Stops the daemon; neither it nor `rigd status` has told a token.
    pub(crate) fn finish(mut self) {
        let status = self.ask(&["status", "-o", "json"]);
        assert!(!status.contains(TOKEN), "{status}");
        self.daemon.stop_cleanly();
        let output = self.daemon.output.text();
        assert!(!output.contains(TOKEN), "a token is told:\n{output}");
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the daemon told:\n{}", self.daemon.output.text());
        }
    }
}

impl Client {
    pub(crate) async fn dial(lab: &Lab, lease: &str) -> Self {
        let door = lab.dial(lease);
        let exporter = Exporter::connect_unix(door.path()).await.unwrap();
        Self {
            exporter,
            _door: door,
        }
    }

    pub(crate) async fn switch_on(&self) {
        let power = self.exporter.device("power").await.unwrap().power();
        power.on().await.unwrap();
    }
}

/// `rigd run FILE`, at its most talkative about itself.
pub(crate) fn command(settings: &Settings, file: &Path) -> Command {
    let mut command = Daemon::command(settings);
    command.arg("run").arg(file);
    command.env("RIGD_LOG", "info,rigd=debug");
    command
}

/// Writes the exporter's file.
pub(crate) fn write(settings: &Settings, yaml: &str) -> PathBuf {
    let file = settings.path("rig.yaml");
    let dir = settings.path("");
    let dir = dir.to_str().unwrap().trim_end_matches('/');
    fs::write(&file, yaml.replace("@DIR@", dir)).unwrap();
    file
}
