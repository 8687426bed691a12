//! Where the progress of `rigd flash` is shown: one line of a terminal that is drawn again and again, or
//! a line now and then.

use std::{
    io::{IsTerminal, Write, stderr},
    time::Duration,
};

use rigd_proto::control::v1::FlashProgress;
use rustix::termios::tcgetwinsize;
use tokio::time::Instant;

use super::wording;

/// Between two lines where there is no terminal.
const EVERY: Duration = Duration::from_secs(5);
/// Width of a terminal that does not know its own.
const WIDTH: u16 = 80;
/// Back to the beginning of the line, and what is there goes.
const ERASE: &str = "\r\x1b[K";

/// The progress on standard error.
pub(super) struct Display {
    terminal: bool,
    /// Bytes of the image file, where they are known.
    size: Option<u64>,
    /// When a line was printed last, or should have been first.
    printed: Instant,
    /// The card has changed.
    begun: bool,
    /// A bar stands in the terminal's line.
    drawn: bool,
}

impl Display {
    /// Of an image file with `size` bytes.
    pub(super) fn new(size: Option<u64>) -> Self {
        Self {
            terminal: stderr().is_terminal(),
            size,
            printed: Instant::now(),
            begun: false,
            drawn: false,
        }
    }

    /// Shows how far it is; `sent` bytes of the file have gone to the daemon.
    pub(super) fn show(&mut self, progress: &FlashProgress, sent: u64) {
        self.begun = true;
        let read = self.size.map(|size| sent as f64 / size.max(1) as f64);
        if self.terminal {
            let width = tcgetwinsize(stderr()).map_or(0, |size| size.ws_col);
            let width = if width == 0 { WIDTH } else { width };
            // A full line would wrap, and the next one would not replace it.
            let line = wording::bar(progress, read, usize::from(width) - 1);
            self.drawn = true;
            self.write(&format!("{ERASE}{line}"));
        } else if self.printed.elapsed() >= EVERY {
            self.printed = Instant::now();
            self.write(&format!("{}\n", wording::line(progress, read)));
        }
    }

    /// Takes the bar away, for what is said next.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            self.write(ERASE);
        }
    }

    /// Why the write ended here, and what that leaves.
    pub(super) fn broken(&self, why: &str) -> String {
        match self.begun {
            true => format!("{why}; the card is incomplete until an image is written to its end"),
            false => why.to_owned(),
        }
    }

    fn write(&self, text: &str) {
        // Nobody has to look.
        let mut out = stderr().lock();
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .ok();
    }
}
