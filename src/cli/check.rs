//! `rigd check`: parse and plan without opening hardware.

use std::{io::Write, path::PathBuf};

use super::{Failure, files, run::ControllerArgs};
use crate::{
    config::{ExporterConfig, Settings},
    daemon::Access,
    tree::Plan,
};

/// Arguments of `rigd check`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Exporter files or directories of them; the same as for `rigd run` when left out.
    files: Vec<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let exporters = files::load_all(&files::find(&args.files)?)?;
    let env = |name: &str| std::env::var(name).ok();
    let settings = Settings::load(&env).map_err(Failure::Usage)?;
    let controller = ControllerArgs::default().over(settings.controller)?;
    for (config, _) in &exporters {
        Access::check(config, &controller.namespace)?;
    }
    // Nobody has to read along to the end.
    list(&exporters, &mut std::io::stdout().lock()).ok();
    Ok(())
}

fn list(exporters: &[(ExporterConfig, Plan)], out: &mut impl Write) -> std::io::Result<()> {
    for (config, plan) in exporters {
        let (file, name) = (config.source.name(), &config.metadata.name);
        writeln!(out, "{file}: exporter {name} is valid")?;
        for (path, type_name) in plan.instances() {
            writeln!(out, "  {path}: {type_name}")?;
        }
    }
    Ok(())
}
