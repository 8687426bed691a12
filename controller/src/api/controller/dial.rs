//! Dial: a client's token for the router, handed to the exporter of its lease as well.

use std::time::{Duration, SystemTime};

use rigd_proto::v1::{DialResponse, ListenResponse};
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use uuid::Uuid;

use super::{
    ControllerService,
    listen::{Offer, Refused},
};
use crate::{
    auth::StreamClaim,
    leases::Refusal,
    model::{Exporter, ExporterState, World},
    presence,
};

/// How long a Dial waits for an exporter that has not begun with its lease; as long as
/// Jumpstarter's client tries.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// What a Dial finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// The exporter serves the lease in this epoch.
    Ready(u64),
    /// The exporter has not heard of its lease yet.
    Wait,
}

impl ControllerService {
    pub(super) async fn do_dial(&self, client: &str, lease: &str) -> Result<DialResponse, Status> {
        let epoch = self.ready(client, lease).await?;
        if self.router.is_empty() {
            return Err(Status::unknown("no router available"));
        }
        let claim = StreamClaim {
            stream: Uuid::new_v4(),
            lease: lease.to_owned(),
            epoch,
        };
        let token = self.engine.tokens().issue_stream(&claim, SystemTime::now());
        let token = token.map_err(|error| {
            tracing::error!(%error, "A token for the router cannot be made.");
            Status::internal("the controller cannot make tokens; its log has the reason")
        })?;
        let place = ListenResponse {
            router_endpoint: self.router.to_string(),
            router_token: token.reveal().to_owned(),
        };
        let answer = DialResponse {
            router_endpoint: place.router_endpoint.clone(),
            router_token: place.router_token.clone(),
        };
        match self.listeners.offer(lease, Offer { epoch, place }) {
            Ok(()) => Ok(answer),
            Err(Refused::Nobody) => Err(Status::unavailable(format!(
                "exporter is not listening on lease {lease}"
            ))),
            Err(Refused::Full) => Err(Status::resource_exhausted(format!(
                "too many dials wait for the exporter of lease {lease}"
            ))),
        }
    }

    /// The epoch of a lease whose exporter serves it; waits while that is about to be so.
    async fn ready(&self, client: &str, lease: &str) -> Result<u64, Status> {
        let mut version = self.engine.version();
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            version.mark_unchanged();
            let now = SystemTime::now();
            let found = self.engine.read(|world| find(world, client, lease, now))?;
            self.engine.used(lease);
            match found {
                Found::Ready(epoch) => return Ok(epoch),
                Found::Wait => {}
            }
            // cancel-safe: it only waits. The engine that is asked here keeps the sender.
            if timeout_at(deadline, version.changed()).await.is_err() {
                return Err(Status::failed_precondition(
                    "exporter is not ready (status: Available)",
                ));
            }
        }
    }
}

/// Everything that a Dial checks, in the order of Jumpstarter's controller. A lease that is over is
/// no more active than one that waits.
#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
fn find(world: &World, client: &str, name: &str, now: SystemTime) -> Result<Found, Status> {
    if name.is_empty() {
        return Err(Status::unknown("empty lease name"));
    }
    let lease = world.leases.get(name);
    let lease = lease.ok_or_else(|| Refusal::NotFound(name.to_owned()))?;
    if lease.client != client {
        return Err(Status::unknown("permission denied"));
    }
    let held = lease.held.as_ref().filter(|_| lease.over.is_none());
    let found = held.and_then(|held| Some((held.epoch, world.exporters.get(&held.exporter)?)));
    let (epoch, exporter) = found.ok_or_else(|| Status::unknown("lease not active"))?;
    let refused = |why: &str| Err(Status::failed_precondition(why));
    match status(exporter, now) {
        None
        | Some(
            ExporterState::LeaseReady
            | ExporterState::BeforeLeaseHook
            | ExporterState::AfterLeaseHook,
        ) => Ok(Found::Ready(epoch)),
        Some(ExporterState::Available) => Ok(Found::Wait),
        Some(ExporterState::Offline) => refused("exporter is offline"),
        Some(ExporterState::BeforeLeaseHookFailed) => refused("exporter beforeLease hook failed"),
        Some(ExporterState::AfterLeaseHookFailed) => refused("exporter afterLease hook failed"),
    }
}

/// An exporter that has a lease and was never seen has not come back since the controller started:
/// nobody knows that it is away, and a client that is told nobody listens tries again.
fn status(exporter: &Exporter, now: SystemTime) -> Option<ExporterState> {
    exporter.presence.last_seen?;
    presence::shown(exporter, now).status
}
