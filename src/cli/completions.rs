//! `rigd completions SHELL`.

use std::io::Write;

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
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, "rigd", &mut text);
    // Nobody has to read it to the end.
    std::io::stdout().write_all(&text).ok();
    Ok(())
}
