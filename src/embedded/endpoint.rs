//! Under which address the controller is handed out, from one start to the next.

use std::path::Path;

use rigd_controller::config_files::{ConfigFileError, Existing, write_file};

use crate::config::Endpoint;

/// Beside the state: files that were handed out name this endpoint.
const FILE: &str = "endpoint";

/// The endpoint of the last start.
pub(crate) fn remembered(directory: &Path) -> Option<Endpoint> {
    let text = std::fs::read_to_string(directory.join(FILE)).ok()?;
    text.trim().parse().ok()
}

/// Keeps it for the next start, and for commands while no daemon runs.
pub(super) fn remember(directory: &Path, endpoint: &Endpoint) -> Result<(), ConfigFileError> {
    let text = format!("{endpoint}\n");
    write_file(&directory.join(FILE), &text, Existing::Replace)
}
