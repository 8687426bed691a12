//! A host of its own for each test: directories, and the real `rigd` in them.

mod files;
mod objects;
mod online;
mod state;

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{daemon::Daemon, jmp::Python, python::Venv, settings::Settings};

/// A command that asks nobody takes milliseconds; a machine that compiles meanwhile is slower.
const LIMIT: Duration = Duration::from_secs(30);

/// Directories, and the commands in them.
pub(crate) struct Host {
    pub(crate) settings: Settings,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Host {
    pub(crate) fn new() -> Self {
        let settings = Settings::new();
        Self { settings }
    }

    /// A file in the home directory, which is the working directory too.
    pub(crate) fn home(&self, name: &str) -> PathBuf {
        self.settings.path("home").join(name)
    }

    /// Where the controller keeps its things.
    pub(crate) fn state(&self) -> PathBuf {
        self.settings.path("state/controller")
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.home(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.home(name), text).unwrap();
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

    /// Runs it to its end.
    pub(crate) fn rigd(&self, args: &[&str]) -> Said {
        said(self.command(args), "")
    }

    /// The same with this on standard input.
    pub(crate) fn rigd_reads(&self, args: &[&str], input: &str) -> Said {
        said(self.command(args), input)
    }

    /// Runs it to its good end, and returns what it printed.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        self.rigd(args).ok()
    }

    /// A command of the released packages, to its good end.
    #[track_caller]
    pub(crate) fn jmp(&self, venv: &Venv, args: &[&str]) -> String {
        let home = self.settings.path("home");
        let mut jmp = Python::start_at(
            venv,
            &home,
            "jmp",
            args,
            &[("JMP_CLIENT_CONFIG_HOME", jumpstarter(&home).as_str())],
        );
        jmp.succeeded()
    }
}

/// Where `jmp` looks without any variable.
fn jumpstarter(home: &Path) -> String {
    let path = home.join(".config/jumpstarter");
    path.to_str().unwrap().to_owned()
}

impl Said {
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// It failed with this code and these words.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.out.is_empty(), "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "no {word:?} in {self:?}");
        }
    }
}

/// Runs a command to its end, with this on its standard input.
pub(crate) fn said(mut command: Command, input: &str) -> Said {
    command.stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // It may end without reading, which is no failure here.
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let said = finish(child);
    writer.join().unwrap();
    said
}

fn finish(child: Child) -> Said {
    let pid = Pid::from_child(&child);
    let (done, over) = mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if over.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            // It is still ours: nobody has waited for it yet.
            kill_process(pid, Signal::KILL).ok();
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(done);
    watchdog.join().unwrap();
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The value of a line `KEY: VALUE` at any depth.
#[track_caller]
pub(crate) fn value<'a>(text: &'a str, key: &str) -> &'a str {
    let mut lines = text.lines().map(str::trim_start);
    let found = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
    found.unwrap_or_else(|| panic!("no {key} in {text}"))
}
