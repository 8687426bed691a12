//! Administration of a small lab.

mod apply;
mod apply_leases;
mod host;
mod objects;
mod tokens;

use tonic::{Code, Status};
use uuid::Uuid;

use super::*;
use crate::{
    auth::{self, Claimed},
    leases::{self, Limits, Request},
    model::{Labels, Lease, World},
    sample,
    schedule::Settings,
    store::{Change, Store},
};

/// The lab `lab` with the clients `alice` and `bob` and the exporters `rig-1` (`board=rpi4`) and
/// `rig-2` (`board=rpi5`), which are there.
struct Lab {
    engine: Engine,
    directory: tempfile::TempDir,
}

impl Lab {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let engine = Engine::open("lab".into(), store, Settings::default()).unwrap();
        let mut world = World::default();
        sample::client(&mut world, "alice", &[("team", "a")]);
        sample::client(&mut world, "bob", &[("team", "b")]);
        sample::exporter(&mut world, "rig-1", &[("board", "rpi4")]);
        sample::exporter(&mut world, "rig-2", &[("board", "rpi5")]);
        let clients = world.clients.into_iter();
        let mut all: Vec<_> = clients
            .map(|(n, one)| Change::Client(n, Some(one)))
            .collect();
        let exporters = world.exporters.into_iter();
        all.extend(exporters.map(|(n, one)| Change::Exporter(n, Some(one))));
        engine.change(|_, _| Ok(((), all))).await.unwrap();
        Self { engine, directory }
    }

    fn world(&self) -> World {
        self.engine.read(World::clone)
    }

    fn lease(&self, name: &str) -> Lease {
        self.world().leases[name].clone()
    }

    /// An hour of what matches, for a client.
    async fn ask(&self, name: &str, client: &str, selector: &str) {
        let request = Request {
            id: name.into(),
            tags: sample::labels(&[("job", "nightly")]),
            ..sample::request(selector)
        };
        let plan = self.engine.change(|world, now| {
            let limits = Limits::default();
            let created = leases::create(world, &limits, client, &request, Uuid::now_v7(), now)?;
            let change = Change::Lease(created.name, Some(created.lease));
            Ok(((), vec![change]))
        });
        plan.await.unwrap();
    }

    /// Whether a call with this token gets in.
    fn admits(&self, issued: &Issued) -> bool {
        let now = SystemTime::now();
        let claimed = Claimed {
            token: issued.token.clone(),
            kind: issued.kind,
            namespace: issued.namespace.clone(),
            name: issued.name.clone(),
        };
        let tokens = self.engine.tokens();
        let admitted = self
            .engine
            .read(|world| auth::authenticate(tokens, world, "lab", &claimed, issued.kind, now));
        admitted.is_ok()
    }

    fn names(&self, what: What) -> Vec<String> {
        let world = self.world();
        match what {
            What::Client => world.clients.into_keys().collect(),
            What::Exporter => world.exporters.into_keys().collect(),
            What::Lease => world.leases.into_keys().collect(),
            What::Policy => world.policies.into_keys().collect(),
        }
    }
}

/// Code and text.
#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.unwrap_err();
    (status.code(), status.message().to_owned())
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    sample::labels(pairs)
}
