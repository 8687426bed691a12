//! `rigd check`: parse and plan without opening hardware.

use std::path::PathBuf;

use super::{Failure, files};
use crate::{config::Diagnostics, registry::Registry, tree::Plan};

/// Arguments of `rigd check`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Exporter files or directories of them; the same as for `rigd run` when left out.
    files: Vec<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let registry = Registry::native();
    let configs = files::load_all(&files::find(&args.files)?)?;
    let mut bad = Vec::new();
    for config in &configs {
        match Plan::new(config, &registry) {
            Ok(plan) => {
                println!(
                    "{}: exporter {} is valid",
                    config.source.name(),
                    config.metadata.name
                );
                for (path, type_name) in plan.instances() {
                    println!("  {path}: {type_name}");
                }
            }
            Err(problems) => bad.push(Diagnostics::new(config.source.clone(), problems)),
        }
    }
    if bad.is_empty() {
        Ok(())
    } else {
        Err(Failure::Config(bad))
    }
}
