//! What `rigd console` shows: the console on standard output, and words about it on standard error.

use std::{
    io::{IsTerminal, Write, stderr, stdout},
    time::SystemTime,
};

use rigd_drivers_serial::StampedLines;
use rigd_proto::control::v1::ConsoleOutput;

/// Where a console is shown.
pub(super) struct Screen {
    lines: StampedLines,
}

impl Screen {
    /// With `timestamps` each line begins with its time.
    pub(super) fn new(timestamps: bool) -> Self {
        Self {
            lines: StampedLines::new(timestamps),
        }
    }

    /// Tells a person how it ends.
    pub(super) fn opened(&self, path: &str, typing: bool) {
        if !stderr().is_terminal() {
            return;
        }
        let how = if typing {
            "Ctrl-B three times"
        } else {
            "Ctrl-C"
        };
        self.say(&format!("console {path}; {how} ends it"));
    }

    /// Shows what the console said. Tells whether somebody still looks.
    pub(super) fn show(&mut self, output: ConsoleOutput) -> bool {
        let ConsoleOutput { time, lost, bytes } = output;
        if lost > 0 {
            self.say(&format!("{lost} bytes were lost: this reader is too slow"));
        }
        let time = time.and_then(|time| SystemTime::try_from(time).ok());
        let text = self
            .lines
            .stamp(time.unwrap_or(SystemTime::UNIX_EPOCH), &bytes);
        let mut out = stdout().lock();
        out.write_all(&text).and_then(|()| out.flush()).is_ok()
    }

    /// A word about it.
    pub(super) fn say(&self, text: &str) {
        // A raw terminal needs the return. Nobody has to read along.
        write!(stderr(), "[rigd: {text}]\r\n").ok();
    }
}
