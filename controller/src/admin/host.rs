//! Exporters that the controller's own process serves: they are as their files say.

use super::{Engine, Issued, Status};
use crate::model::Labels;

/// Exporters of these names and labels exist from now on, marked as hosted, and each gets a token; those
/// of before stay good. Hosted ones that are not named any more are taken away, unless they are
/// leased: the next call looks at those again. Gives the tokens in the order of `exporters`.
///
/// # Errors
/// INVALID_ARGUMENT: a name or a label is none, or a name is there twice; the text names the exporter,
/// and nothing changes. INTERNAL: it cannot be kept.
pub async fn host(engine: &Engine, exporters: &[(String, Labels)]) -> Result<Vec<Issued>, Status> {
    let _ = (engine, exporters);
    Err(Status::unimplemented("soon"))
}
