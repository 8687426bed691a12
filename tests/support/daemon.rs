//! Owns a running `rigd`: started for one test with directories of its own, stopped with it.

use std::{
    fmt::Write as _,
    net::TcpStream,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{lines::Lines, settings::Settings};

/// A start takes milliseconds; a machine that compiles at the same time is slower.
const START_LIMIT: Duration = Duration::from_secs(20);
/// The daemon's own three steps of shutdown end before this.
const STOP_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);

/// Where a daemon is to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listen {
    /// `--unix PATH`
    Unix,
    /// `--tls-grpc-listener 127.0.0.1:PORT --tls-grpc-insecure`
    Tcp,
    /// As `Tcp`, with `--passphrase-file passphrase` of the test's directory.
    Passphrase,
    /// `--tls-grpc-listener` with `cert.pem` and `key.pem` of the test's directory.
    Tls,
}

/// A daemon that runs until this is dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    /// For `JUMPSTARTER_HOST`: a socket path or `host:port`.
    pub(crate) host: String,
    /// What it printed, on both streams.
    pub(crate) output: Lines,
}

impl Daemon {
    /// Starts `rigd run FILE` and waits until it accepts a connection.
    pub(crate) fn start(exporter: &Path, listen: Listen, settings: &Settings) -> Self {
        let port = super::settings::free_port();
        let socket = settings.path("rigd.sock");
        let mut command = Self::command(settings);
        command.arg("run").arg(exporter);
        let mut host = format!("127.0.0.1:{port}");
        match listen {
            Listen::Unix => host = socket.to_str().unwrap().to_owned(),
            _ => drop(command.args(["--tls-grpc-listener", &host])),
        }
        let file = |name: &str| settings.path(name);
        match listen {
            Listen::Unix => drop(command.arg("--unix").arg(&socket)),
            Listen::Tcp => drop(command.arg("--tls-grpc-insecure")),
            Listen::Passphrase => drop(
                command
                    .args(["--tls-grpc-insecure", "--passphrase-file"])
                    .arg(file("passphrase")),
            ),
            Listen::Tls => drop(
                command
                    .arg("--tls-cert")
                    .arg(file("cert.pem"))
                    .arg("--tls-key")
                    .arg(file("key.pem")),
            ),
        }
        let mut child = command.spawn().unwrap();
        let output = Lines::default();
        output.collect(child.stdout.take().unwrap());
        output.collect(child.stderr.take().unwrap());
        let mut daemon = Self {
            child,
            host,
            output,
        };
        daemon.wait_until_it_serves();
        daemon
    }

    /// Starts `rigd run FILES` for exporters of a controller, and waits until its control socket
    /// answers. `host` is that socket.
    pub(crate) fn serve(files: &[&Path], settings: &Settings) -> Self {
        let mut command = Self::command(settings);
        command.arg("run").args(files);
        Self::serve_by(command, settings)
    }

    /// The same with a command of the test's own.
    pub(crate) fn serve_by(mut command: Command, settings: &Settings) -> Self {
        let mut child = command.spawn().unwrap();
        let output = Lines::default();
        output.collect(child.stdout.take().unwrap());
        output.collect(child.stderr.take().unwrap());
        let socket = settings.path("run").join("control.sock");
        let mut daemon = Self {
            child,
            host: socket.to_str().unwrap().to_owned(),
            output,
        };
        daemon.wait_until_it_serves();
        daemon
    }

    /// `rigd` with all its directories inside of the test's own, and nothing of the caller's.
    pub(crate) fn command(settings: &Settings) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rigd"));
        command
            .env_remove("CREDENTIALS_DIRECTORY")
            .env_remove("NOTIFY_SOCKET")
            .env_remove("LISTEN_FDS")
            .env("RUNTIME_DIRECTORY", settings.path("run"))
            .env("STATE_DIRECTORY", settings.path("state"))
            .env("XDG_RUNTIME_DIR", settings.path("run"))
            .env("HOME", settings.path("home"))
            .current_dir(settings.path("home"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn wait_until_it_serves(&mut self) {
        let end = Instant::now() + START_LIMIT;
        loop {
            let up = match self.host.starts_with('/') {
                true => UnixStream::connect(PathBuf::from(&self.host)).is_ok(),
                false => TcpStream::connect(&self.host).is_ok(),
            };
            if up {
                return;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!(
                    "rigd ended with {status} instead of serving:\n{}",
                    self.output.text()
                );
            }
            let host = &self.host;
            assert!(
                Instant::now() < end,
                "rigd is not at {host}:\n{}",
                self.output.text()
            );
            std::thread::sleep(POLL);
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Panics, with all that was printed, unless such a line comes in time.
    pub(crate) fn expect_line(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let found = self.output.wait(Duration::from_secs(10), wanted);
        found.unwrap_or_else(|| panic!("no {what} in the daemon's output:\n{}", self.output.text()))
    }

    /// Waits until it has ended by itself, and gives its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let end = Instant::now() + STOP_LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < end, "it goes on:\n{}", self.output.text());
            std::thread::sleep(POLL);
        }
    }

    /// Asks it to stop with SIGTERM and waits; one that does not listen is killed, and `None`.
    pub(crate) fn stop(&mut self) -> Option<ExitStatus> {
        if let Some(status) = self.child.try_wait().unwrap() {
            return Some(status);
        }
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).ok();
        let end = Instant::now() + STOP_LIMIT;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            std::thread::sleep(POLL);
        }
        self.child.kill().ok();
        self.child.wait().ok();
        None
    }

    /// `kill -9`, as when the power fails, and waits for its end.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops it and checks that it neither panicked nor had to be killed.
    pub(crate) fn stop_cleanly(&mut self) {
        let status = self.stop();
        let text = self.output.text();
        let mut wrong = String::new();
        if !status.is_some_and(|status| status.success()) {
            writeln!(wrong, "rigd stopped with {status:?}").unwrap();
        }
        if text.contains("panicked at") {
            writeln!(wrong, "rigd panicked").unwrap();
        }
        assert!(wrong.is_empty(), "{wrong}{text}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
    }
}
