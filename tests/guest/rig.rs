//! Owns a QEMU guest with simulated hardware: booted for one test, ended with it.
//!
//! `tests/guest/prepare` makes what it boots from, once for each version of Debian's kernel, below
//! `target/guest`. The guest's file system is the host's below a throw-away overlay, so the daemon
//! under test, its configuration and its interpreter are there at their paths.

#![allow(
    dead_code,
    reason = "every test binary compiles this anew and uses its own part of it"
)]

use std::{
    ffi::OsStr,
    io::Write as _,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Condvar, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use rigd_client::{ConnectOptions, Exporter};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

use self::emulated::Usb;
use crate::support::{lines::Lines, python::Venv, repository, settings::free_port};

#[path = "emulated.rs"]
pub(crate) mod emulated;

/// Downloads of 230 MB and a compiler, when the kernel is a new one.
const PREPARE_LIMIT: Duration = Duration::from_secs(400);
/// A boot takes 3 to 9 s on an emulated processor, 20 with systemd; many times that where others
/// compile.
const BOOT_LIMIT: Duration = Duration::from_secs(300);
/// A command, or the start of a daemon, in the guest.
pub(crate) const STEP_LIMIT: Duration = Duration::from_secs(120);
/// Megabytes: files that are installed are in it as well.
const SYSTEMD_MEMORY: &str = "1024";
/// Seconds that a condition in the guest may take to come true: less than a step.
const UNTIL: u32 = 90;
/// After this the guest ends by itself.
const GUEST_LIMIT: Duration = Duration::from_secs(1800);
/// Guests of one test binary that run at once, each on a processor; others wait for their turn before
/// their time begins.
const AT_ONCE: usize = 2;
/// Where the daemon listens in the guest.
pub(crate) const PORT: u16 = 7000;
/// What `prepare` ends with where a host cannot have a guest.
const CANNOT: i32 = 3;
const DONE: &str = "guest-agent: ";

/// What a guest has.
#[derive(Debug, Default)]
pub(crate) struct Hardware<'a> {
    /// `CHIP=LINE,LINE`: a simulated GPIO chip each, in this order.
    pub(crate) gpio: &'a [&'a str],
    /// `NAME=KIND,OPTION=VALUE`: an emulated USB device each, see `tests/guest/usb/serve`.
    pub(crate) usb: &'a [&'a str],
    /// `SIZE` or a file: a USB stick of QEMU each, fast.
    pub(crate) disks: &'a [&'a str],
    /// A hub with per-port power and a stick of this size behind its first port.
    pub(crate) hub: Option<&'a str>,
    /// A USB device controller whose other end is the guest's own USB: what it plays, the guest sees.
    pub(crate) gadget: bool,
    /// udevd, for links below `/dev/disk` and `/dev/serial`, groups and hotplug.
    pub(crate) udev: bool,
    /// Of the host's loopback, that lead to the same in the guest.
    pub(crate) ports: &'a [u16],
    /// systemd as process 1, with udevd: it starts what the test installs.
    pub(crate) systemd: bool,
}

/// A guest that runs until this is dropped.
#[derive(Debug)]
pub(crate) struct Guest {
    child: Child,
    stdin: ChildStdin,
    /// What commands print.
    stdout: Lines,
    /// What the daemon logs, and what goes wrong with the guest.
    pub(crate) stderr: Lines,
    /// Commands whose end was seen.
    done: usize,
    /// Of the host, for the daemon in the guest.
    pub(crate) address: String,
    /// Where the emulated USB devices have their other ends.
    usb: TempDir,
    _turn: Turn,
}

impl Guest {
    /// Boots a guest and waits until it takes commands. `None`, with a line that says why, where
    /// the host lacks QEMU or the kernel's packages; with `RIGD_TEST_REQUIRE=all` that is a failure.
    pub(crate) fn boot(hardware: &Hardware<'_>) -> Option<Self> {
        let made = match made() {
            Ok(made) => made,
            Err(why) => {
                let required = std::env::var_os("RIGD_TEST_REQUIRE");
                assert_ne!(required.as_deref(), Some(OsStr::new("all")), "{why}");
                eprintln!("SKIPPED: {why}");
                return None;
            }
        };
        let turn = Turn::take();
        let usb = TempDir::new().unwrap();
        let port = free_port();
        let mut command = Command::new(repository().join("tests/guest/run"));
        command.arg("--made").arg(made);
        for (option, values) in [
            ("--gpio", hardware.gpio),
            ("--usb", hardware.usb),
            ("--disk", hardware.disks),
            ("--hub", hardware.hub.as_slice()),
        ] {
            for value in values {
                command.args([option, value]);
            }
        }
        for port in hardware.ports {
            command.args(["--forward", &format!("{port}:{port}")]);
        }
        if hardware.gadget {
            command.arg("--gadget");
        }
        if hardware.udev {
            command.arg("--udev");
        }
        if hardware.systemd {
            command.args(["--systemd", "--memory", SYSTEMD_MEMORY]);
        }
        command
            .arg("--usb-dir")
            .arg(usb.path())
            .args(["--timing", "--forward", &format!("{port}:{PORT}")])
            .args(["--timeout", &GUEST_LIMIT.as_secs().to_string()])
            .args(["--", "guest-agent"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (stdout, stderr) = (Lines::default(), Lines::default());
        stdout.collect(child.stdout.take().unwrap());
        stderr.collect(child.stderr.take().unwrap());
        let mut guest = Self {
            stdin: child.stdin.take().unwrap(),
            child,
            stdout,
            stderr,
            done: 0,
            address: format!("127.0.0.1:{port}"),
            usb,
            _turn: turn,
        };
        guest.within(BOOT_LIMIT, ":");
        Some(guest)
    }

    /// An emulated USB device of this guest.
    pub(crate) fn usb(&self, name: &str) -> Usb {
        Usb::new(self.usb.path(), name)
    }

    /// Waits until a shell command succeeds in the guest, and returns what it printed.
    pub(crate) fn until(&mut self, command: &str) -> String {
        self.run(&format!(
            "end=$((SECONDS + {UNTIL})); until {{ {command}; }} >/run/until; do \
             ((SECONDS < end)) || break; read -rt 0.1 <> <(:); done; \
             echo \"$(</run/until)\"; ((SECONDS < end))"
        ))
    }

    /// Runs a shell command in the guest and returns what it printed. Panics unless it succeeds.
    pub(crate) fn run(&mut self, command: &str) -> String {
        self.within(STEP_LIMIT, command)
    }

    fn within(&mut self, limit: Duration, command: &str) -> String {
        let before = self.stdout.all().len();
        writeln!(self.stdin, "{command}").unwrap();
        self.done += 1;
        let ended = |lines: &[String]| lines.iter().filter(|l| l.starts_with(DONE)).count();
        let wanted = self.done;
        let all = self.stdout.wait_all(limit, |lines| ended(lines) >= wanted);
        let all = all.unwrap_or_else(|| self.fail(&format!("no end of: {command}")));
        let said = &all[before..];
        let (status, said) = said.split_last().unwrap();
        if status.strip_prefix(DONE) != Some("0") {
            self.fail(&format!("{command}: {status}\n{}", said.join("\n")));
        }
        said.join("\n")
    }

    /// Starts the daemon under test and connects to it.
    pub(crate) async fn serve(&mut self, exporter: &Path) -> Exporter {
        let dirs = "RUNTIME_DIRECTORY=/run/rigd STATE_DIRECTORY=/var/lib/rigd";
        let rigd = env!("CARGO_BIN_EXE_rigd");
        let exporter = exporter.display();
        self.run(&format!(
            "mkdir -p /run/rigd /var/lib/rigd; {dirs} {rigd} run {exporter} \
             --tls-grpc-listener 0.0.0.0:{PORT} --tls-grpc-insecure >&2 & rigd=$!"
        ));
        // The guest's network answers before the daemon does.
        let address = self.address.clone();
        let connected = tokio::time::timeout(STEP_LIMIT, async {
            loop {
                let options = ConnectOptions::default();
                if let Ok(exporter) = Exporter::connect_tcp(&address, &options).await
                    && exporter.report().await.is_ok()
                {
                    return exporter;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        match connected.await {
            Ok(exporter) => exporter,
            Err(_) => self.fail("rigd does not serve"),
        }
    }

    /// Python with the released client, whose `env()` is the daemon.
    pub(crate) fn released_client(&self, venv: &Venv) -> Command {
        let mut python = Command::new(venv.python());
        python
            .env("JUMPSTARTER_HOST", &self.address)
            .env("JMP_GRPC_INSECURE", "1")
            .env("JMP_DRIVERS_ALLOW", "UNSAFE")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env_remove("http_proxy")
            .env_remove("https_proxy");
        python
    }

    /// Has the released client flash an image to a card and dump the card, with `flash.py`.
    pub(crate) fn flashed_and_dumped(&self, venv: &Venv, card: &str, image: &Path, dump: &Path) {
        let mut client = self.released_client(venv);
        client.arg(repository().join("tests/guest/flash.py"));
        client.arg(card).args([image, dump]);
        let status = client.status().unwrap();
        assert!(status.success(), "{card}: {}", self.stderr.text());
    }

    /// Ends the daemon at once, as a crash does; [`serve`](Self::serve) starts another.
    pub(crate) fn kill(&mut self) {
        self.run("kill -KILL $rigd; wait $rigd 2>/dev/null; [[ $? == 137 ]]");
    }

    /// Stops the daemon, which must end well, and powers the guest off.
    pub(crate) fn stop(mut self) {
        self.run("kill $rigd && wait $rigd");
        let text = self.stderr.text();
        assert!(!text.contains("panicked at"), "{text}");
        drop(self);
    }

    /// Fails the test with all that the guest said.
    pub(crate) fn fail(&self, what: &str) -> ! {
        panic!(
            "{what}\nThe commands printed:\n{}The guest and the daemon said:\n{}",
            self.stdout.text(),
            self.stderr.text()
        );
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // The runner ends QEMU with itself and removes its files.
        kill_process(Pid::from_child(&self.child), Signal::TERM).ok();
        self.child.wait().ok();
    }
}

/// The right to run a guest.
#[derive(Debug)]
struct Turn;

static TURNS: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

impl Turn {
    fn take() -> Self {
        let taken = TURNS.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = TURNS.1.wait_while(taken, |taken| *taken == AT_ONCE);
        *taken.unwrap_or_else(PoisonError::into_inner) += 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *TURNS.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        TURNS.1.notify_one();
    }
}

/// The directory with kernel and initramfs, made at the first call.
fn made() -> Result<&'static Path, String> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../guest");
        let mut command = Command::new(repository().join("tests/guest/prepare"));
        command
            .arg(cache)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn().map_err(|why| why.to_string())?;
        let group = Pid::from_child(&child);
        let (stdout, stderr) = (Lines::default(), Lines::default());
        let reading = [
            stdout.collect(child.stdout.take().unwrap()),
            stderr.collect(child.stderr.take().unwrap()),
        ];
        let end = std::time::Instant::now() + PREPARE_LIMIT;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if std::time::Instant::now() > end {
                kill_process_group(group, Signal::KILL).ok();
                child.wait().ok();
                panic!("tests/guest/prepare takes too long:\n{}", stderr.text());
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        for reader in reading {
            reader.join().unwrap();
        }
        match status.code() {
            Some(0) => Ok(PathBuf::from(stdout.all().last().unwrap())),
            Some(CANNOT) => Err(stderr.all().last().cloned().unwrap_or_default()),
            _ => panic!("tests/guest/prepare: {status}\n{}", stderr.text()),
        }
    });
    made.as_deref().map_err(Clone::clone)
}
