//! `rigd flash`: writes an image to a card of an exporter.
//!
//! ```text
//!   file ──reader thread──> requests ──> daemon ──> card
//!   stderr <── Display <── progress ───────┘ └── result ──> stdout
//! ```
//!
//! The file is opened here, with the rights of whoever runs the command: the daemon needs none to it.

mod display;
mod image;
mod wording;

use std::{io::Write, path::PathBuf};

use rigd_proto::{
    control::v1::{FlashRequest, OpenFlash, flash_request::Act, flash_response::News},
    value,
};
use serde_json::{Map, Value};
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
use display::Display;
use image::Image;

/// Pieces of the image that wait for the daemon; then the file waits.
const WAITING: usize = 4;

/// Arguments of `rigd flash`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which exporter, and which of its cards, e.g. `board-1/dutlink.storage`. Without a path its
    /// only card.
    #[arg(value_name = "EXPORTER[/PATH]", value_parser = Target::parser("storage"))]
    target: Target,

    /// The image, raw or compressed, as a file that you may read; `-` is standard input.
    #[arg(value_name = "IMAGE")]
    image: PathBuf,

    /// Write only what this block map of the image names. Without it `IMAGE.bmap` is used, if it is
    /// there.
    #[arg(long, value_name = "FILE", conflicts_with = "no_bmap")]
    bmap: Option<PathBuf>,

    /// Look for no block map beside the image.
    #[arg(long)]
    no_bmap: bool,

    /// What to read back, in place of what is configured.
    #[arg(long, value_parser = ["none", "sampled", "full"])]
    verify: Option<String>,

    /// What need not be written again, in place of what is configured.
    #[arg(long, value_parser = ["none", "proven", "compare"])]
    delta: Option<String>,

    /// What to do with long runs of zeros, in place of what is configured.
    #[arg(long, value_parser = ["write", "skip"])]
    holes: Option<String>,

    /// Whether to unpack the image, in place of what is configured.
    #[arg(long, value_parser = ["auto", "raw"])]
    format: Option<String>,

    /// Write although a client holds a lease.
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    daemon: Daemon,
}

impl Args {
    /// The second argument of `write`; none where nothing is said.
    fn options(&self, bmap: Option<String>) -> Option<Value> {
        let said = [
            ("verify", &self.verify),
            ("delta", &self.delta),
            ("holes", &self.holes),
            ("format", &self.format),
            ("bmap", &bmap),
        ];
        let said = said.into_iter().filter_map(|(key, word)| {
            let word = word.clone()?;
            Some((key.to_owned(), Value::String(word)))
        });
        let options: Map<_, _> = said.collect();
        (!options.is_empty()).then_some(Value::Object(options))
    }
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    // All that can be wrong here is found before anything is asked.
    let image = Image::open(&args.image).map_err(failed)?;
    let bmap = match &args.bmap {
        Some(path) => Some(image::read_map(path).map_err(failed)?),
        None if args.no_bmap => None,
        None => image::map_beside(&args.image),
    };
    let options = args.options(bmap);
    let open = OpenFlash {
        exporter: args.target.exporter,
        path: args.target.path,
        image: image.name().to_owned(),
        size: image.size(),
        options: options.map(value::from_json),
        force: args.force,
    };
    args.daemon.ask(async |mut client| {
        let (mut interrupt, mut terminate) = (
            signal(SignalKind::interrupt()).map_err(failed)?,
            signal(SignalKind::terminate()).map_err(failed)?,
        );
        let (requests, queue) = mpsc::channel(WAITING);
        let act = Some(Act::Open(open));
        // There is room for the first.
        requests.try_send(FlashRequest { act }).ok();
        let asked = client.flash(ReceiverStream::new(queue));
        let mut news = answer(ANSWER_LIMIT, asked).await?;
        let mut display = Display::new(image.size());
        let mut reading = image.send(requests).map_err(failed)?;
        let mut path = String::new();
        loop {
            // cancel-safe: all arms take what is there or nothing.
            let news = tokio::select! {
                biased;
                news = news.message() => {
                    news.map_err(|status| refused(&status)).inspect_err(|_| display.clear())?
                }
                error = reading.failed() => {
                    display.clear();
                    return Err(failed(display.broken(&error)));
                }
                // The requests end with the process, and the daemon stops writing.
                _ = interrupt.recv() => {
                    display.clear();
                    return Err(failed(display.broken("interrupted")));
                }
                _ = terminate.recv() => {
                    display.clear();
                    return Err(failed(display.broken("terminated")));
                }
            };
            match news.and_then(|news| news.news) {
                Some(News::Opened(opened)) => path = opened,
                Some(News::Progress(progress)) => display.show(&progress, reading.sent()),
                Some(News::Done(result)) => {
                    display.clear();
                    let result = value::to_json(result).map_err(failed)?;
                    let line = wording::result(&path, &result);
                    // A reader that is gone has what it wanted: the card is written.
                    writeln!(std::io::stdout(), "{line}").ok();
                    return Ok(());
                }
                None => {
                    display.clear();
                    return Err(failed(display.broken("the exporter has stopped")));
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        flash: Args,
    }

    fn parse(words: &[&str]) -> Result<Args, clap::Error> {
        let words = ["flash", "board", "a.img"].iter().chain(words);
        Line::try_parse_from(words).map(|line| line.flash)
    }

    #[test]
    fn only_what_is_said_goes_along() {
        assert_eq!(parse(&[]).unwrap().options(None), None);
        let args = parse(&["--verify", "none", "--delta=compare", "--format=raw"]).unwrap();
        assert_eq!(
            args.options(Some("<bmap/>".into())),
            Some(json!({
                "verify": "none",
                "delta": "compare",
                "format": "raw",
                "bmap": "<bmap/>",
            }))
        );
        assert!(parse(&["--verify", "some"]).is_err());
        assert!(parse(&["--no-bmap", "--bmap", "a.bmap"]).is_err());
    }
}
