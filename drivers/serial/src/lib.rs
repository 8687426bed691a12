//! Serial consoles.
//!
//! ```text
//!   tty, pty or socket ──Port──> read task ──> ByteRing ──> a reader for each client stream
//!                      <──Port── one whole frame at a time <── writers of client streams
//! ```
//!
//! The daemon owns a port from its opening to its loss; client streams come and go without
//! touching it.

mod address;
mod console;
mod pace;
mod port;
mod serial;
mod tty;

pub use serial::{Serial, SerialConfig};
