//! `rigd completions SHELL`.

use clap::CommandFactory;

use super::{Cli, Failure};

/// Arguments of `rigd completions`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which shell.
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut command = Cli::command();
    clap_complete::generate(args.shell, &mut command, "rigd", &mut std::io::stdout());
    Ok(())
}
