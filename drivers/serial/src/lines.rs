//! Lines with the time in front of them.

use std::time::SystemTime;

use crate::clock::rfc3339;

/// Puts times in front of lines; knows where in a line it is.
#[derive(Debug)]
pub struct StampedLines {
    stamped: bool,
    at_start: bool,
}

impl StampedLines {
    /// Nothing is put in front of lines unless `stamped`.
    pub fn new(stamped: bool) -> Self {
        Self {
            stamped,
            at_start: true,
        }
    }

    /// `bytes` that came at `time`, with the time in front of each line that begins in them.
    pub fn stamp(&mut self, time: SystemTime, bytes: &[u8]) -> Vec<u8> {
        if !self.stamped {
            self.at_start = bytes.last().map_or(self.at_start, |last| *last == b'\n');
            return bytes.to_vec();
        }
        let stamp = format!("{} ", rfc3339(time));
        let mut text = Vec::with_capacity(bytes.len() + stamp.len());
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.at_start {
                text.extend_from_slice(stamp.as_bytes());
            }
            text.extend_from_slice(line);
            self.at_start = line.ends_with(b"\n");
        }
        text
    }

    /// A line that nobody on the console has said.
    pub fn own(&mut self, time: SystemTime, text: &str) -> Vec<u8> {
        let start = if self.at_start { "" } else { "\r\n" };
        let stamp = match self.stamped {
            true => format!("{} ", rfc3339(time)),
            false => String::new(),
        };
        self.at_start = true;
        format!("{start}{stamp}{text}\r\n").into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_has_the_time_of_its_first_byte() {
        let at = |s| UNIX_EPOCH + Duration::from_secs(s);
        let mut lines = StampedLines::new(true);
        assert_eq!(
            text(&lines.stamp(at(1), b"one\r\ntw")),
            "1970-01-01T00:00:01.000Z one\r\n1970-01-01T00:00:01.000Z tw"
        );
        assert_eq!(text(&lines.stamp(at(2), b"o\n")), "o\n");
        assert_eq!(
            text(&lines.stamp(at(3), b"\n")),
            "1970-01-01T00:00:03.000Z \n"
        );
        assert_eq!(
            text(&lines.stamp(at(4), b"login: ")),
            "1970-01-01T00:00:04.000Z login: "
        );
        assert_eq!(
            text(&lines.own(at(5), "[rigd: x]")),
            "\r\n1970-01-01T00:00:05.000Z [rigd: x]\r\n"
        );
    }

    #[test]
    fn without_stamps_nothing_is_changed() {
        let mut lines = StampedLines::new(false);
        assert_eq!(lines.stamp(UNIX_EPOCH, b"a\n\0\xff"), b"a\n\0\xff");
        assert_eq!(lines.own(UNIX_EPOCH, "[rigd: x]"), b"\r\n[rigd: x]\r\n");
        assert_eq!(lines.own(UNIX_EPOCH, "[rigd: y]"), b"[rigd: y]\r\n");
    }
}
