//! The end of one object, and exporters that are held back.

use std::time::SystemTime;

use super::{Engine, Status, What, refused::not_found};
use crate::{leases, model::World, store::Change};

/// Longest reason of a hold, in characters: it stands in one line of a table.
pub const MAX_REASON: usize = 200;

/// Takes an object away. The open leases of a client or an exporter end with it, and their streams; a
/// lease is released, and stays to be looked at.
///
/// # Errors
/// NOT_FOUND, with the nearest name; FAILED_PRECONDITION: the lease is over; INTERNAL: it cannot be
/// kept.
pub async fn delete(engine: &Engine, what: What, name: &str) -> Result<(), Status> {
    let plan = engine.change(|world, now| {
        let owned = || name.to_owned();
        let change = match what {
            What::Client if world.clients.contains_key(name) => Change::Client(owned(), None),
            What::Exporter if world.exporters.contains_key(name) => Change::Exporter(owned(), None),
            What::Policy if world.policies.contains_key(name) => Change::Policy(owned(), None),
            What::Lease if world.leases.contains_key(name) => {
                release(world, engine.namespace(), name, now)?
            }
            _ => return Err(not_found(world, engine.namespace(), what, name)),
        };
        Ok(((), vec![change]))
    });
    plan.await
}

#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
fn release(world: &World, namespace: &str, name: &str, now: SystemTime) -> Result<Change, Status> {
    let holder = world.leases.get(name).map(|lease| lease.client.as_str());
    let lease = leases::release_as_client(world, holder.unwrap_or_default(), name, now)?;
    let over = || {
        let text = format!("lease {namespace}/{name} has ended already");
        Status::failed_precondition(text)
    };
    let lease = lease.ok_or_else(over)?;
    Ok(Change::Lease(name.to_owned(), Some(lease)))
}

/// Holds an exporter back from new leases, or no more (`None`). What is leased stays so.
///
/// # Errors
/// NOT_FOUND, with the nearest name; INVALID_ARGUMENT: the reason is empty, longer than
/// [`MAX_REASON`], or more than a line; INTERNAL: it cannot be kept.
pub async fn hold(engine: &Engine, exporter: &str, reason: Option<String>) -> Result<(), Status> {
    let reason = reason.as_deref().map(check_reason).transpose()?;
    let reason = reason.map(str::to_owned);
    let plan = engine.change(|world, _| {
        let known = world.exporters.get(exporter);
        let missing = || not_found(world, engine.namespace(), What::Exporter, exporter);
        let mut held = known.cloned().ok_or_else(missing)?;
        if held.held == reason {
            return Ok(((), Vec::new()));
        }
        held.held = reason;
        let change = Change::Exporter(exporter.to_owned(), Some(held));
        Ok(((), vec![change]))
    });
    plan.await
}

/// The reason of a hold without the spaces around it.
///
/// # Errors
/// INVALID_ARGUMENT: it is empty, longer than [`MAX_REASON`], or more than a line.
#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
pub fn check_reason(reason: &str) -> Result<&str, Status> {
    let reason = reason.trim();
    let length = reason.chars().count();
    if length == 0 || length > MAX_REASON || reason.chars().any(char::is_control) {
        let text = format!("the reason of a hold must be one line of 1 to {MAX_REASON} characters");
        return Err(Status::invalid_argument(text));
    }
    Ok(reason)
}
