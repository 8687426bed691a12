//! `rigd console`: watches a console of an exporter, and types into it.
//!
//! ```text
//!   stdin (raw) ──Escape──> requests ──> daemon ──> console
//!   stdout <── Stamps ── output ────────────┘
//! ```

mod keyboard;
mod screen;

use bytes::Bytes;
use rigd_proto::control::v1::{
    ConsoleRequest, OpenConsole, console_request::Act, console_response::News,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    Failure,
    daemon::{ANSWER_LIMIT, Daemon, answer, failed, refused},
    target::Target,
};
use keyboard::{Keyboard, RawTerminal};
use screen::Screen;

/// All that the daemon keeps of a console; more is no mistake.
const ALL: &str = "1048576";
/// Typed frames that wait for the daemon; then the keyboard waits.
const TYPED: usize = 16;

/// Arguments of `rigd console`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which exporter, and which of its consoles, e.g. `board-1/dutlink.console`. Without a path its
    /// only console.
    #[arg(value_name = "EXPORTER[/PATH]", value_parser = Target::parser("console"))]
    target: Target,

    /// Begin with the last BYTES of what it has said, or with all that is kept. Ends after them
    /// unless --follow or --write is there.
    #[arg(long, value_name = "BYTES", num_args = 0..=1, require_equals = true,
          default_missing_value = ALL)]
    history: Option<u64>,

    /// Go on with what it says from now on: what happens without --history.
    #[arg(short, long)]
    follow: bool,

    /// Put the time in front of each line (UTC).
    #[arg(short, long)]
    timestamps: bool,

    /// Type into it; Ctrl-B three times ends it. Refused while a client holds a lease.
    #[arg(short, long)]
    write: bool,

    /// Type although a client holds a lease.
    #[arg(long, requires = "write")]
    force: bool,

    #[command(flatten)]
    daemon: Daemon,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let follow = args.follow || args.write || args.history.is_none();
    let open = OpenConsole {
        exporter: args.target.exporter,
        path: args.target.path,
        history: args.history.unwrap_or(0),
        follow,
        write: args.write,
        force: args.force,
    };
    let (timestamps, write) = (args.timestamps, args.write);
    args.daemon.ask(async |mut client| {
        let (requests, queue) = mpsc::channel(TYPED);
        let act = Some(Act::Open(open));
        // There is room for the first.
        requests.try_send(ConsoleRequest { act }).ok();
        let asked = client.console(ReceiverStream::new(queue));
        let mut news = answer(ANSWER_LIMIT, asked).await?;
        let mut screen = Screen::new(timestamps);
        let mut keyboard = None;
        let mut raw = None;
        let mut stop = signal(SignalKind::terminate()).map_err(failed)?;
        loop {
            // cancel-safe: all arms take what is there or nothing.
            let news = tokio::select! {
                news = news.message() => news.map_err(|status| refused(&status))?,
                typed = Keyboard::next(&mut keyboard) => {
                    let Some(bytes) = typed else { return Ok(()) };
                    send(&requests, bytes).await;
                    continue;
                }
                // The terminal is set back on the way out.
                _ = stop.recv() => return Ok(()),
            };
            match news.and_then(|news| news.news) {
                Some(News::Opened(path)) => {
                    if write {
                        raw = RawTerminal::enter().map_err(failed)?;
                        keyboard = Some(Keyboard::start(raw.is_some()).map_err(failed)?);
                    }
                    screen.opened(&path, raw.is_some());
                }
                Some(News::Output(output)) => {
                    if !screen.show(output) {
                        // A reader that closes early, such as `head`, has what it wanted.
                        return Ok(());
                    }
                }
                Some(News::NotSent(reason)) => screen.say(&format!("not sent: {reason}")),
                None if follow => {
                    drop(raw);
                    return Err(failed("the exporter has stopped"));
                }
                None => return Ok(()),
            }
        }
    })
}

async fn send(requests: &mpsc::Sender<ConsoleRequest>, bytes: Bytes) {
    let act = Some(Act::Input(bytes));
    // A daemon that is gone shows as the end of its news.
    requests.send(ConsoleRequest { act }).await.ok();
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        console: Args,
    }

    fn parse(words: &[&str]) -> Result<Args, clap::Error> {
        let words = ["console"].iter().chain(words);
        Line::try_parse_from(words).map(|line| line.console)
    }

    #[test]
    fn a_history_has_a_size_or_is_all_of_it() {
        assert_eq!(parse(&["board"]).unwrap().history, None);
        let all = parse(&["--history", "board"]).unwrap();
        assert_eq!(
            (all.history, all.target.exporter.as_str()),
            (Some(1 << 20), "board")
        );
        assert_eq!(parse(&["board", "--history=80"]).unwrap().history, Some(80));
        assert!(
            parse(&["board", "--force"]).is_err(),
            "there is nothing to force"
        );
    }
}
