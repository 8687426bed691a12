//! `rigd status`: the exporters, who holds them, and what does not work.

mod json;
mod table;

use std::io::Write;

use rigd_proto::control::v1::StatusRequest;

use super::{
    Failure,
    daemon::{ANSWER_LIMIT, Daemon, answer},
};
use table::Detail;

/// Arguments of `rigd status`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show one exporter; all when left out.
    exporter: Option<String>,

    /// Show all instances, sockets and texts, not only what needs attention.
    #[arg(short = 'v', long, visible_alias = "verbose")]
    all: bool,

    /// For machines.
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT")]
    output: Option<Output>,

    #[command(flatten)]
    daemon: Daemon,
}

/// How the answer is written.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Output {
    /// One JSON object with everything.
    Json,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let Args {
        exporter,
        all,
        output,
        daemon,
    } = args;
    let request = StatusRequest {
        exporter: exporter.unwrap_or_default(),
    };
    daemon.ask(async |mut client| {
        let status = answer(ANSWER_LIMIT, client.status(request)).await?;
        let text = match output {
            Some(Output::Json) => format!("{:#}\n", json::value(&status)),
            None => table::text(&status, if all { Detail::All } else { Detail::Attention }),
        };
        // A reader that closes early, such as `head`, has what it wanted.
        std::io::stdout().write_all(text.as_bytes()).ok();
        Ok(())
    })
}
