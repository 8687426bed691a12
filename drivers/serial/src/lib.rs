//! Serial consoles.
//!
//! ```text
//!   Source ──open──> Wire in a Port ──Keeper──> record (ring) ──> a reader for each client stream
//!   (tty, socket, …)       <── one whole frame at a time ── writers of client streams
//! ```
//!
//! The daemon owns a port from its start to its stop; client streams come and go without touching
//! it, and a console outlives every loss of its port.

mod address;
mod capture;
mod clock;
mod config;
mod console;
mod keeper;
mod lines;
mod nvdemux;
mod open_tty;
mod orders;
mod pace;
mod port;
mod rfc2217;
mod serial;
mod settings;
mod streams;
mod tcp;
mod tty;
mod wire;

pub use capture::CaptureConfig;
pub use config::{Hold, SerialConfig};
pub use lines::StampedLines;
pub use nvdemux::{NvDemux, NvDemuxConfig};
pub use serial::{PortConfig, Serial, SerialOn};
pub use settings::{FlowControl, Parity};
