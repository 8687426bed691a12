//! Objects that are to be as a text says.

use super::{Engine, Status, What};

/// Longest text, in bytes: that of thousands of objects, and what a gRPC message holds.
pub const MAX_TEXT: usize = 4 * 1024 * 1024;

/// What became of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its kind.
    pub what: What,
    /// Its name.
    pub name: String,
    /// What was done.
    pub done: Done,
}

/// What was done with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// It was not there before.
    Created,
    /// It was otherwise before.
    Configured,
    /// It was so before.
    Unchanged,
}

/// Brings objects to what a text says: YAML documents or JSON, each an Exporter, Client, Lease or
/// ExporterAccessPolicy, or a List of such. All is checked before anything changes, and changed in one
/// commit. Names that the text does not mention stay as they are, as do status, uid and times of
/// creation.
///
/// # Errors
/// INVALID_ARGUMENT or FAILED_PRECONDITION, with the object and the field, and nothing changed;
/// INTERNAL: it cannot be kept.
pub async fn apply(engine: &Engine, text: &str) -> Result<Vec<Applied>, Status> {
    let _ = (engine, text);
    Err(Status::unimplemented("soon"))
}
