//! Refusals that several here have: what is missing, with the nearest name that is there, and labels
//! that are none.

use tonic::Status;

use super::{QUOTED, What};
use crate::{
    model::{Labels, World},
    resources::checked_labels,
};

/// Names that an answer lists at most.
const LISTED: usize = 8;

/// There is no such object.
pub(super) fn not_found(world: &World, namespace: &str, what: What, name: &str) -> Status {
    let there: Vec<&str> = match what {
        What::Client => world.clients.keys().map(String::as_str).collect(),
        What::Exporter => world.exporters.keys().map(String::as_str).collect(),
        What::Lease => world.leases.keys().map(String::as_str).collect(),
        What::Policy => world.policies.keys().map(String::as_str).collect(),
    };
    let quoted: String = name.chars().take(QUOTED).collect();
    Status::not_found(format!(
        "{what} {namespace}/{quoted} not found: {}",
        hint(&quoted, &there)
    ))
}

/// The nearest name, else the first of them.
fn hint(name: &str, there: &[&str]) -> String {
    let distance = |other: &&&str| strsim::damerau_levenshtein(name, other);
    match there.iter().min_by_key(distance) {
        None => "there is none".to_owned(),
        // A third of the letters may be wrong.
        Some(nearest) if distance(&nearest) <= (nearest.len() / 3).max(1) => {
            format!("did you mean {nearest}?")
        }
        Some(_) => {
            let more = there.len().saturating_sub(LISTED);
            let listed = there.iter().take(LISTED).copied().collect::<Vec<_>>();
            match more {
                0 => format!("there is {}", listed.join(", ")),
                more => format!("there is {} and {more} more", listed.join(", ")),
            }
        }
    }
}

/// Whether Kubernetes would take these labels.
#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
pub(super) fn check_labels(labels: &Labels) -> Result<(), Status> {
    match checked_labels(labels) {
        Ok(_) => Ok(()),
        Err(error) => Err(Status::invalid_argument(format!("label {error}"))),
    }
}

/// A status with what it is about in front.
pub(super) fn about(place: &str, status: &Status) -> Status {
    Status::new(status.code(), format!("{place}: {}", status.message()))
}
