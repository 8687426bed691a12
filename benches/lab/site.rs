//! The lab under test: its state is made here, before the controller starts, and is gone with the
//! value.

use std::{
    collections::BTreeMap,
    fs, io,
    net::TcpListener,
    path::{Path, PathBuf},
    time::SystemTime,
};

use rigd_controller::{
    auth::{Kind, Subject},
    certs::{Certs, Source},
    engine::Engine,
    model::{Client, Exporter, Labels, Presence},
    schedule::Settings,
    store::{Change, Store},
};
use tempfile::TempDir;
use uuid::Uuid;

use crate::{Failure, connection::Credentials};

/// The controller's default.
pub(crate) const NAMESPACE: &str = "default";
/// Exporters of one value of the label `rack`, for selectors that fit some of them.
const RACK: usize = 10;

/// A lab that is not running yet.
pub(crate) struct Site {
    dir: TempDir,
    /// `HOST:PORT` at which it will be reached.
    pub(crate) endpoint: String,
    /// What its peers trust.
    pub(crate) ca: String,
    pub(crate) clients: Vec<Credentials>,
    pub(crate) exporters: Vec<Credentials>,
}

/// Where the controller keeps its state, below the daemon's.
fn state(dir: &Path) -> PathBuf {
    dir.join("controller")
}

/// Where its certificate comes from.
fn certificate(dir: &Path) -> Source {
    Source::Made {
        directory: state(dir).join("certificates"),
        names: vec![],
    }
}

/// What a client of this number asks for: exporters of one rack.
pub(crate) fn selector(number: usize, exporters: usize) -> String {
    let racks = exporters.div_ceil(RACK);
    format!("board=rpi4,rack=r{}", number % racks)
}

impl Site {
    /// On the disk that holds the build, as a sync to memory costs nothing.
    pub(crate) async fn make(exporters: usize, clients: usize) -> Result<Self, Failure> {
        let dir = tempfile::Builder::new()
            .prefix("lab")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let certs = Certs::open(certificate(dir.path()), SystemTime::now())?;
        let store = Store::open(&state(dir.path()))?;
        let engine = Engine::open(NAMESPACE.to_owned(), store, Settings::default())?;
        let mut site = Self {
            ca: certs.ca_pem().to_owned(),
            endpoint: free_endpoint()?,
            dir,
            clients: vec![],
            exporters: vec![],
        };
        let now = SystemTime::now();
        let mut changes = Vec::new();
        for number in 0..clients {
            let name = format!("client-{number}");
            let client = Client {
                uid: Uuid::new_v4(),
                labels: Labels::new(),
                created: now,
                tokens_from: now,
            };
            let known = credentials(&engine, Kind::Client, &name, client.uid, now)?;
            site.clients.push(known);
            changes.push(Change::Client(name, Some(client)));
        }
        for number in 0..exporters {
            let name = format!("exporter-{number:04}");
            let exporter = exporter(number, now);
            let known = credentials(&engine, Kind::Exporter, &name, exporter.uid, now)?;
            site.exporters.push(known);
            changes.push(Change::Exporter(name, Some(exporter)));
        }
        engine.change(|_, _| Ok(((), changes))).await?;
        Ok(site)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Key and certificate of the controller, PEM, for a server beside it.
    pub(crate) fn identity(&self) -> io::Result<String> {
        fs::read_to_string(state(self.dir()).join("certificates").join("server.pem"))
    }
}

fn exporter(number: usize, now: SystemTime) -> Exporter {
    let labels = [
        ("board", "rpi4".to_owned()),
        ("rack", format!("r{}", number / RACK)),
        ("slot", (number % RACK).to_string()),
    ];
    Exporter {
        uid: Uuid::new_v4(),
        labels: BTreeMap::from(labels.map(|(key, value)| (key.to_owned(), value))),
        created: now,
        tokens_from: now,
        enabled: true,
        held: None,
        hosted: false,
        devices: vec![],
        presence: Presence::default(),
    }
}

fn credentials(
    engine: &Engine,
    kind: Kind,
    name: &str,
    uid: Uuid,
    now: SystemTime,
) -> Result<Credentials, Failure> {
    let subject = Subject {
        kind,
        namespace: NAMESPACE.to_owned(),
        name: name.to_owned(),
        uid,
    };
    let issued = engine.tokens().issue(&subject, now, now)?;
    Credentials::new(kind.object(), name, issued.token.reveal())
}

/// A port of loopback that nobody has at this moment.
pub(crate) fn free_endpoint() -> io::Result<String> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    Ok(address.to_string())
}
