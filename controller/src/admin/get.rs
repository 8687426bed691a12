//! What there is, as objects.

use super::{Engine, Status, What};
use crate::resources::Object;

/// The objects of a kind in the order of their names, or those named in the order given, as far as
/// `selector` matches them; an empty one matches all. For leases it looks at the labels that
/// Jumpstarter's controller gives them, and at their tags. `endpoint` is where clients and exporters
/// find the controller, `HOST:PORT`.
///
/// # Errors
/// NOT_FOUND: one of the names, with the nearest one; INVALID_ARGUMENT: the selector is none.
#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
pub fn get(
    engine: &Engine,
    what: What,
    names: &[String],
    selector: &str,
    endpoint: &str,
) -> Result<Vec<Object>, Status> {
    let _ = (engine, what, names, selector, endpoint);
    Err(Status::unimplemented("soon"))
}
