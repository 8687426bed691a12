//! `rigd hook run`: rehearses a hook of an exporter that nobody holds.

use std::io::Write;

use rigd_proto::control::v1::{self as control, RunHookRequest, Verdict, run_hook_response::News};

use super::{
    Failure,
    daemon::{ANSWER_LIMIT, Daemon, answer, failed, refused},
};

/// Arguments of `rigd hook`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Run a hook now, without a lease, and print what it prints.
    Run(RunArgs),
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// Which exporter.
    exporter: String,

    /// Which of its hooks.
    #[arg(value_enum)]
    hook: Hook,

    #[command(flatten)]
    daemon: Daemon,
}

/// Named as in the exporter's file.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Hook {
    /// The script before clients may act.
    #[value(name = "beforeLease")]
    Before,
    /// The script after the last of them.
    #[value(name = "afterLease")]
    After,
}

impl Hook {
    fn name(self) -> &'static str {
        match self {
            Self::Before => "beforeLease",
            Self::After => "afterLease",
        }
    }
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let Command::Run(RunArgs {
        exporter,
        hook,
        daemon,
    }) = args.command;
    let wanted = match hook {
        Hook::Before => control::Hook::BeforeLease,
        Hook::After => control::Hook::AfterLease,
    };
    let request = RunHookRequest {
        exporter,
        hook: wanted.into(),
    };
    daemon.ask(async |mut client| {
        let mut news = answer(ANSWER_LIMIT, client.run_hook(request)).await?;
        let name = hook.name();
        let say = |line: &str| {
            // The hook runs to its end also when nobody reads along.
            writeln!(std::io::stdout(), "{line}").ok();
        };
        // No deadline here: the hook has its own.
        while let Some(response) = news.message().await.map_err(|status| refused(&status))? {
            match response.news {
                Some(News::Line(line)) => say(&line),
                Some(News::Verdict(Verdict { failure })) if failure.is_empty() => {
                    say(&format!("{name}: ok"));
                    return Ok(());
                }
                Some(News::Verdict(Verdict { failure })) => {
                    return Err(failed(format!("{name}: {failure}")));
                }
                None => {}
            }
        }
        Err(failed(format!(
            "{name}: the daemon did not say how it ended"
        )))
    })
}
