//! A daemon with a controller and router of its own, for one test.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use rigd_client::{Exporter, ExporterStatus};
use rustix::process::Signal;

use crate::{
    lab::{Dialled, Heard, Lab, What, story},
    support::{daemon::Daemon, settings::Settings},
    traffic::run::Running,
};

/// For whatever has to happen; two cores may be shared with a compiler.
pub(crate) const SOON: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);

pub(crate) const POWER: &str = "export:\n  power: {type: power.mock}\n";

/// What a hook of a test waits with until the test touches that file. It ends with the test's
/// directory, so that nothing outlives a test that failed.
pub(crate) fn until(file: &str) -> String {
    format!("while [ -d @DIR@ ] && [ ! -e @DIR@/{file} ]; do sleep 0.02; done")
}

/// A running daemon. Stopped when this is dropped, with whatever it runs.
pub(crate) struct Rig {
    pub(crate) daemon: Running,
    pub(crate) lab: Lab,
    pub(crate) settings: Settings,
}

/// A client of a lease, through the router.
pub(crate) struct Client {
    pub(crate) exporter: Exporter,
    _door: Dialled,
}

impl Rig {
    /// Serves exporter `rig`, a power switch and these other keys, and waits until it is available.
    pub(crate) fn start(rest: &str) -> Self {
        Self::start_in(Lab::start(), rest)
    }

    /// The same in this lab.
    pub(crate) fn start_in(lab: Lab, rest: &str) -> Self {
        let rig = Self::launch(lab, &[("rig", rest)]);
        rig.hears(ExporterStatus::Available);
        rig
    }

    /// Serves exporters of these names; waits for nothing.
    pub(crate) fn launch(lab: Lab, exporters: &[(&str, &str)]) -> Self {
        let settings = Settings::new();
        let mut command = Daemon::command(&settings);
        command.arg("run");
        for (name, rest) in exporters {
            command.arg(write(&lab, &settings, name, rest));
        }
        Self {
            daemon: Running::spawn(command),
            lab,
            settings,
        }
    }

    /// Replaces the file of exporter `rig`.
    pub(crate) fn rewrite(&self, rest: &str) {
        write(&self.lab, &self.settings, "rig", rest);
    }

    /// Gives `rig` to a client and waits until it may act.
    pub(crate) async fn lease(&self, client: &str) -> (String, Client) {
        let lease = self.lab.lease("rig", client);
        self.hears(ExporterStatus::LeaseReady);
        let client = self.client(&lease).await;
        (lease, client)
    }

    /// Whoever holds the lease.
    pub(crate) async fn client(&self, lease: &str) -> Client {
        let door = self.lab.dial(lease);
        let exporter = Exporter::connect_unix(door.path()).await.unwrap();
        // The door opens at once; only an answer shows that somebody is behind it.
        exporter.status().await.unwrap();
        Client {
            exporter,
            _door: door,
        }
    }

    /// Waits until the last state that the controller accepted is this one.
    pub(crate) fn hears(&self, wanted: ExporterStatus) -> Vec<Heard> {
        self.lab.wait(SOON, |heard| {
            accepted(heard).map(|(status, _)| status).last() == Some(wanted)
        })
    }

    /// Waits until the controller has accepted a state with this text.
    pub(crate) fn hears_text(&self, wanted: &str) -> Vec<Heard> {
        self.lab.wait(SOON, |heard| {
            accepted(heard).any(|(_, message)| message == wanted)
        })
    }

    /// What the controller accepted of `rig`, in short.
    pub(crate) fn story(&self) -> Vec<String> {
        let heard = self.lab.heard();
        let accepted: Vec<_> = heard
            .into_iter()
            .filter(|it| it.refused.is_none())
            .collect();
        story(&accepted, "rig")
    }

    /// What the hooks wrote into `trace`, in order.
    pub(crate) fn trace(&self) -> String {
        fs::read_to_string(self.settings.path("trace")).unwrap_or_default()
    }

    /// Waits until the hooks have written that.
    pub(crate) fn traces(&self, wanted: &str) {
        self.until(wanted, || self.trace().contains(wanted));
    }

    /// Waits for something that nobody tells of.
    pub(crate) fn until(&self, what: &str, done: impl Fn() -> bool) {
        let begin = Instant::now();
        while !done() {
            assert!(
                begin.elapsed() < SOON,
                "{what} did not come; trace: {}\n{}",
                self.trace(),
                self.daemon.output.text()
            );
            std::thread::sleep(POLL);
        }
    }

    /// Makes the file that a hook waits for.
    pub(crate) fn touch(&self, name: &str) {
        fs::write(self.settings.path(name), "").unwrap();
    }

    /// Whether the power switch was ever told to be `on` or `off`.
    pub(crate) fn switched(&self, what: &str) -> bool {
        self.daemon
            .output
            .text()
            .contains(&format!("}}: power {what}"))
    }

    /// Waits for the end of the daemon and its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let code = self.daemon.ended(SOON).code();
        let text = self.daemon.output.text();
        assert!(!text.contains("panicked at"), "{text}");
        code
    }

    /// TERM, and its good end.
    pub(crate) fn stops(&mut self) {
        self.daemon.signal(Signal::TERM);
        let code = self.ended();
        assert_eq!(code, Some(0), "{}", self.daemon.output.text());
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the daemon said:\n{}", self.daemon.output.text());
        }
        // The second one cuts its hooks; killed at once it would leave them behind.
        for _ in 0..2 {
            if self.daemon.alive() {
                self.daemon.signal(Signal::TERM);
            }
        }
        let begin = Instant::now();
        while self.daemon.alive() && begin.elapsed() < SOON {
            std::thread::sleep(POLL);
        }
    }
}

/// The states of `rig` that the controller accepted, with their texts.
pub(crate) fn accepted(heard: &[Heard]) -> impl Iterator<Item = (ExporterStatus, &str)> {
    heard.iter().filter_map(|it| match &it.what {
        What::Report {
            status, message, ..
        } if it.from == "rig" && it.refused.is_none() => Some((*status, message.as_str())),
        _ => None,
    })
}

/// Writes the file of one exporter, in which `@DIR@` is the test's directory.
fn write(lab: &Lab, settings: &Settings, name: &str, rest: &str) -> PathBuf {
    let file = settings.path(&format!("{name}.yaml"));
    let dir = settings.path("");
    let dir = dir.to_str().unwrap().trim_end_matches('/');
    let rest = format!("{POWER}{}", rest.replace("@DIR@", dir));
    fs::write(&file, lab.exporter_yaml(name, &rest)).unwrap();
    file
}
