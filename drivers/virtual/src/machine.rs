//! The board as a state machine. Pure: no clock, no I/O; `rig` runs its effects.
//!
//! ```text
//!          on                  image                  last line
//!   off ────────> reading ──────────────> booting ───────────────> running
//!    ^             │ ^  ^                    │                      │ │ │
//!    │             │ │  └──────reboot────────│──────────────────────┘ │ │
//!    │       empty │ │ retry, card in        │ card taken    poweroff │ │ card taken
//!    │             v │                       v                        v v
//!    │           waiting                  stopped <─────────────────────┘
//!    │                                       ^  incomplete or I/O error while reading
//!    └── off, from everywhere
//! ```
//!
//! The card is in the board while the mux is at `dut`. A read is identified by its number, so the
//! result of one that was given up is never taken for that of a later one.

use std::time::Duration;

use crate::{
    boot_text::{
        CARD_GONE, INCOMPLETE, KERNEL, LOADER, NO_BOOT, NO_MEDIUM, POWER_DOWN, REBOOT, START, line,
    },
    shell::{Shell, Wish},
};

/// How often a board without a medium looks again.
const RETRY: Duration = Duration::from_secs(3);
/// Pause between the pieces of a burst. With 16 KiB a piece the board prints at most 16 MiB a
/// second, far more than a UART and little enough for readers that read to lose nothing.
const BURST_PAUSE: Duration = Duration::from_millis(1);

/// Who has the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mux {
    Host,
    Dut,
    Off,
}

impl Mux {
    /// The name of the state.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Dut => "dut",
            Self::Off => "off",
        }
    }
}

/// What the board finds on the card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Medium {
    /// An image, by its SHA-256 in hexadecimal.
    Image(String),
    Empty,
    /// The last write did not finish.
    Incomplete,
    /// The card failed at this byte.
    Error {
        offset: u64,
    },
}

#[derive(Debug, Clone)]
pub(crate) enum Event {
    PowerOn,
    PowerOff,
    Mux(Mux),
    /// The read of this number ended.
    CardRead(u64, Medium),
    /// The timer that was armed last.
    Tick,
    /// Bytes from a client of the console.
    Input(Vec<u8>),
    /// A lease ended: nobody stays logged in.
    Logout,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    Print(Vec<u8>),
    /// Read the card and answer with this number.
    ReadCard(u64),
    StopReading,
    /// Sets the only timer.
    Arm(Duration),
    Disarm,
}

#[derive(Debug, Clone)]
enum State {
    Off,
    Reading(u64),
    Waiting,
    Booting { image: String, next: usize },
    Running { image: String, shell: Shell },
    Stopped,
}

/// What a meter in the supply line shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Supply {
    /// Volt.
    pub(crate) voltage: f64,
    /// Ampere.
    pub(crate) current: f64,
}

/// The board.
#[derive(Debug)]
pub(crate) struct Machine {
    state: State,
    mux: Mux,
    reads: u64,
    line_pause: Duration,
    effects: Vec<Effect>,
}

impl Machine {
    /// Off, with the card in the board. `boot` is how long the kernel's lines take.
    pub(crate) fn new(boot: Duration) -> Self {
        let lines = u32::try_from(KERNEL.len()).unwrap_or(u32::MAX);
        Self {
            state: State::Off,
            mux: Mux::Dut,
            reads: 0,
            line_pause: boot / lines,
            effects: Vec::new(),
        }
    }

    /// Whether the relay is closed.
    pub(crate) fn powered(&self) -> bool {
        !matches!(self.state, State::Off)
    }

    /// Who has the card.
    pub(crate) fn mux(&self) -> Mux {
        self.mux
    }

    /// What the power meter shows.
    pub(crate) fn supply(&self) -> Supply {
        let current = match &self.state {
            State::Off => {
                return Supply {
                    voltage: 0.0,
                    current: 0.0,
                };
            }
            State::Waiting => 0.35,
            State::Reading(_) => 0.55,
            State::Booting { .. } => 0.9,
            State::Running { .. } => 0.6,
            State::Stopped => 0.3,
        };
        Supply {
            voltage: 5.1,
            current,
        }
    }

    /// One step; the effects are to be run in order.
    pub(crate) fn step(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::PowerOn => {
                if matches!(self.state, State::Off) {
                    self.start();
                }
            }
            Event::PowerOff => self.leave(State::Off),
            Event::Mux(mux) => self.switch(mux),
            Event::CardRead(read, medium) => self.card_read(read, medium),
            Event::Tick => self.tick(),
            Event::Input(bytes) => self.input(&bytes),
            Event::Logout => self.logout(),
        }
        std::mem::take(&mut self.effects)
    }

    fn print(&mut self, lines: &[&str]) {
        let mut out = Vec::new();
        lines.iter().for_each(|text| line(&mut out, text));
        self.effects.push(Effect::Print(out));
    }

    /// Changes the state; ends what belongs to the old one.
    fn leave(&mut self, next: State) {
        match &self.state {
            State::Reading(_) => self.effects.push(Effect::StopReading),
            State::Waiting | State::Booting { .. } => self.effects.push(Effect::Disarm),
            State::Running { shell, .. } if shell.bursting() => self.effects.push(Effect::Disarm),
            State::Off | State::Running { .. } | State::Stopped => {}
        }
        self.state = next;
    }

    /// The boot loader runs, after power-on or a reboot.
    fn start(&mut self) {
        self.print(&LOADER);
        self.look();
    }

    /// Looks for something to boot.
    fn look(&mut self) {
        if self.mux == Mux::Dut {
            self.reads += 1;
            self.leave(State::Reading(self.reads));
            self.effects.push(Effect::ReadCard(self.reads));
        } else {
            self.wait();
        }
    }

    fn wait(&mut self) {
        self.leave(State::Waiting);
        self.print(&[NO_MEDIUM]);
        self.effects.push(Effect::Arm(RETRY));
    }

    fn switch(&mut self, mux: Mux) {
        let before = std::mem::replace(&mut self.mux, mux);
        match (&self.state, mux) {
            (State::Waiting, Mux::Dut) if before != Mux::Dut => self.look(),
            (_, Mux::Dut) => {}
            (State::Reading(_) | State::Booting { .. } | State::Running { .. }, _) => {
                self.leave(State::Stopped);
                self.effects.push(Effect::Print(b"\r\n".to_vec()));
                self.print(&CARD_GONE);
            }
            (State::Off | State::Waiting | State::Stopped, _) => {}
        }
    }

    fn card_read(&mut self, read: u64, medium: Medium) {
        if !matches!(self.state, State::Reading(current) if current == read) {
            return;
        }
        match medium {
            Medium::Empty => {
                // The read is over: there is nothing to stop.
                self.state = State::Stopped;
                self.wait();
            }
            Medium::Image(image) => {
                self.print(&[&format!("Image sha256:{image}"), START]);
                self.state = State::Booting { image, next: 0 };
                self.effects.push(Effect::Arm(self.line_pause));
            }
            Medium::Incomplete => {
                self.state = State::Stopped;
                self.print(&[INCOMPLETE, NO_BOOT]);
            }
            Medium::Error { offset } => {
                self.state = State::Stopped;
                let text = format!(
                    "I/O error, dev mmcblk0, sector {} op 0x0:(READ) flags 0x0",
                    offset / 512
                );
                self.print(&[&text, NO_BOOT]);
            }
        }
    }

    fn tick(&mut self) {
        match &mut self.state {
            State::Waiting => self.look(),
            State::Booting { image, next } => {
                if let Some(text) = KERNEL.get(*next) {
                    *next += 1;
                    self.print(&[text]);
                    self.effects.push(Effect::Arm(self.line_pause));
                } else {
                    let image = std::mem::take(image);
                    let mut out = b"\r\n".to_vec();
                    let shell = Shell::new(&mut out);
                    self.state = State::Running { image, shell };
                    self.effects.push(Effect::Print(out));
                }
            }
            State::Running { image, shell } => {
                let mut out = Vec::new();
                let wish = shell.burst(image, &mut out);
                self.grant(wish, out);
            }
            State::Off | State::Reading(_) | State::Stopped => {}
        }
    }

    fn input(&mut self, bytes: &[u8]) {
        if let State::Running { image, shell } = &mut self.state {
            let bursting = shell.bursting();
            let mut out = Vec::new();
            let wish = shell.input(bytes, image, &mut out);
            if bursting && !shell.bursting() {
                self.effects.push(Effect::Disarm);
            }
            self.grant(wish, out);
        }
    }

    fn grant(&mut self, wish: Option<Wish>, out: Vec<u8>) {
        if !out.is_empty() {
            self.effects.push(Effect::Print(out));
        }
        match wish {
            None | Some(Wish::BurstEnded) => {}
            Some(Wish::Burst) => self.effects.push(Effect::Arm(BURST_PAUSE)),
            Some(Wish::Reboot) => {
                self.print(&[REBOOT]);
                self.start();
            }
            Some(Wish::PowerOff) => {
                self.leave(State::Stopped);
                self.print(&[POWER_DOWN]);
            }
        }
    }

    fn logout(&mut self) {
        if let State::Running { image, .. } = &mut self.state {
            let image = std::mem::take(image);
            let mut out = b"\r\n".to_vec();
            let shell = Shell::new(&mut out);
            self.leave(State::Running { image, shell });
            self.effects.push(Effect::Print(out));
        }
    }
}

#[cfg(test)]
mod tests;
