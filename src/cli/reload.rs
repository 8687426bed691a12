//! `rigd reload`: the daemon reads its files again.

use std::{io::Write, time::Duration};

use rigd_proto::control::v1::{ReloadRequest, ReloadResponse};

use super::{
    Failure,
    daemon::{Daemon, answer, failed},
};

/// The daemon itself gives up before this, and says so.
const RELOAD_LIMIT: Duration = Duration::from_secs(60);

/// Arguments of `rigd reload`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    daemon: Daemon,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    args.daemon.ask(async |mut client| {
        let reload = client.reload(ReloadRequest {});
        let ReloadResponse { changes, problems } = answer(RELOAD_LIMIT, reload).await?;
        if !problems.is_empty() {
            // They name their places and are errors each.
            eprintln!("{}", problems.trim_end());
            return Err(failed("the files are not valid; nothing was changed"));
        }
        let changes = match changes.as_slice() {
            [] => "nothing has changed".into(),
            changes => changes.join("\n"),
        };
        // Nobody has to read along.
        writeln!(std::io::stdout(), "{changes}").ok();
        Ok(())
    })
}
