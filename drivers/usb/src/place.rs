//! One device at one place, for one time of being plugged in.

use std::{fmt, path::Path};

use rigd_device::{Found, UsbIdentity};

use crate::UsbError;

/// Exactly one USB device: a later one on the same port, or one that got the same number, is
/// another place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    found: Found,
    usb: UsbIdentity,
}

impl Place {
    /// The place of a device that was found as [`Class::Usb`](rigd_device::Class::Usb).
    ///
    /// # Errors
    /// [`UsbError::Gone`] for anything else, and while it has no file yet.
    pub fn of(found: &Found) -> Result<Self, UsbError> {
        let there = found.usb.clone().filter(|_| found.node.is_some());
        let missing = || UsbError::Gone(format!("{found} has no device file"));
        Ok(Self {
            usb: there.ok_or_else(missing)?,
            found: found.clone(),
        })
    }

    /// What it tells of itself.
    pub fn usb(&self) -> &UsbIdentity {
        &self.usb
    }

    /// The kernel's name: the path of ports, `1-1.4`, or `usb1` for a root hub.
    pub fn name(&self) -> &str {
        &self.found.name
    }

    /// What was found.
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// The file that it is opened by.
    pub fn node(&self) -> &Path {
        self.found.node.as_deref().unwrap_or(Path::new(""))
    }

    /// Whether the same device is still there.
    pub fn is_current(&self) -> bool {
        self.found.is_current()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (vendor, product) = (self.usb.vendor, self.usb.product);
        write!(f, "USB device {vendor}:{product} at {}", self.name())
    }
}
