//! Storage drivers: muxes, flashers and a file store.
//!
//! - [`MockMux`], [`MockMuxFlasher`], [`MockFlasher`]: upstream's mocks; nothing outlives a lease.
//! - [`DiskStorage`]: a block device or a file as a card without a mux.
//! - [`FileMux`]: a card that is a file.
//! - [`FileStore`]: files below one directory, as upstream's `Opendal` with scheme `fs`.
//!
//! All of them move bytes by `transfer` in short steps on the instance's own thread, so that no
//! thread waits for a client.

mod disk;
mod file_mux;
mod fs;
mod lane;
mod mock_flasher;
mod mock_mux;
mod transfer;

pub use disk::{DiskConfig, DiskStorage};
pub use file_mux::{FileMux, FileMuxConfig};
pub use fs::{FileStore, FileStoreConfig};
pub use mock_flasher::{MockFlasher, MockFlasherConfig};
pub use mock_mux::{Mock, MockLabel, MockMux, MockMuxConfig, MockMuxFlasher, Mux, MuxFlasher};
