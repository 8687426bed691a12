//! The two sides: directories, exporter files, pseudo-terminals, and servers that are up.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use rigd_client::{ConnectOptions, Exporter};
use tempfile::TempDir;

use crate::{
    Failure,
    process::Process,
    streams::EchoingTty,
    support::{
        python::{self, Venv},
        settings::free_port,
    },
};

/// One file for both sides.
const EXPORTER: &str = include_str!("exporter.yaml");

/// What rigd is run by.
const SERVICE: &str = include_str!("../../systemd/rigd.service");

/// Python needs two thirds of a second, more on a loaded machine.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Fine enough for starts of some milliseconds.
const POLL: Duration = Duration::from_micros(500);

/// Which exporter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Python,
    Rigd,
}

/// Where all of it happens: a directory on tmpfs, and the interpreter with the released packages, if
/// there is one.
#[derive(Debug)]
pub(crate) struct Place {
    dir: TempDir,
    pub(crate) venv: Option<&'static Venv>,
}

impl Place {
    pub(crate) fn new() -> Result<Self, Failure> {
        // tmpfs on every Linux; elsewhere the disk would be measured, which the user should know.
        let tmpfs = Path::new("/dev/shm");
        let dir = tempfile::Builder::new()
            .prefix("rigd-bench-")
            .tempdir_in(tmpfs)?;
        Ok(Self {
            dir,
            venv: python::venv(),
        })
    }

    /// A directory of its own for everything that a server writes.
    pub(crate) fn fresh_dir(&self, name: &str) -> Result<PathBuf, Failure> {
        let dir = self.dir.path().join(name);
        fs::remove_dir_all(&dir).ok();
        for sub in ["run", "state", "home", "tmp", "exporters"] {
            fs::create_dir_all(dir.join(sub))?;
        }
        Ok(dir)
    }
}

/// `rigd` or `jmp` with all its directories inside of `dir`.
pub(crate) fn command(program: impl AsRef<OsStr>, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_remove("NOTIFY_SOCKET")
        .env_remove("CREDENTIALS_DIRECTORY")
        .env("RUNTIME_DIRECTORY", dir.join("run"))
        .env("STATE_DIRECTORY", dir.join("state"))
        .env("XDG_RUNTIME_DIR", dir.join("run"))
        .env("TMPDIR", dir.join("tmp"))
        .env("HOME", dir.join("home"))
        .current_dir(dir.join("home"));
    command
}

/// rigd with the environment of its service.
pub(crate) fn rigd_command(dir: &Path) -> Command {
    let mut rigd = command(env!("CARGO_BIN_EXE_rigd"), dir);
    let settings = SERVICE
        .lines()
        .filter_map(|line| line.strip_prefix("Environment="));
    for setting in settings.flat_map(str::split_whitespace) {
        if let Some((name, value)) = setting.split_once('=') {
            rigd.env(name, value);
        }
    }
    rigd
}

/// Writes an exporter file that both sides can serve.
pub(crate) fn exporter_file(dir: &Path, name: &str, tty: &str) -> Result<PathBuf, Failure> {
    let text = EXPORTER.replace("@NAME@", name).replace("@TTY@", tty);
    write_exporter(dir, name, &text)
}

/// The same for rigd alone, which then listens at `socket`.
pub(crate) fn listening_file(dir: &Path, name: &str, socket: &Path) -> Result<(), Failure> {
    let text = EXPORTER.replace("@NAME@", name).replace("@TTY@", "loop://");
    let listen = format!("listen: {{unix: \"{}\"}}\n", socket.display());
    write_exporter(dir, name, &(text + &listen)).map(drop)
}

/// What that file exports, for one with a head of its own.
pub(crate) fn export(tty: &str) -> Result<String, Failure> {
    let (_, devices) = EXPORTER.split_once("export:").ok_or("nothing exported")?;
    Ok(format!("export:{}", devices.replace("@TTY@", tty)))
}

/// Puts a file where `run DIR/exporters` finds it.
pub(crate) fn write_exporter(dir: &Path, name: &str, text: &str) -> Result<PathBuf, Failure> {
    let file = dir.join("exporters").join(format!("{name}.yaml"));
    fs::write(&file, text)?;
    Ok(file)
}

/// A server and a connection to it.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) process: Process,
    /// Over TCP.
    pub(crate) exporter: Exporter,
    pub(crate) address: String,
    /// rigd listens here too.
    pub(crate) socket: PathBuf,
    /// From the start of the process to its first answered call.
    pub(crate) start: Duration,
}

impl Peer {
    /// Starts a server for `file` and waits for its first successful call.
    pub(crate) async fn start(
        place: &Place,
        kind: Kind,
        dir: &Path,
        file: &Path,
    ) -> Result<Self, Failure> {
        let address = format!("127.0.0.1:{}", free_port());
        let socket = dir.join("run").join("bench.sock");
        let mut command = match kind {
            Kind::Rigd => {
                let mut command = rigd_command(dir);
                command.arg("run").arg(file).arg("--unix").arg(&socket);
                command
            }
            Kind::Python => {
                let venv = place.venv.ok_or("there is no suitable Python")?;
                let mut command = command(venv.bin("jmp"), dir);
                command.arg("run").arg("--exporter-config").arg(file);
                // With drivers of this benchmark beside those of the packages.
                command.env(
                    "PYTHONPATH",
                    concat!(env!("CARGO_MANIFEST_DIR"), "/benches/compare"),
                );
                command.env("PYTHONDONTWRITEBYTECODE", "1");
                command
            }
        };
        command.args(["--tls-grpc-listener", &address, "--tls-grpc-insecure"]);
        let began = Instant::now();
        let mut process = Process::start(&mut command, dir.join("log"))?;
        let exporter = loop {
            match first_call(&address).await {
                Ok(exporter) => break exporter,
                Err(error) if began.elapsed() > START_LIMIT => {
                    return Err(format!("{kind:?} does not serve: {error}").into());
                }
                Err(_) => {
                    process.check().map_err(|end| format!("{kind:?} {end}"))?;
                    tokio::time::sleep(POLL).await;
                }
            }
        };
        Ok(Self {
            process,
            exporter,
            address,
            socket,
            start: began.elapsed(),
        })
    }
}

async fn first_call(address: &str) -> Result<Exporter, rigd_client::Error> {
    let exporter = Exporter::connect_tcp(address, &ConnectOptions::default()).await?;
    exporter.device("power").await?.power().on().await?;
    Ok(exporter)
}

/// Both servers, up at once and used in turns; the idle one costs next to nothing.
#[derive(Debug)]
pub(crate) struct Peers {
    pub(crate) python: Option<Side>,
    pub(crate) rigd: Side,
}

/// A server and the far end of its console.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) peer: Peer,
    pub(crate) _tty: EchoingTty,
}

impl Peers {
    pub(crate) async fn start(place: &Place) -> Result<Self, Failure> {
        Ok(Self {
            python: match place.venv {
                Some(_) => Some(Side::start(place, Kind::Python).await?),
                None => None,
            },
            rigd: Side::start(place, Kind::Rigd).await?,
        })
    }
}

impl Side {
    async fn start(place: &Place, kind: Kind) -> Result<Self, Failure> {
        let dir = place.fresh_dir(&format!("{kind:?}"))?;
        let tty = EchoingTty::open()?;
        let file = exporter_file(&dir, "bench", &tty.path)?;
        let peer = Peer::start(place, kind, &dir, &file).await?;
        Ok(Self { peer, _tty: tty })
    }
}

/// Takes a figure of both sides in turns; the medians.
pub(crate) async fn in_turns(
    peers: &Peers,
    repetitions: usize,
    mut figure: impl AsyncFnMut(&Peer) -> Result<f64, Failure>,
) -> Result<(Option<f64>, Option<f64>), Failure> {
    let (mut python, mut rigd) = (vec![], vec![]);
    for _ in 0..repetitions {
        if let Some(side) = &peers.python {
            python.push(figure(&side.peer).await?);
        }
        rigd.push(figure(&peers.rigd.peer).await?);
    }
    let python = peers.python.is_some().then(|| crate::median(python));
    Ok((python, Some(crate::median(rigd))))
}
