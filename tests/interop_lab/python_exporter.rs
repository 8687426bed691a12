//! The released exporter, `jmp run`, and its end: it forks, and the fork leaves its process group.

use std::{fs, path::Path};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::{
    lab::Lab,
    support::{jmp::Python, python::Venv},
};

/// Killed when this is dropped, with whatever it runs.
pub(crate) struct PythonExporter(Python);

impl PythonExporter {
    pub(crate) fn start(lab: &Lab, file: &Path) -> Self {
        Self::start_of(lab.venv, lab, file)
    }

    /// One of another release.
    pub(crate) fn start_of(venv: &Venv, lab: &Lab, file: &Path) -> Self {
        let file = file.to_str().unwrap();
        Self(lab.start_of(venv, "jmp", &["run", "--exporter-config", file]))
    }

    /// Waits for a line.
    #[track_caller]
    pub(crate) fn expect_line(&self, wanted: &str) {
        self.0.expect_line(wanted);
    }
}

impl Drop for PythonExporter {
    fn drop(&mut self) {
        let pid = self.0.pid();
        // It would start another fork for the one that is killed.
        if kill_process(pid, Signal::STOP).is_err() {
            return;
        }
        let pid = pid.as_raw_nonzero();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        for child in children.unwrap_or_default().split_whitespace() {
            let child = child.parse().ok().and_then(Pid::from_raw);
            // Each leads a group of its own, unless it was stopped before it could make one.
            if let Some(child) = child {
                kill_process_group(child, Signal::KILL).ok();
                kill_process(child, Signal::KILL).ok();
            }
        }
    }
}
