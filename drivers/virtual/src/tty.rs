//! The line discipline of the board's serial port: echo, line editing, signals.
//!
//! Pure: bytes in, echo and keys out.

/// Longest line that can be typed: what a Linux terminal takes (MAX_CANON and its ending).
pub(crate) const MAX_LINE: usize = 4095;

const INTERRUPT: u8 = 0x03; // Ctrl-C
const END_OF_FILE: u8 = 0x04; // Ctrl-D
const BELL: u8 = 0x07;
const BACKSPACE: u8 = 0x08;
const KILL: u8 = 0x15; // Ctrl-U
const DELETE: u8 = 0x7f;

/// Whether typed characters are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Echo {
    On,
    /// For passwords.
    Off,
}

/// What the program at the terminal gets to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    Line(String),
    Interrupt,
    EndOfFile,
}

/// The line being typed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tty {
    line: Vec<u8>,
    // A line feed right after a carriage return belongs to it: some terminals send both.
    after_cr: bool,
}

impl Tty {
    /// One typed byte; echo goes to `out`.
    pub(crate) fn feed(&mut self, byte: u8, echo: Echo, out: &mut Vec<u8>) -> Option<Key> {
        let after_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
        match byte {
            b'\n' if after_cr => None,
            b'\r' | b'\n' => {
                out.extend_from_slice(b"\r\n");
                let line = std::mem::take(&mut self.line);
                Some(Key::Line(String::from_utf8_lossy(&line).into_owned()))
            }
            BACKSPACE | DELETE => {
                if self.erase() && echo == Echo::On {
                    out.extend_from_slice(b"\x08 \x08");
                }
                None
            }
            KILL => {
                while self.erase() {
                    if echo == Echo::On {
                        out.extend_from_slice(b"\x08 \x08");
                    }
                }
                None
            }
            INTERRUPT => {
                self.line.clear();
                out.extend_from_slice(b"^C\r\n");
                Some(Key::Interrupt)
            }
            END_OF_FILE => self.line.is_empty().then_some(Key::EndOfFile),
            _ if self.line.len() >= MAX_LINE => {
                out.push(BELL);
                None
            }
            _ => {
                self.type_in(byte, echo, out);
                None
            }
        }
    }

    fn type_in(&mut self, byte: u8, echo: Echo, out: &mut Vec<u8>) {
        // Control characters that mean nothing (an arrow key's escape) are shown and not typed.
        let control = byte < b' ' && byte != b'\t';
        if !control {
            self.line.push(byte);
        }
        match echo {
            Echo::Off => {}
            Echo::On if control => out.extend_from_slice(&[b'^', byte ^ 0x40]),
            Echo::On => out.push(byte),
        }
    }

    /// Takes the last character back, all bytes of it.
    fn erase(&mut self) -> bool {
        while let Some(byte) = self.line.pop() {
            let continuation = byte & 0xc0 == 0x80;
            if !continuation {
                return true;
            }
        }
        false
    }

    #[cfg(test)]
    pub(crate) fn typed(&self) -> usize {
        self.line.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn type_all(input: &[u8], echo: Echo) -> (Vec<Key>, String) {
        let (mut tty, mut out) = (Tty::default(), Vec::new());
        let keys = input
            .iter()
            .filter_map(|b| tty.feed(*b, echo, &mut out))
            .collect();
        (keys, String::from_utf8_lossy(&out).into_owned())
    }

    fn line(text: &str) -> Key {
        Key::Line(text.into())
    }

    #[test]
    fn each_of_cr_lf_and_both_together_end_one_line() {
        let (keys, echo) = type_all(b"a\rb\nc\r\n\n", Echo::On);
        assert_eq!(keys, [line("a"), line("b"), line("c"), line("")]);
        assert_eq!(echo, "a\r\nb\r\nc\r\n\r\n");
    }

    #[test]
    fn backspace_takes_back_whole_characters_and_nothing_of_an_empty_line() {
        let (keys, echo) = type_all("\x7fä\x7fx\x08y\n".as_bytes(), Echo::On);
        assert_eq!(keys, [line("y")]);
        assert_eq!(echo, "ä\x08 \x08x\x08 \x08y\r\n");
        assert_eq!(type_all(b"abc\x15d\n", Echo::On).0, [line("d")]);
    }

    #[test]
    fn ctrl_c_drops_the_line_and_ctrl_d_counts_on_an_empty_line_only() {
        let (keys, echo) = type_all(b"ab\x03\x04c\x04\n", Echo::On);
        assert_eq!(keys, [Key::Interrupt, Key::EndOfFile, line("c")]);
        assert_eq!(echo, "ab^C\r\nc\r\n");
    }

    #[test]
    fn a_password_is_not_shown() {
        let (keys, echo) = type_all(b"secret\x7f\n", Echo::Off);
        assert_eq!(keys, [line("secre")]);
        assert_eq!(echo, "\r\n");
    }

    #[test]
    fn an_endless_line_is_cut_with_a_bell() {
        let mut input = vec![b'x'; MAX_LINE + 2];
        input.push(b'\n');
        let (keys, echo) = type_all(&input, Echo::On);
        assert_eq!(keys, [line(&"x".repeat(MAX_LINE))]);
        assert!(echo.ends_with("x\x07\x07\r\n"));
    }
}
