//! Runs commands of the released packages: `jmp`, `j`, pytest.

use std::{
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::{lines::Lines, python::Venv, settings::Settings};

/// Starting Python takes seconds, and several of them share two cores with a compiler.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// A command of the released packages, and all that it starts. Killed when this is dropped.
pub(crate) struct Python {
    child: Child,
    pub(crate) output: Lines,
    readers: Vec<JoinHandle<()>>,
}

impl Python {
    /// Starts a program of the environment in the test's home directory, where its configuration is.
    pub(crate) fn start(venv: &Venv, settings: &Settings, program: &str, args: &[&str]) -> Self {
        Self::start_at(venv, &settings.path("home"), program, args, &[])
    }

    /// The same in another home directory, as that of another client, and with these variables.
    pub(crate) fn start_at(
        venv: &Venv,
        home: &Path,
        program: &str,
        args: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let bin = venv.bin("");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut child = Command::new(venv.bin(program))
            .args(args)
            .env_clear()
            // `j` for children, also those of hooks.
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("HOME", home)
            .env("JMP_CLIENT_CONFIG_HOME", home)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PYTHONUNBUFFERED", "1")
            .env("COLUMNS", "400")
            .env("NONINTERACTIVE", "1")
            .envs(variables.iter().copied())
            .current_dir(home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let output = Lines::default();
        let readers = vec![
            output.collect(child.stdout.take().unwrap()),
            output.collect(child.stderr.take().unwrap()),
        ];
        Self {
            child,
            output,
            readers,
        }
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
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

    /// Waits for its end, and returns its exit code with all that it printed.
    pub(crate) fn result(&mut self) -> (Option<i32>, String) {
        let status = self.ended();
        // What it left behind would keep the pipes open.
        kill_process_group(Pid::from_child(&self.child), Signal::KILL).ok();
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        (status.code(), self.output.text())
    }

    /// Waits for its good end, and returns what it printed.
    #[track_caller]
    pub(crate) fn succeeded(&mut self) -> String {
        let (code, text) = self.result();
        assert_eq!(code, Some(0), "printed:\n{text}");
        text
    }

    /// Waits for a line.
    #[track_caller]
    pub(crate) fn expect_line(&self, wanted: &str) -> String {
        let found = self.output.wait(LIMIT, |line| line.contains(wanted));
        found.unwrap_or_else(|| panic!("no {wanted:?} in:\n{}", self.output.text()))
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
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
