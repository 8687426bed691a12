//! A simulated board with its instruments: power, a card behind a mux, and a serial console.
//!
//! ```text
//!   power ──on, off──┐                        ┌──> console ring ──> readers
//!   storage ──mux────┼──> machine ──effects──>┤
//!   console ──input──┘       ^                └──> card reader ──┐
//!                            └──────── digest, timer ────────────┘
//! ```
//!
//! The instruments act on one board, as on a real desk: power feeds it, it prints to its console
//! and boots from the card that the mux gives it. So a first run, a test and a rehearsal need no
//! hardware and still meet its ways to fail ([`Faults`]).

mod board;
mod boot_text;
mod card;
mod card_state;
mod commands;
mod config;
mod console;
mod faults;
mod machine;
mod power;
mod rig;
mod shell;
mod storage;
mod streams;
mod tty;

pub use board::Board;
pub use config::{BoardConfig, CardConfig, PartConfig};
pub use console::BoardConsole;
pub use faults::Faults;
pub use power::BoardPower;
pub use rigd_driver::{ByteCount, Delay};
pub use storage::BoardStorage;
