//! Servers of the lab host that a test starts for itself, on loopback.

use std::{
    ffi::OsStr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process_group};

/// A server that ends with the test, and its process group with it.
pub(crate) struct Server(Child);

impl Server {
    pub(crate) fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).process_group(0);
        Self(
            command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        )
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The group is its own until it is reaped.
        kill_process_group(Pid::from_child(&self.0), Signal::KILL).ok();
        self.0.wait().ok();
    }
}

/// A program of a Debian package; `None`, with a line that says why, where it is not installed. With
/// `RIGD_TEST_REQUIRE=all` that is a failure.
pub(crate) fn program(name: &str, package: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Servers are in sbin, which is not in everybody's path.
    let folders = std::env::split_paths(&path).chain([Path::new("/usr/sbin").into()]);
    let found = folders
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        let why = format!("{name} is not installed (Debian package {package})");
        let required = std::env::var_os("RIGD_TEST_REQUIRE");
        assert_ne!(required.as_deref(), Some(OsStr::new("all")), "{why}");
        eprintln!("SKIPPED: {why}");
    }
    found
}
