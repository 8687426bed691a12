//! Clients and exporters come to be, and get their tokens.

use super::{Engine, Issued, Kind, Status};
use crate::model::Labels;

/// A new client or exporter, and its first token. Exporters need at least one label, as with
/// Jumpstarter's own administration; clients need none.
///
/// # Errors
/// INVALID_ARGUMENT: the name or a label is none; ALREADY_EXISTS; INTERNAL: it cannot be kept.
pub async fn create(
    engine: &Engine,
    kind: Kind,
    name: &str,
    labels: Labels,
) -> Result<Issued, Status> {
    let _ = (engine, kind, name, labels);
    Err(Status::unimplemented("soon"))
}

/// A new token; those of before are no good from now on.
///
/// # Errors
/// NOT_FOUND, with the nearest name; INTERNAL: it cannot be kept.
pub async fn rotate(engine: &Engine, kind: Kind, name: &str) -> Result<Issued, Status> {
    let _ = (engine, kind, name);
    Err(Status::unimplemented("soon"))
}

/// One more token; those of before stay good until their end.
///
/// # Errors
/// NOT_FOUND, with the nearest name.
pub async fn issue(engine: &Engine, kind: Kind, name: &str) -> Result<Issued, Status> {
    let _ = (engine, kind, name);
    Err(Status::unimplemented("soon"))
}

/// A token for the lab's own client, which is made when it is missing.
///
/// # Errors
/// INVALID_ARGUMENT: the name is none; INTERNAL: it cannot be kept.
pub async fn own_client(engine: &Engine, name: &str) -> Result<Issued, Status> {
    let _ = (engine, name);
    Err(Status::unimplemented("soon"))
}
