//! `rigd schema`: the JSON schema of exporter.yaml, for editors.

use std::io::Write;

use super::Failure;
use crate::{config::exporter_schema, registry::Registry};

pub(super) fn run() -> Result<(), Failure> {
    let registry = Registry::native();
    let names = registry.entries().iter();
    let drivers: Vec<_> = names
        .flat_map(|e| {
            e.aliases
                .iter()
                .copied()
                .chain([e.type_name])
                .map(|name| (name, e.schema()))
        })
        .collect();
    let schema = exporter_schema(&drivers);
    // A reader that closes early, such as `head`, has what it wanted.
    writeln!(std::io::stdout(), "{schema:#}").ok();
    Ok(())
}
