//! `rigd hold` and `rigd unhold`: take a board out for maintenance.

use std::io::Write;

use rigd_proto::control::v1::{HoldRequest, UnholdRequest};

use super::{
    Failure,
    daemon::{ANSWER_LIMIT, Daemon, answer},
};

/// Arguments of `rigd hold`.
#[derive(Debug, clap::Args)]
pub(super) struct HoldArgs {
    /// Which exporter.
    exporter: String,

    /// Why, for the next person; `rigd status` shows it.
    #[arg(long, value_name = "TEXT")]
    reason: String,

    #[command(flatten)]
    daemon: Daemon,
}

/// Arguments of `rigd unhold`.
#[derive(Debug, clap::Args)]
pub(super) struct UnholdArgs {
    /// Which exporter.
    exporter: String,

    #[command(flatten)]
    daemon: Daemon,
}

pub(super) fn hold(args: HoldArgs) -> Result<(), Failure> {
    let HoldArgs {
        exporter,
        reason,
        daemon,
    } = args;
    daemon.ask(async |mut client| {
        let request = HoldRequest {
            exporter: exporter.clone(),
            reason,
        };
        answer(ANSWER_LIMIT, client.hold(request)).await?;
        say(&format!(
            "{exporter} gets no new lease until `rigd unhold {exporter}`"
        ));
        Ok(())
    })
}

pub(super) fn unhold(args: UnholdArgs) -> Result<(), Failure> {
    let UnholdArgs { exporter, daemon } = args;
    daemon.ask(async |mut client| {
        let request = UnholdRequest {
            exporter: exporter.clone(),
        };
        answer(ANSWER_LIMIT, client.unhold(request)).await?;
        say(&format!("{exporter} can be leased again"));
        Ok(())
    })
}

fn say(line: &str) {
    // Nobody has to read along.
    writeln!(std::io::stdout(), "{line}").ok();
}
