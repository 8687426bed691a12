//! Devices of this host: what there is (sysfs), what comes and goes (the kernel's uevents), and how
//! a configuration names one of them.
//!
//! ```text
//!   config ── DeviceMatch ──find──> Found { node, sysfs, usb, generation }
//!                 │                    │ is_current / removed: the same device still, or
//!                 │                    v another one that took its name
//!   kernel ── Uevents (one socket) ──> Events of each subscriber
//! ```
//!
//! Reading is from sysfs alone, so nothing here needs a permission. Nothing here opens a device.

mod ambiguity;
mod class;
mod disk;
mod find;
mod found;
mod host;
mod hotplug;
mod matching;
mod shown;
#[cfg(test)]
mod simulated;
mod uevent;
mod uevents;
mod usb_id;

pub use class::Class;
pub use find::FindError;
pub use found::{Found, Generation, UsbIdentity};
pub use host::Host;
pub use hotplug::wake_on;
pub use matching::{DeviceMatch, UsbMatch};
pub use uevent::{Action, DeviceEvent, Uevent};
pub use uevents::{Events, Uevents};
pub use usb_id::UsbId;
