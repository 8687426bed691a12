//! The programs at the board's terminal: login and a shell. Pure.
//!
//! ```text
//!   login ──root──> prompt ──cat──> copy ──Ctrl-C, Ctrl-D──> prompt
//!     │  ^             ├──burst──> burst ──done, Ctrl-C──> prompt
//!     │  └──exit───────┘
//!     └──other user──> password ──> login
//! ```

use crate::{
    boot_text::{LOGIN, line},
    commands::{self, After},
    tty::{Echo, Key, MAX_LINE, Tty},
};

/// The shell's prompt.
const PROMPT: &str = "root@rpi4:~# ";
/// Lines of a burst come in pieces of about this size, so that other work gets in between.
const BURST_PIECE: usize = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Login,
    Password,
    Prompt,
    Copy,
    Burst { next: u64, last: u64 },
}

/// What the shell wants of the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Call [`Shell::burst`] soon and again.
    Burst,
    /// No more of it.
    BurstEnded,
    Reboot,
    PowerOff,
}

/// A terminal with somebody, or nobody, logged in.
#[derive(Debug, Clone)]
pub(crate) struct Shell {
    mode: Mode,
    tty: Tty,
    status: u8,
    // Typed while a burst runs, for later.
    ahead: Vec<u8>,
}

impl Shell {
    /// A login prompt.
    pub(crate) fn new(out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(LOGIN.as_bytes());
        Self {
            mode: Mode::Login,
            tty: Tty::default(),
            status: 0,
            ahead: Vec::new(),
        }
    }

    pub(crate) fn bursting(&self) -> bool {
        matches!(self.mode, Mode::Burst { .. })
    }

    /// Takes typed bytes. Bytes after a reboot or a power-off are lost, as on a real board.
    pub(crate) fn input(&mut self, bytes: &[u8], digest: &str, out: &mut Vec<u8>) -> Option<Wish> {
        let mut wish = None;
        for byte in bytes {
            if self.bursting() {
                if *byte == 0x03 {
                    self.ahead.clear();
                    out.extend_from_slice(b"^C\r\n");
                    self.prompt(130, out);
                    wish = Some(Wish::BurstEnded);
                } else if self.ahead.len() < MAX_LINE {
                    self.ahead.push(*byte);
                }
                continue;
            }
            let echo = match self.mode {
                Mode::Password => Echo::Off,
                _ => Echo::On,
            };
            if let Some(key) = self.tty.feed(*byte, echo, out) {
                match self.key(key, digest, out) {
                    None => {}
                    Some(Wish::Burst) => wish = Some(Wish::Burst),
                    end => return end,
                }
            }
        }
        wish
    }

    fn key(&mut self, key: Key, digest: &str, out: &mut Vec<u8>) -> Option<Wish> {
        match (self.mode, key) {
            (Mode::Login, Key::Line(user)) => {
                match user.trim() {
                    "" => self.login(out),
                    "root" => self.prompt(0, out),
                    _ => {
                        self.mode = Mode::Password;
                        out.extend_from_slice(b"Password: ");
                    }
                }
                None
            }
            (Mode::Password, Key::Line(_)) => {
                line(out, "Login incorrect");
                self.login(out);
                None
            }
            (Mode::Login | Mode::Password, _) => {
                out.extend_from_slice(b"\r\n");
                self.login(out);
                None
            }
            (Mode::Copy, Key::Line(text)) => {
                line(out, &text);
                None
            }
            (Mode::Copy, key) => {
                self.prompt(if key == Key::Interrupt { 130 } else { 0 }, out);
                None
            }
            (Mode::Prompt, Key::Line(text)) => {
                let after = commands::run(&text, digest, self.status, out);
                self.after(after, out)
            }
            (Mode::Prompt, Key::Interrupt) => {
                self.prompt(130, out);
                None
            }
            (Mode::Prompt, Key::EndOfFile) => {
                line(out, "logout");
                self.after(After::Logout, out)
            }
            (Mode::Burst { .. }, _) => None,
        }
    }

    fn after(&mut self, after: After, out: &mut Vec<u8>) -> Option<Wish> {
        match after {
            After::Prompt(status) => self.prompt(status, out),
            After::Copy => self.mode = Mode::Copy,
            After::Logout => {
                out.extend_from_slice(b"\r\n");
                self.login(out);
            }
            After::Burst(0) => self.prompt(0, out),
            After::Burst(last) => {
                self.mode = Mode::Burst { next: 1, last };
                return Some(Wish::Burst);
            }
            After::Reboot => return Some(Wish::Reboot),
            After::PowerOff => return Some(Wish::PowerOff),
        }
        None
    }

    fn login(&mut self, out: &mut Vec<u8>) {
        *self = Self::new(out);
    }

    fn prompt(&mut self, status: u8, out: &mut Vec<u8>) {
        self.mode = Mode::Prompt;
        self.status = status;
        out.extend_from_slice(PROMPT.as_bytes());
    }

    /// The next piece of a burst.
    pub(crate) fn burst(&mut self, digest: &str, out: &mut Vec<u8>) -> Option<Wish> {
        let Mode::Burst { mut next, last } = self.mode else {
            return Some(Wish::BurstEnded);
        };
        out.reserve(BURST_PIECE + 64);
        while next <= last && out.len() < BURST_PIECE {
            line(out, &format!("burst {next}"));
            next += 1;
        }
        if next <= last {
            self.mode = Mode::Burst { next, last };
            return Some(Wish::Burst);
        }
        self.prompt(0, out);
        let ahead = std::mem::take(&mut self.ahead);
        Some(self.input(&ahead, digest, out).unwrap_or(Wish::BurstEnded))
    }

    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.tty.typed() + self.ahead.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(input: &str) -> (String, Option<Wish>) {
        let mut out = Vec::new();
        let mut shell = Shell::new(&mut out);
        let wish = shell.input(input.as_bytes(), "abc", &mut out);
        (String::from_utf8(out).unwrap(), wish)
    }

    #[test]
    fn root_logs_in_without_a_password() {
        let (out, _) = session("root\nimage-digest\n");
        assert_eq!(
            out,
            "rpi4 login: root\r\nroot@rpi4:~# image-digest\r\nabc\r\nroot@rpi4:~# "
        );
    }

    #[test]
    fn others_are_asked_for_a_password_and_refused() {
        let (out, _) = session("pi\nraspberry\n");
        assert_eq!(
            out,
            "rpi4 login: pi\r\nPassword: \r\nLogin incorrect\r\nrpi4 login: "
        );
        assert_eq!(session("\r").0, "rpi4 login: \r\nrpi4 login: ");
    }

    #[test]
    fn exit_and_ctrl_d_log_out() {
        for input in ["root\nexit\n", "root\n\x04"] {
            let (out, _) = session(input);
            assert!(out.ends_with("\r\nrpi4 login: "), "{out:?}");
        }
    }

    #[test]
    fn cat_gives_lines_back_until_it_is_ended() {
        let (out, _) = session("root\ncat\nhello\n\x04echo $?\n");
        assert!(
            out.ends_with("cat\r\nhello\r\nhello\r\nroot@rpi4:~# echo $?\r\n0\r\nroot@rpi4:~# "),
            "{out:?}"
        );
    }

    #[test]
    fn what_is_typed_during_a_burst_runs_after_it_unless_it_is_interrupted() {
        let mut out = Vec::new();
        let mut shell = Shell::new(&mut out);
        assert_eq!(
            shell.input(b"root\nburst 2\necho a\n", "", &mut out),
            Some(Wish::Burst)
        );
        out.clear();
        assert_eq!(shell.burst("", &mut out), Some(Wish::BurstEnded));
        assert_eq!(
            String::from_utf8(out.clone()).unwrap(),
            "burst 1\r\nburst 2\r\nroot@rpi4:~# echo a\r\na\r\nroot@rpi4:~# "
        );
        out.clear();
        let wish = shell.input(b"burst 2\necho a\n\x03", "", &mut out);
        assert_eq!(wish, Some(Wish::BurstEnded));
        assert!(!shell.bursting());
        assert!(out.ends_with(b"^C\r\nroot@rpi4:~# "));
    }

    #[test]
    fn reboot_ends_what_was_typed_with_it() {
        assert_eq!(session("root\nreboot\necho a\n").1, Some(Wish::Reboot));
        assert_eq!(session("root\npoweroff\n").1, Some(Wish::PowerOff));
    }
}
