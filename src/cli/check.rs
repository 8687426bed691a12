//! `rigd check`: parse and plan without opening hardware.

use std::path::PathBuf;

use super::{Failure, files};
use crate::daemon::Access;

/// Arguments of `rigd check`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Exporter files or directories of them; the same as for `rigd run` when left out.
    files: Vec<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let exporters = files::load_all(&files::find(&args.files)?)?;
    for (config, _) in &exporters {
        Access::check(config)?;
    }
    for (config, plan) in exporters {
        println!(
            "{}: exporter {} is valid",
            config.source.name(),
            config.metadata.name
        );
        for (path, type_name) in plan.instances() {
            println!("  {path}: {type_name}");
        }
    }
    Ok(())
}
