//! The flash engine: writes images to block devices and files, and tells the truth about it.
//!
//! - [`Flasher`]: one for each card; what drivers of storage hold. It writes, reads, and knows
//!   whether the card is complete.
//! - [`Medium`]: what is written to; [`Disk`] is the block device or file. A driver opens it when its mux
//!   is at the host, and calls [`Flasher::left_host`] before the card leaves.
//! - [`FlashSettings`]: the part `flash:` of a driver's config.
//!
//! The planner (`pages`, `sparse`, `bmap`, `layout`, `fill`) is pure; `engine`, `hasher` and `writer`
//! are the three threads around it. `read` is the way back, on two.

mod blocks;
mod bmap;
mod buffer;
mod digest;
mod disk;
mod engine;
mod fill;
mod flasher;
mod hasher;
mod image;
mod layout;
mod mark;
mod medium;
mod pages;
mod progress;
mod read;
mod ready;
mod settings;
mod source;
mod sparse;
mod sysfs;
mod verify;
mod watchdog;
mod writer;

pub use disk::{Access, Disk, Extent};
pub use flasher::{Flasher, ImageFrom};
pub use image::{MAX_MAP, maps_beside};
pub use medium::{Keep, Medium, Witness};
pub use ready::open_when_ready;
pub use settings::{Delta, FlashSettings, Format, Holes, Report, Verify, WriteOptions};
