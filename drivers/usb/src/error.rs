//! What can go wrong with a USB device, and what that means to a driver.

use std::io;

use rigd_driver::{DriverError, OpenError};
use rustix::io::Errno;

use crate::{Operation, Place, holder};

/// A request to a USB device that failed. Each text says what was tried on which device.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum UsbError {
    /// It was unplugged, or another device took its place.
    #[error("{0}")]
    Gone(String),
    /// The connection is bad, or the device is just going away.
    #[error("{0}")]
    Broken(String),
    /// The daemon's user may not open it.
    #[error("{0}")]
    Denied(String),
    /// Another program, or another driver of the kernel, has it.
    #[error("{0}")]
    Busy(String),
    /// The device refused the request.
    #[error("{0}")]
    Refused(String),
    /// No answer in time; the device can be asked again.
    #[error("{0}")]
    Timeout(String),
    /// A request never came back from the kernel. The handle is given up.
    #[error("{0}")]
    Wedged(String),
    /// Too many requests wait for the device.
    #[error("{0}")]
    Exhausted(String),
    /// Everything else.
    #[error("{0}")]
    Io(String),
}

impl UsbError {
    /// Whether the handle is of no further use, so that the instance has to open the device anew.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Gone(_) | Self::Wedged(_))
    }

    /// What a failed request means.
    pub(crate) fn of(operation: &Operation, place: &Place, error: &io::Error) -> Self {
        let what = format!("{operation} of {place}");
        let Some(errno) = Errno::from_io_error(error) else {
            return Self::Io(format!("{what}: {error}"));
        };
        let gone = || Self::Gone(format!("{what}: it was unplugged"));
        match errno {
            Errno::NODEV | Errno::SHUTDOWN => gone(),
            _ if !place.is_current() => gone(),
            Errno::PIPE => Self::Refused(format!("{what}: the device refused it (stall)")),
            Errno::TIMEDOUT => Self::Timeout(format!("{what}: no answer in time")),
            Errno::BUSY => Self::busy(&what, place),
            // What host controllers report when the device does not answer on the wire:
            // Documentation/driver-api/usb/error-codes.rst of the kernel.
            Errno::PROTO | Errno::ILSEQ | Errno::TIME | Errno::COMM | Errno::OVERFLOW => {
                Self::Broken(format!(
                    "{what}: {error}; a loose cable, a hub without power, or it is being unplugged"
                ))
            }
            Errno::ACCESS | Errno::PERM => Self::denied(place),
            Errno::INVAL | Errno::NOENT => Self::Refused(format!(
                "{what}: {error}; the device has no such interface or endpoint"
            )),
            _ => Self::Io(format!("{what}: {error}")),
        }
    }

    /// What it means that the device could not be opened.
    pub(crate) fn opening(place: &Place, error: &io::Error) -> Self {
        let node = place.node().display();
        match Errno::from_io_error(error) {
            Some(Errno::ACCESS | Errno::PERM) => Self::denied(place),
            Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => {
                Self::Gone(format!("cannot open {place}: {node} is gone"))
            }
            _ => Self::Io(format!("cannot open {place}: {node}: {error}")),
        }
    }

    fn denied(place: &Place) -> Self {
        Self::Denied(format!(
            "cannot open {place}: permission denied on {}; the daemon's group needs a udev rule for \
             idVendor {}, idProduct {} (60-rigd.rules, then `udevadm control --reload` and replug)",
            place.node().display(),
            place.usb().vendor,
            place.usb().product
        ))
    }

    fn busy(what: &str, place: &Place) -> Self {
        let by = match holder::of(place.node()) {
            Some(holder) => format!("by {holder}"),
            None => "by another program".into(),
        };
        Self::Busy(format!("{what}: it is in use {by}"))
    }
}

impl From<UsbError> for DriverError {
    fn from(error: UsbError) -> Self {
        let text = error.to_string();
        match error {
            UsbError::Gone(_) | UsbError::Broken(_) => Self::Unavailable(text),
            UsbError::Timeout(_) | UsbError::Wedged(_) => Self::Timeout(text),
            UsbError::Exhausted(_) => Self::Exhausted(text),
            UsbError::Denied(_) | UsbError::Busy(_) | UsbError::Refused(_) | UsbError::Io(_) => {
                Self::Device(text)
            }
        }
    }
}

impl From<UsbError> for OpenError {
    fn from(error: UsbError) -> Self {
        let text = error.to_string();
        match error {
            UsbError::Gone(_) => Self::Absent(text),
            _ => Self::Faulty(text),
        }
    }
}
