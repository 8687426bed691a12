//! The disk behind a USB device that is none itself, by where both are plugged in.
//!
//! ```text
//!   hub of the mux ─┬─ control chip   <- the USB device
//!                   └─ card reader ── sda
//!   composite device ── interface ── sda
//! ```
//!
//! Never by size, name or order.

use std::path::Path;

use crate::{Class, FindError, Found, Host, UsbIdentity, ambiguity::tell_apart, find::list};

impl Host {
    /// The disk of a USB device: below the device itself, else below another device in the same
    /// hub. Blocks for at most some milliseconds.
    ///
    /// # Errors
    /// Absent while no disk is there, which lasts about a second after a plug; ambiguous when the
    /// hub has several.
    pub fn disk_behind(&self, usb: &UsbIdentity) -> Result<Found, FindError> {
        let disks = self.all(Class::Block).map_err(|error| {
            FindError::Unusable(format!("cannot read {}: {error}", self.sys.display()))
        })?;
        let below = |dir: &Path| -> Vec<&Found> {
            let inside = |disk: &&Found| disk.usb.as_ref().is_some_and(|of| of.sysfs == dir);
            disks.iter().filter(inside).collect()
        };
        let mut found = below(&usb.sysfs);
        if found.is_empty() {
            let hub = usb.sysfs.parent();
            let beside = |disk: &&Found| {
                let of = disk.usb.as_ref();
                of.is_some_and(|of| of.sysfs.parent() == hub && of.sysfs != usb.sysfs)
            };
            found = disks.iter().filter(beside).collect();
        }
        match &found[..] {
            [one] => Ok((*one).clone()),
            [] => {
                let text = format!("there is no disk at {} nor beside it in its hub", usb.port);
                Err(FindError::Absent(text))
            }
            several => {
                let (count, disks, keys) = (several.len(), list(several), tell_apart(several));
                let port = &usb.port;
                let text =
                    format!("there are {count} disks beside {port} in its hub: {disks}; {keys}");
                Err(FindError::Ambiguous(text))
            }
        }
    }
}

#[cfg(test)]
mod tests;
