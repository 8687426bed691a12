//! What is typed at `rigd console --write`: the terminal passes every key on to the board, until
//! Ctrl-B was pressed three times.

use std::{
    future::pending,
    io::{self, IsTerminal, Read, stdin},
};

use bytes::Bytes;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::sync::mpsc;

/// Ctrl-B, as the console of the Python client has it.
const ESCAPE: u8 = 0x02;
/// How often it must come in a row.
const TIMES: usize = 3;
/// The most that is read at once. A paste has more and comes in several frames.
const READ_SIZE: usize = 4096;
/// Frames that wait; then the terminal waits.
const WAITING: usize = 16;

/// The keyboard, read by a thread of its own that ends with the process.
pub(super) struct Keyboard(mpsc::Receiver<Bytes>);

impl Keyboard {
    /// Starts to read. Only a `terminal` has the escape: files are typed byte by byte.
    pub(super) fn start(terminal: bool) -> io::Result<Self> {
        let (typed, keyboard) = mpsc::channel(WAITING);
        let work = move || {
            let mut escape = Escape::default();
            let mut buffer = [0; READ_SIZE];
            loop {
                let read = match stdin().lock().read(&mut buffer) {
                    Ok(read) => &buffer[..read],
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(_) => &[],
                };
                if read.is_empty() {
                    break;
                }
                let (bytes, over) = match terminal {
                    true => escape.pass(read),
                    false => (read.to_vec(), false),
                };
                if !bytes.is_empty() && typed.blocking_send(bytes.into()).is_err() {
                    return;
                }
                if over {
                    return;
                }
            }
            // The end of a file ends the typing, not the watching.
            if !terminal {
                loop {
                    std::thread::park();
                }
            }
        };
        let thread = std::thread::Builder::new().name("keyboard".into());
        thread.spawn(work)?;
        Ok(Self(keyboard))
    }

    /// The next frame; none when the person is done. Never, without a keyboard. Cancel-safe.
    pub(super) async fn next(keyboard: &mut Option<Self>) -> Option<Bytes> {
        match keyboard {
            Some(keyboard) => keyboard.0.recv().await,
            None => pending().await,
        }
    }
}

/// Finds the escape among what is typed. Those that come before the last are held back until it is
/// clear that they are meant for the board.
#[derive(Debug, Default)]
struct Escape {
    held: usize,
}

impl Escape {
    /// What goes to the board, and whether the person is done.
    fn pass(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len());
        for &byte in typed {
            if byte == ESCAPE {
                self.held += 1;
                if self.held == TIMES {
                    return (passed, true);
                }
                continue;
            }
            passed.extend(std::iter::repeat_n(ESCAPE, self.held));
            self.held = 0;
            passed.push(byte);
        }
        (passed, false)
    }
}

/// A terminal that passes every key on; dropping it sets it back.
pub(super) struct RawTerminal(Termios);

impl RawTerminal {
    /// Makes the terminal on standard input raw, if it is one.
    pub(super) fn enter() -> io::Result<Option<Self>> {
        if !stdin().is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        Ok(Some(Self(before)))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        tcsetattr(stdin(), OptionalActions::Now, &self.0).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_in_a_row_end_it_and_fewer_are_typed() {
        let mut escape = Escape::default();
        let mut pass = |typed: &[u8]| escape.pass(typed);
        assert_eq!(pass(b"ls\r"), (b"ls\r".to_vec(), false));
        // Held back: `tmux` has it as its prefix.
        assert_eq!(pass(b"\x02"), (vec![], false));
        assert_eq!(pass(b"c"), (b"\x02c".to_vec(), false));
        assert_eq!(pass(b"\x02\x02"), (vec![], false));
        assert_eq!(pass(b"x\x02"), (b"\x02\x02x".to_vec(), false));
        assert_eq!(pass(b"\x02\x02rest"), (vec![], true));
    }
}
