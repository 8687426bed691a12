//! Arguments and exit code; everything else is in the library.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    rigd::cli::Cli::parse().run()
}
