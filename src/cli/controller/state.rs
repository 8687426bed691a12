//! `rigd controller export` and `import`: the whole state, as one document.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
};

use rigd_controller::{
    config_files::{Existing, write_file},
    store::{self, Dump, Loaded},
};
use rigd_proto::control::v1::ExportRequest;

use super::{
    Absent, Desk,
    apply::read,
    desk::{READ_LIMIT, state_directory},
    output, print,
};
use crate::{
    cli::{
        Failure,
        daemon::{answer, failed},
    },
    config::Settings,
    control::controller::MAX_ANSWER,
    embedded,
};

/// Arguments of `rigd controller export`.
#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    /// Write it to this file, for its owner only; `-` is standard output. It holds the keys of the
    /// lab: whoever has it can make tokens.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Overwrite a file that is there.
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    desk: Desk,
}

/// Arguments of `rigd controller import`.
#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// An export; `-` is standard input. The state directory must have no state yet, and no daemon
    /// may have it.
    file: PathBuf,
}

pub(super) fn export(args: ExportArgs) -> Result<(), Failure> {
    let existing = match args.force {
        true => Existing::Replace,
        false => Existing::Keep,
    };
    if args.out.is_none() && std::io::stdout().is_terminal() {
        return Err(Failure::usage(
            "say where the state goes, which holds the keys of the lab: --out FILE, or --out - to \
             print it",
        ));
    }
    let file = args.out.filter(|path| path != Path::new("-"));
    args.desk.ask(Absent::Refuse, async |mut client| {
        let exported = answer(READ_LIMIT, client.export(ExportRequest {})).await?;
        let Some(path) = file else {
            return output::document(&exported.state);
        };
        let text = String::from_utf8_lossy(&exported.state);
        write_file(&path, &text, existing).map_err(failed)?;
        print(&format!("{} written", path.display()));
        Ok(())
    })
}

pub(super) fn import(args: &ImportArgs) -> Result<(), Failure> {
    let env = |name: &str| std::env::var(name).ok();
    let settings = Settings::load(&env).map_err(Failure::Usage)?;
    let (name, json) = read(&args.file, MAX_ANSWER).map_err(failed)?;
    let dump = Dump::parse(&json).map_err(|error| failed(format!("{name}: {error}")))?;
    let Loaded { world, .. } = dump.clone().into_parts();
    let directory = embedded::directory(&state_directory(&settings));
    store::import(&directory, dump).map_err(failed)?;
    print(&format!(
        "{} clients, {} exporters, {} leases and {} policies imported into {}",
        world.clients.len(),
        world.exporters.len(),
        world.leases.len(),
        world.policies.len(),
        directory.display()
    ));
    Ok(())
}
