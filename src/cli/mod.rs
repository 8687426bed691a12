//! The command line: one file a subcommand.
//!
//! Exit codes: 0 stopped as asked; 1 failed while running (restart me); 2 bad arguments or
//! configuration; 3 ended by hook policy.

mod call;
mod check;
mod completions;
mod console;
mod controller;
mod daemon;
mod drivers;
mod exit;
mod files;
mod flash;
mod get;
mod hold;
mod hook;
mod reload;
mod run;
mod schema;
mod status;
mod target;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use exit::Failure;

/// Serves the instruments wired to a board to Jumpstarter clients.
#[derive(Debug, Parser)]
#[command(name = "rigd", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    global: Global,
}

/// Options of every command.
#[derive(Debug, Clone, clap::Args)]
struct Global {
    /// What to log, e.g. `info` or `rigd=debug,warn`.
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,

    /// How log lines look.
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    log_format: Option<crate::telemetry::LogFormat>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve exporters (the default).
    Run(run::Args),
    /// Show the exporters of the running daemon, who holds them, and what does not work.
    Status(status::Args),
    /// Let the running daemon read its files again.
    Reload(reload::Args),
    /// Call a method of an instance.
    Call(call::Args),
    /// Watch a console, and type into it.
    Console(console::Args),
    /// Write an image to a card.
    Flash(flash::Args),
    /// Hold an exporter back from leases, for maintenance.
    Hold(hold::HoldArgs),
    /// End a hold.
    Unhold(hold::UnholdArgs),
    /// Rehearse the hooks of an exporter.
    Hook(hook::Args),
    /// Show exporters, leases, clients or policies of the embedded controller.
    Get(get::Args),
    /// Administer the embedded controller.
    Controller(controller::Args),
    /// Check exporter files without touching hardware.
    Check(check::Args),
    /// List the drivers, or show one with its config keys.
    Drivers(drivers::Args),
    /// Print the JSON schema of exporter.yaml.
    Schema,
    /// Print completions for a shell.
    Completions(completions::Args),
}

impl Cli {
    /// Runs the command; errors are printed.
    pub fn run(self) -> ExitCode {
        let outcome = match self
            .command
            .unwrap_or_else(|| Command::Run(run::Args::default()))
        {
            Command::Run(args) => run::run(args, &self.global),
            Command::Status(args) => status::run(args),
            Command::Reload(args) => reload::run(args),
            Command::Call(args) => call::run(args),
            Command::Console(args) => console::run(args),
            Command::Flash(args) => flash::run(args),
            Command::Hold(args) => hold::hold(args),
            Command::Unhold(args) => hold::unhold(args),
            Command::Hook(args) => hook::run(args),
            Command::Get(args) => get::run(args),
            Command::Controller(args) => controller::dispatch(args, &self.global),
            Command::Check(args) => check::run(&args),
            Command::Drivers(args) => drivers::run(&args),
            Command::Schema => schema::run(),
            Command::Completions(args) => completions::run(&args),
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.report(),
        }
    }
}
