//! `rigd console` and captured consoles, with the real daemon on a pty.

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
    fs::{self, File},
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use lab::{Lab, reported};
use rigd_proto::v1::ExporterStatus::{Available, LeaseReady};
use rustix::{
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, tcgetattr},
};
use support::{
    daemon::Daemon,
    lines::Lines,
    mounts::{private_mounts, wrapped},
    settings::Settings,
};
use traffic::run::to_the_end;

const LIMIT: Duration = Duration::from_secs(20);

/// Both ends of a pseudo terminal.
fn pty() -> (File, String) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    (File::from(master), path)
}

/// A daemon with a board on a pty.
struct Rig {
    // Before its directories.
    daemon: Daemon,
    board: File,
    settings: Settings,
}

impl Rig {
    fn new(head: &str, config: &str, more: &str) -> Self {
        let settings = Settings::new();
        let (command, board) = Self::prepared(&settings, head, config, more);
        let daemon = Daemon::serve_by(command, &settings);
        let rig = Self {
            daemon,
            board,
            settings,
        };
        let all = ["console", "rig/console", "--history"];
        rig.until("a console", || rig.said(&all).0 == Some(0));
        rig
    }

    fn prepared(settings: &Settings, head: &str, config: &str, more: &str) -> (Command, File) {
        let (board, path) = pty();
        let yaml = format!(
            "{head}export:\n  power: {{type: power.mock}}\n  \
             console: {{type: serial, config: {{url: {path}{config}}}}}\n{more}"
        );
        let file = settings.path("rig.yaml");
        fs::write(&file, yaml).unwrap();
        let mut command = Daemon::command(settings);
        command.arg("run").arg(&file);
        if head.starts_with("metadata") {
            command.arg("--unix").arg(settings.path("rigd.sock"));
        }
        (command, board)
    }

    /// Without a controller.
    fn alone(config: &str, more: &str) -> Self {
        Self::new("metadata: {name: rig}\n", config, more)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Daemon::command(&self.settings);
        command
            .env_remove("RIGD_SOCKET")
            .env_remove("RIGD_RUNTIME_DIR")
            .args(args);
        command
    }

    fn said(&self, args: &[&str]) -> (Option<i32>, String) {
        to_the_end(self.command(args))
    }

    #[track_caller]
    fn says(&self, code: i32, args: &[&str], wanted: &[&str]) {
        let (found, said) = self.said(args);
        assert_eq!(found, Some(code), "rigd {args:?} said {said}");
        for wanted in wanted {
            assert!(
                said.contains(wanted),
                "rigd {args:?}: no {wanted:?} in {said}"
            );
        }
    }

    fn until(&self, what: &str, is: impl Fn() -> bool) {
        let end = Instant::now() + LIMIT;
        while !is() {
            assert!(Instant::now() < end, "no {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The board prints, and the daemon has heard it.
    fn print(&mut self, text: &str) {
        self.board.write_all(text.as_bytes()).unwrap();
        let all = ["console", "rig/console", "--history"];
        self.until(text, || self.said(&all).1.ends_with(text));
    }

    fn hear(&mut self, length: usize) -> String {
        let mut heard = vec![0; length];
        self.board.read_exact(&mut heard).unwrap();
        String::from_utf8(heard).unwrap()
    }

    fn watch(&self, args: &[&str], stdin: Stdio) -> Watching {
        let mut child = self.command(args).stdin(stdin).spawn().unwrap();
        let (out, err) = (Lines::default(), Lines::default());
        out.collect(child.stdout.take().unwrap());
        err.collect(child.stderr.take().unwrap());
        Watching { child, out, err }
    }
}

/// `rigd console` that goes on.
struct Watching {
    child: Child,
    out: Lines,
    err: Lines,
}

impl Watching {
    #[track_caller]
    fn sees(&self, text: &str) {
        let seen = self.out.wait(LIMIT, |line| line.contains(text));
        assert!(
            seen.is_some(),
            "no {text:?} in {}{}",
            self.out.text(),
            self.err.text()
        );
    }

    fn end(mut self) -> Option<i32> {
        let end = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < end, "it goes on");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn what_was_said_is_shown_and_what_is_said_goes_on() {
    let mut rig = Rig::alone("", "");
    rig.print("U-Boot 2026.10\r\n");
    rig.print("login: ");
    let (code, said) = rig.said(&["console", "rig", "--history"]);
    assert_eq!(
        (code, said.as_str()),
        (Some(0), "U-Boot 2026.10\r\nlogin: ")
    );
    let (_, said) = rig.said(&["console", "rig/console", "--history=7"]);
    assert_eq!(said, "login: ");
    let (_, said) = rig.said(&["console", "rig", "--history", "--timestamps"]);
    let stamps: Vec<_> = said
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .collect();
    assert_eq!(stamps.len(), 2, "{said}");
    for (stamp, text) in stamps {
        assert!(stamp.len() == 24 && stamp.ends_with('Z'), "{said}");
        assert!(["U-Boot 2026.10", "login: "].contains(&text), "{said}");
    }
    let watching = rig.watch(&["console", "rig"], Stdio::null());
    let follower = rig.watch(&["console", "rig", "--history", "--follow"], Stdio::null());
    // Whoever comes while it is printed gets it or not; so it is printed until it is seen.
    rig.until("a line on the screen", || {
        (&rig.board).write_all(b"root\r\n").unwrap();
        std::thread::sleep(Duration::from_millis(100));
        watching.out.text().contains("root") && follower.out.text().contains("root")
    });
    assert!(
        follower.out.text().contains("login: root"),
        "{}",
        follower.out.text()
    );
    assert!(!watching.out.text().contains("login"), "from now on");
    rig.daemon.stop_cleanly();
    assert_eq!(watching.end(), Some(1));
}

#[test]
fn what_is_no_console_is_told_with_those_there_are() {
    let mut rig = Rig::alone("", "  second: {type: serial, config: {url: /not/there}}\n");
    let consoles = "its consoles are: console, second";
    rig.says(
        1,
        &["console", "rig"],
        &["error: which console? ", consoles],
    );
    rig.says(
        1,
        &["console", "rig/power"],
        &["error: 'power' is no console", consoles],
    );
    rig.says(
        1,
        &["console", "rig/consol"],
        &["no console 'consol'; did you mean 'console'?", consoles],
    );
    rig.says(
        1,
        &["console", "other"],
        &["no exporter 'other'; there are: rig"],
    );
    rig.says(2, &["console", "rig/"], &["board-1/dutlink.console"]);
    // Nothing was ever heard of an absent one.
    assert_eq!(
        rig.said(&["console", "rig/second", "--history"]),
        (Some(0), String::new())
    );
    rig.says(
        1,
        &["call", "rig", "console.set_format", "\"7E1\""],
        &[" does not do 7 data bits"],
    );
    rig.daemon.stop_cleanly();
}

#[test]
fn what_is_typed_goes_to_the_board() {
    let mut rig = Rig::alone("", "");
    let mut typist = rig.watch(&["console", "rig", "--write"], Stdio::piped());
    let mut keys = typist.child.stdin.take().unwrap();
    keys.write_all(b"reboot\n").unwrap();
    assert_eq!(rig.hear(7), "reboot\n");
    drop(keys);
    // The end of what is typed is not the end of watching.
    rig.board.write_all(b"Restarting system.\r\n").unwrap();
    typist.sees("Restarting system.");
    rig.daemon.stop_cleanly();
}

#[test]
fn a_terminal_passes_every_key_on_until_the_escape() {
    let mut rig = Rig::alone("", "");
    let (mut terminal, path) = pty();
    let slave = || {
        let file = File::options().read(true).write(true).open(&path).unwrap();
        OwnedFd::from(file)
    };
    let kept = slave();
    let typist = rig.watch(&["console", "rig", "--write"], Stdio::from(slave()));
    let is_raw = || {
        !tcgetattr(&kept)
            .unwrap()
            .local_modes
            .contains(LocalModes::ICANON)
    };
    rig.until("a raw terminal", is_raw);
    // Ctrl-C, a lone Ctrl-B and a return go to the board as they are.
    terminal.write_all(b"\x03\x02x\r").unwrap();
    assert_eq!(rig.hear(4), "\x03\x02x\r");
    rig.board.write_all(b"^C\r\n").unwrap();
    typist.sees("^C");
    terminal.write_all(b"\x02\x02\x02").unwrap();
    assert_eq!(typist.end(), Some(0));
    assert!(!is_raw(), "it is set back");
    // So it is when it is ended from outside.
    let typist = rig.watch(&["console", "rig", "--write"], Stdio::from(slave()));
    rig.until("a raw terminal", is_raw);
    kill_process(Pid::from_child(&typist.child), Signal::TERM).unwrap();
    assert_eq!(typist.end(), Some(0));
    assert!(!is_raw(), "it is set back");
    rig.daemon.stop_cleanly();
}

#[test]
fn a_lease_takes_the_keyboard_and_leaves_the_screen() {
    let lab = Lab::start();
    let head = lab.exporter_yaml("rig", "");
    let mut rig = Rig::new(&head, "", "");
    lab.wait(LIMIT, |heard| reported(heard, "rig", Available));
    let mut early = rig.watch(&["console", "rig", "--write"], Stdio::piped());
    let mut keys = early.child.stdin.take().unwrap();
    keys.write_all(b"free\n").unwrap();
    assert_eq!(rig.hear(5), "free\n");
    let lease = lab.lease("rig", "bench");
    lab.wait(LIMIT, |heard| reported(heard, "rig", LeaseReady));
    let refusal = format!("(lease {lease})");
    rig.says(
        1,
        &["console", "rig", "--write"],
        &["error: leased to ", &refusal, "--force"],
    );
    keys.write_all(b"leased\n").unwrap();
    let told = |line: &str| line.contains("not sent: leased to ") && line.contains(&refusal);
    let seen = early.err.wait(LIMIT, told);
    assert!(seen.is_some(), "{}", early.err.text());
    rig.board.write_all(b"for all\r\n").unwrap();
    early.sees("for all");
    let mut forced = rig.watch(&["console", "rig", "--write", "--force"], Stdio::piped());
    let mut keys = forced.child.stdin.take().unwrap();
    keys.write_all(b"forced\n").unwrap();
    assert_eq!(rig.hear(7), "forced\n", "and nothing of before");
    rig.daemon.stop_cleanly();
}

#[test]
fn a_full_disk_costs_the_capture_alone() {
    let settings = Settings::new();
    let captures = settings.path("captures");
    fs::create_dir(&captures).unwrap();
    let mount = "mount -t tmpfs -o size=128k rigd-test \"$1/captures\" && shift && exec \"$@\"";
    let Some(wrapper) = private_mounts(mount, &settings.path("")) else {
        return;
    };
    let config = format!(
        ", capture: {{directory: {}, maxFileSize: 1048576, quota: 2097152}}",
        captures.display()
    );
    let (command, mut board) = Rig::prepared(&settings, "metadata: {name: rig}\n", &config, "");
    let daemon = Daemon::serve_by(wrapped(&wrapper, &command), &settings);
    let mut rig = Rig {
        daemon,
        board: board.try_clone().unwrap(),
        settings,
    };
    let line = format!("{}\r\n", "x".repeat(98));
    for _ in 0..4000 {
        board.write_all(line.as_bytes()).unwrap();
    }
    rig.daemon.expect_line("word of the full disk", |line| {
        line.contains("The capture loses bytes: cannot write ")
            && line.contains("No space left on device")
    });
    rig.print("the console goes on");
    rig.daemon.stop_cleanly();
    let text = rig.daemon.output.text();
    assert!(text.contains("bytes were lost at last"), "{text}");
}
