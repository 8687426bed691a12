//! `rigd controller`: the embedded controller, from its start to its clients.

mod apply;
mod create;
mod delete;
mod desk;
mod output;
mod rotate;
mod state;
mod target;

use clap::Subcommand;

use super::{Failure, Global, get, run};

pub(super) use desk::{Absent, Desk, READ_LIMIT};
pub(super) use output::print;

/// Arguments of `rigd controller`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the embedded controller without exporters of this host.
    Run(run::ControllerArgs),
    /// Create a client or an exporter, with its configuration file.
    #[command(subcommand)]
    Create(create::Command),
    /// Delete clients, exporters or policies, or end leases.
    Delete(delete::Args),
    /// Make a new token for a client or an exporter; the old one is no good from then on.
    Rotate(rotate::Args),
    /// Show exporters, leases, clients or policies.
    Get(get::Args),
    /// Bring objects to what a file of Kubernetes resources says.
    Apply(apply::Args),
    /// Write the whole state as JSON, with its secrets.
    Export(state::ExportArgs),
    /// Make the state from an export, where there is none.
    Import(state::ImportArgs),
}

pub(super) fn dispatch(args: Args, global: &Global) -> Result<(), Failure> {
    match args.command {
        Command::Run(args) => run::controller(&args, global),
        Command::Create(command) => create::run(command),
        Command::Delete(args) => delete::run(args),
        Command::Rotate(args) => rotate::run(args),
        Command::Get(args) => get::run(args),
        Command::Apply(args) => apply::run(args),
        Command::Export(args) => state::export(args),
        Command::Import(args) => state::import(&args),
    }
}
