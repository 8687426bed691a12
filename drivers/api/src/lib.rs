//! The contract between rigd and its drivers.
//!
//! A driver is one type that implements [`Driver`]: its config struct, the table of its methods
//! ([`Interface`]), how it opens its hardware, and what it does at the two ends of a lease.
//! An [`Instance`] is one node of the `export:` tree: it opens the driver, queues the calls, checks
//! the [`Key`] of each piece of work where the work starts, and knows its [`Health`].
//!
//! `docs/writing-a-driver.md` walks through a real one.

mod args;
mod arrival;
mod blueprint;
mod byte_ring;
mod byte_stream;
mod call;
#[cfg(feature = "contract")]
pub mod contract;
mod device_thread;
mod driver;
mod echo;
mod error;
mod fenced_stream;
mod instance;
mod interface;
mod interlock;
mod key;
mod open_cx;
mod progress;
mod quantity;
mod queue;
mod resource;
mod tap;
mod task_scope;
mod wake;

pub use arrival::Arrival;
pub use async_trait::async_trait;
pub use blueprint::Blueprint;
pub use byte_ring::{ByteRing, Heard, RingReader};
pub use byte_stream::{Boundaries, ByteSink, ByteStream};
pub use call::Call;
pub use driver::{Child, Driver};
pub use echo::echo_stream;
pub use error::{ConfigError, DriverError, OpenError};
pub use instance::{Health, Instance, InstanceConfig};
pub use interface::{CallHandler, Interface, MethodKind, Mode, StreamHandler, StreamingHandler};
pub use interlock::{Gate, Interlock, Passage};
pub use key::{Fenced, Key, KeyKind, KeyOwner};
pub use open_cx::{HealthHandle, OpenCx};
pub use progress::{TransferPhase, TransferProgress};
pub use quantity::{ByteCount, Delay};
pub use resource::{
    ChunkSender, DECODER_MEMORY, Download, DownloadSource, PresignedMethod, ResourceHandle,
    Resources, Upload, download_channel, upload_channel,
};
pub use tap::ConsoleTap;
pub use task_scope::TaskScope;

/// A value as it crosses the wire: JSON, whose integral numbers are integers.
pub use serde_json::Value;
