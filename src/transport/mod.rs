//! Where a client's bytes come from: unix sockets and TCP, later tunnels.
//!
//! ```text
//!   unix ─┐
//!   tcp ──┼─> incoming: a stream of I/O objects ─> serve ─> session routes
//!   … ────┘        each Killable, with its Connection
//! ```
//!
//! A new source of bytes is a new stream of I/O objects; sessions do not notice.

pub mod authority;
mod connection;
pub mod killable;
mod passphrase;
mod places;
mod preface;
mod serve;
pub mod tcp;
pub mod unix;

pub use connection::Connection;
pub use passphrase::Passphrase;
pub(crate) use serve::{CONNECTION_WINDOW, MAX_FRAME, STREAM_WINDOW};
pub use serve::{Shutdown, serve};
