//! Runs one case of `tests/python/` against a daemon of its own.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};

use super::{
    daemon::{Daemon, Listen},
    python::{Venv, venv},
    python_file, repository,
    settings::Settings,
};

/// A case takes a second or two; two cores may be shared with a compiler.
const CASE_LIMIT: Duration = Duration::from_secs(150);
const HELPER_LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// What stands for a device of the exporter: its name there, and the program that plays it.
const DEVICES: &[(&str, &str)] = &[
    ("tty", "echo_pty.py"),
    ("slow-tty", "echo_pty.py"),
    ("relay", "noyito_board.py"),
];

/// What a case is run against.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rig {
    /// The example at the top of the repository, on a unix socket.
    Example,
    /// The example over TCP.
    ExampleTcp,
    /// `exporters/NAME.yaml` at the given place.
    Exporter(&'static str, Listen),
}

/// Runs `case`, a file and a function as pytest names them; returns the daemon for a look at its
/// output, or `None` where Python is missing.
pub(crate) fn run(rig: Rig, case: &str) -> Option<Daemon> {
    let venv = venv()?;
    let settings = Settings::new();
    let (template, listen) = match rig {
        Rig::Example => (repository().join("exporter.yaml"), Listen::Unix),
        Rig::ExampleTcp => (repository().join("exporter.yaml"), Listen::Tcp),
        Rig::Exporter(name, listen) => (python_file(&format!("exporters/{name}.yaml")), listen),
    };
    let exporter = settings.fill_in(&template);
    prepare(listen, venv, &settings);
    let text = fs::read_to_string(&exporter).unwrap();
    let named = |(name, _): &&(&str, &str)| text.contains(&format!("/{name}\""));
    let _devices: Vec<_> = DEVICES
        .iter()
        .filter(named)
        .map(|(name, program)| PtyDevice::start(venv, program, settings.path(name)))
        .collect();
    let mut daemon = Daemon::start(&exporter, listen, &settings);

    let mut command = Command::new(venv.python());
    command.args(["-m", "pytest"]).arg(python_file(case));
    command.current_dir(settings.path("home"));
    environment(&mut command, &settings, &daemon.host, listen);
    let said = finish(command, &settings, CASE_LIMIT);
    if let Err(said) = said {
        panic!(
            "{case} failed:\n{said}\nThe daemon said:\n{}",
            daemon.output.text()
        );
    }
    daemon.stop_cleanly();
    Some(daemon)
}

fn environment(command: &mut Command, settings: &Settings, host: &str, listen: Listen) {
    match listen {
        Listen::Tls => {
            command.env(
                "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
                settings.path("cert.pem"),
            );
        }
        _ => drop(command.env("JMP_GRPC_INSECURE", "1")),
    }
    command
        .env("JUMPSTARTER_HOST", host)
        .env("JMP_DRIVERS_ALLOW", "UNSAFE")
        .env("TEST_DIR", settings.path(""))
        .env("TEST_PORT", settings.port.to_string())
        .env("TEST_PORT2", settings.port2.to_string())
        .env("HOME", settings.path("home"))
        .env("XDG_RUNTIME_DIR", settings.path("home"))
        // The packages bring plugins that cost half a second to load.
        .env("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // A wide terminal: help texts are cut to its width.
        .env("COLUMNS", "160")
        .env_remove("RIGD_TEST_PEER")
        .env_remove("http_proxy")
        .env_remove("https_proxy");
}

/// The files that a listener needs.
fn prepare(listen: Listen, venv: &Venv, settings: &Settings) {
    if listen == Listen::Passphrase {
        fs::write(settings.path("passphrase"), "Correct horse\n").unwrap();
    }
    if listen == Listen::Tls {
        for [cert, key] in [["cert.pem", "key.pem"], ["other.pem", "other-key.pem"]] {
            let mut command = Command::new(venv.python());
            command.arg(python_file("make_certificate.py"));
            command.args([settings.path(cert), settings.path(key)]);
            finish(command, settings, HELPER_LIMIT).expect("make_certificate.py works");
        }
    }
}

/// Runs a command to its end and returns what it printed, as an error unless it succeeded in time.
/// Whatever it leaves behind is ended with it.
fn finish(mut command: Command, settings: &Settings, limit: Duration) -> Result<String, String> {
    let printed = settings.path("printed");
    let output = File::create(&printed).unwrap();
    command
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .process_group(0);
    let mut child = command.spawn().unwrap();
    let group = Pid::from_child(&child);
    let end = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if Instant::now() > end {
            break None;
        }
        std::thread::sleep(POLL);
    };
    // Also after success: a case may have started commands of its own.
    kill_process_group(group, Signal::KILL).ok();
    child.wait().ok();
    let said = fs::read(&printed).unwrap();
    let said = String::from_utf8_lossy(&said).into_owned();
    match status {
        Some(status) if status.success() => Ok(said),
        Some(status) => Err(format!("{said}{status}")),
        None => Err(format!("{said}not over after {} s", limit.as_secs())),
    }
}

/// A serial device on a pseudo terminal, there before the daemon starts.
struct PtyDevice {
    child: Child,
    /// It ends with its standard input.
    _stdin: ChildStdin,
}

impl PtyDevice {
    fn start(venv: &Venv, program: &str, link: PathBuf) -> Self {
        let mut child = Command::new(venv.python())
            .arg(python_file(program))
            .arg(&link)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.flush().unwrap();
        let end = Instant::now() + HELPER_LIMIT;
        while !link.exists() {
            assert!(Instant::now() < end, "{program} made no {}", link.display());
            std::thread::sleep(POLL);
        }
        Self {
            child,
            _stdin: stdin,
        }
    }
}

impl Drop for PtyDevice {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Makes a test of each name, which runs the case `test_NAME` of that file, and one more, named
/// first, which fails when the file holds a case that is not listed. Names after a `+` are listed
/// only: they have a test of their own.
#[macro_export]
macro_rules! cases {
    ($all:ident: $rig:expr, $file:literal, [$($name:ident),+ $(,)?] $(+ [$($own:literal),+])?) => {
        $(
            #[test]
            fn $name() {
                $crate::support::case::run($rig, concat!($file, "::test_", stringify!($name)));
            }
        )+

        #[test]
        fn $all() {
            $crate::support::case::all_listed($file, &[$(stringify!($name),)+ $($($own,)+)?]);
        }
    };
}

/// Fails unless the list names exactly the cases of the file.
pub(crate) fn all_listed(file: &str, listed: &[&str]) {
    let path = file.split("::").next().unwrap();
    let text = fs::read_to_string(python_file(path)).unwrap();
    let mut there: Vec<&str> = text
        .lines()
        .filter_map(|line| {
            line.trim_start()
                .strip_prefix("def test_")?
                .split('(')
                .next()
        })
        .collect();
    let mut listed = listed.to_vec();
    there.sort_unstable();
    listed.sort_unstable();
    assert_eq!(
        listed, there,
        "the cases listed in Rust and those in {path}"
    );
}
