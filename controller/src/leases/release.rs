//! The end of a lease that somebody wants.

use std::time::SystemTime;

use super::{Refusal, current, finish};
use crate::model::{End, Lease, World};

const RELEASED: &str = "The lease was marked for release";

/// `DeleteLease` of a client; `resource` is the name as the request has it. `None`: it is over
/// already, by its time or for good reason, and nothing changes.
///
/// # Errors
/// There is no such lease, it is somebody else's, or it was released before.
pub fn delete(
    world: &World,
    client: &str,
    name: &str,
    resource: &str,
    now: SystemTime,
) -> Result<Option<Lease>, Refusal> {
    let lease = own(world, client, name, "DeleteLease")?;
    if lease
        .over
        .as_ref()
        .is_some_and(|over| over.how == End::Released)
    {
        return Err(Refusal::AlreadyReleased(resource.to_owned()));
    }
    Ok(released(lease, now))
}

/// `ReleaseLease` of a client. `None`: it is over already.
///
/// # Errors
/// There is no such lease, or it is somebody else's.
pub fn release_as_client(
    world: &World,
    client: &str,
    name: &str,
    now: SystemTime,
) -> Result<Option<Lease>, Refusal> {
    Ok(released(own(world, client, name, "ReleaseLease")?, now))
}

/// `ReleaseLease` of an exporter. `None`: it is over already.
///
/// # Errors
/// There is no such lease, or this exporter does not serve it.
pub fn release_as_exporter(
    world: &World,
    exporter: &str,
    name: &str,
    now: SystemTime,
) -> Result<Option<Lease>, Refusal> {
    let lease = world.leases.get(name);
    let lease = lease.ok_or_else(|| Refusal::NotFoundForExporter(name.to_owned()))?;
    if lease
        .held
        .as_ref()
        .is_none_or(|held| held.exporter != exporter)
    {
        let (lease, exporter) = (name.to_owned(), exporter.to_owned());
        return Err(Refusal::NotHeld { lease, exporter });
    }
    Ok(released(lease, now))
}

/// The `release_lease` of an exporter's `ReportStatus`: what it serves now, and nothing else, ends.
pub fn release_current(world: &World, exporter: &str, now: SystemTime) -> Option<(String, Lease)> {
    let (name, lease) = current(world, exporter)?;
    Some((name.to_owned(), released(lease, now)?))
}

/// A client's own lease.
pub(super) fn own<'a>(
    world: &'a World,
    client: &str,
    name: &str,
    method: &'static str,
) -> Result<&'a Lease, Refusal> {
    let lease = world.leases.get(name);
    let lease = lease.ok_or_else(|| Refusal::NotFound(name.to_owned()))?;
    if lease.client == client {
        Ok(lease)
    } else {
        Err(Refusal::NotYours(method))
    }
}

fn released(lease: &Lease, now: SystemTime) -> Option<Lease> {
    if lease.over.is_some() {
        return None;
    }
    let mut lease = lease.clone();
    finish(&mut lease, End::Released, "Released", RELEASED, now);
    Some(lease)
}
