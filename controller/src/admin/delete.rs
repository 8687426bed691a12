//! The end of one object, and exporters that are held back.

use super::{Engine, Status, What};

/// Longest reason of a hold, in characters: it stands in one line of a table.
pub const MAX_REASON: usize = 200;

/// Takes an object away. The open leases of a client or an exporter end with it, and their streams; a
/// lease is released, and stays to be looked at.
///
/// # Errors
/// NOT_FOUND, with the nearest name; FAILED_PRECONDITION: the lease is over; INTERNAL: it cannot be
/// kept.
pub async fn delete(engine: &Engine, what: What, name: &str) -> Result<(), Status> {
    let _ = (engine, what, name);
    Err(Status::unimplemented("soon"))
}

/// Holds an exporter back from new leases, or no more (`None`). What is leased stays so.
///
/// # Errors
/// NOT_FOUND, with the nearest name; INVALID_ARGUMENT: the reason is empty, longer than
/// [`MAX_REASON`], or more than a line; INTERNAL: it cannot be kept.
pub async fn hold(engine: &Engine, exporter: &str, reason: Option<String>) -> Result<(), Status> {
    let _ = (engine, exporter, reason);
    Err(Status::unimplemented("soon"))
}
