//! The DUTLink board (2b23:1012): one USB device that feeds a board under test, switches its disk
//! between host and board, and carries its console.
//!
//! ```text
//!   Dutlink ─┬─ power    DutlinkPower     requests to the vendor's interface
//!            ├─ storage  DutlinkStorage   requests to it, and the disk behind the mux
//!            └─ console  serial           the same device's serial port
//! ```
//!
//! Each part stands alone as well. All of them find the board by themselves and share its one
//! handle.

mod board;
mod config;
mod console;
mod dutlink;
mod power;
mod reading;
mod storage;

pub use config::{DutlinkConfig, DutlinkPowerConfig, DutlinkStorageConfig};
pub use console::{DutlinkConsole, DutlinkConsoleConfig};
pub use dutlink::Dutlink;
pub use power::{DutlinkPower, DutlinkPowerOutlet};
pub use storage::{DutlinkMux, DutlinkStorage};
