//! A Rust client for rigd and Jumpstarter exporters.
//!
//! It reaches an exporter over its unix socket, plain TCP or TLS, names devices by their path in
//! the exporter's tree, and gives typed handles for the common ones.
//!
//! ```no_run
//! use std::path::Path;
//! use rigd_client::{Compression, Exporter};
//!
//! # async fn boot() -> Result<(), rigd_client::Error> {
//! let exporter = Exporter::connect_unix("/run/rigd/rpi4.sock").await?;
//! let power = exporter.device("dutlink.power").await?.power();
//! let storage = exporter.device("dutlink.storage").await?.storage();
//! let mut console = exporter.device("dutlink.console").await?.console().open();
//!
//! power.off().await?;
//! storage.write_file(Path::new("image.img.xz"), Compression::Xz).await?;
//! storage.dut().await?;
//! power.on().await?;
//! while let Some(bytes) = console.recv().await? {
//!     print!("{}", String::from_utf8_lossy(&bytes));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! **Deadlines**: connecting and the questions that an exporter answers from memory (report,
//! status) have one. Calls, streams and transfers have none of their own, because only the caller
//! knows how long a board may take; wrap them in [`tokio::time::timeout`]. Every future here may
//! be dropped at any time, which cancels the call on the exporter. A peer that vanished without a
//! word is noticed by keepalive.

mod byte_channel;
mod connect;
mod console;
mod device;
mod error;
mod exporter;
mod items;
mod power;
mod report;
mod session;
mod storage;
mod transfer;

pub use byte_channel::{ByteChannel, ByteReceiver, ByteSender};
pub use connect::{ConnectOptions, Tls};
pub use console::Console;
pub use device::Device;
pub use error::Error;
pub use exporter::Exporter;
pub use items::Items;
pub use power::{Power, Reading};
pub use report::{DeviceInfo, Report};
pub use rigd_proto::v1::{ExporterStatus, LogSource};
pub use session::{LogLine, Logs, SessionEnd, Status};
pub use storage::Storage;
pub use tonic::Code;
pub use transfer::Compression;
