//! Access to one USB device of the host: control requests, interrupt transfers, claims.
//!
//! [`UsbDevice`] is the one handle of this process for a device, whoever asks for it. Each one has a
//! thread of its own, so that a device whose requests never return costs nobody else anything.
//! Which device is meant is decided before: a [`Place`] names exactly one, for as long as it stays
//! plugged in.

mod bus;
mod claim;
mod descriptors;
mod device;
mod error;
mod holder;
mod operation;
mod place;
#[cfg(feature = "simulated")]
pub mod simulated;
mod usbfs;
mod worker;

pub use bus::{Bus, HostBus, open, open_found, reported};
pub use claim::Claim;
pub use descriptors::{Direction, Endpoint, EndpointKind, Interface};
pub use device::UsbDevice;
pub use error::UsbError;
pub use operation::{Operation, Setup};
pub use place::Place;
pub use worker::{GRACE, Kernel};
