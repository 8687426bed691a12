//! What the router asks and tells: whether a stream may be opened, and that its lease is in use.

use std::{sync::Weak, time::SystemTime};

use tonic::Status;

use super::{Engine, Inner};
use crate::{
    auth::Token,
    model::{Exporter, Presence, World},
    router::{Pass, Passes},
};

/// Lets into the router what a lease of this moment allows.
pub(super) struct Gate(pub(super) Weak<Inner>);

impl Passes for Gate {
    fn admit(&self, token: &Token) -> Result<Pass, Status> {
        let over = || Status::unauthenticated("invalid jwt token");
        let engine = Engine(self.0.upgrade().ok_or_else(over)?);
        let claim = engine.tokens().verify_stream(token, SystemTime::now())?;
        let live = engine.read(|world| {
            let lease = world.leases.get(&claim.lease);
            let lease = lease.filter(|lease| lease.over.is_none());
            lease.and_then(|lease| Some(lease.held.as_ref()?.epoch == claim.epoch))
        });
        match live {
            Some(true) => Ok(Pass {
                stream: claim.stream.to_string(),
                lease: claim.lease,
                epoch: claim.epoch,
            }),
            _ => Err(over()),
        }
    }

    fn opened(&self, pass: &Pass) {
        self.tunnel(pass, Presence::tunnel_opened);
    }

    fn closed(&self, pass: &Pass) {
        self.tunnel(pass, Presence::tunnel_closed);
    }
}

impl Engine {
    /// A client of this lease wants a tunnel, which it may not have at once. Nothing follows but a
    /// later end of a lease that nobody uses.
    pub(crate) fn used(&self, lease: &str) {
        let mut state = self.state();
        if let Some(exporter) = server(&mut state.world, lease) {
            exporter.presence.used(SystemTime::now());
        }
    }
}

/// The exporter that serves a lease.
fn server<'a>(world: &'a mut World, lease: &str) -> Option<&'a mut Exporter> {
    let lease = world.leases.get(lease);
    let held = lease.filter(|lease| lease.over.is_none())?.held.as_ref()?;
    world.exporters.get_mut(&held.exporter)
}

impl Gate {
    /// Counts a tunnel of the exporter that serves the lease, unless it serves another one by now.
    fn tunnel(&self, pass: &Pass, count: impl FnOnce(&mut Presence, SystemTime)) {
        let Some(engine) = self.0.upgrade().map(Engine) else {
            return;
        };
        let mut state = engine.state();
        let now = SystemTime::now();
        let Some(exporter) = server(&mut state.world, &pass.lease) else {
            return;
        };
        count(&mut exporter.presence, now);
        // Nothing else follows from tunnels.
        if engine.0.settings.idle.is_some() {
            engine.step(&mut state, now);
        }
    }
}
