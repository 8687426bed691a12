//! The kinds of device that can be named: where sysfs lists them and udev links them.

/// A kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// A serial port with hardware behind it.
    Tty,
    /// A disk, or a partition when a path names one.
    Block,
    /// A HID as raw reports.
    Hidraw,
    /// A USB device as a whole, hubs and root hubs as well.
    Usb,
    /// A GPIO chip.
    Gpio,
    /// A SCSI device by its commands, for instance the one behind a disk.
    ScsiGeneric,
}

impl Class {
    /// Where sysfs lists the devices, below its root.
    pub(crate) fn listed(self) -> &'static str {
        match self {
            Self::Tty => "class/tty",
            Self::Block => "class/block",
            Self::Hidraw => "class/hidraw",
            Self::Usb => "bus/usb/devices",
            Self::Gpio => "bus/gpio/devices",
            Self::ScsiGeneric => "class/scsi_generic",
        }
    }

    /// The kernel's name of the subsystem, as uevents have it.
    pub fn subsystem(self) -> &'static str {
        match self {
            Self::Tty => "tty",
            Self::Block => "block",
            Self::Hidraw => "hidraw",
            Self::Usb => "usb",
            Self::Gpio => "gpio",
            Self::ScsiGeneric => "scsi_generic",
        }
    }

    /// Where udev's `by-id` and `by-path` links are, below `/dev`.
    pub(crate) fn links(self) -> Option<&'static str> {
        match self {
            Self::Tty => Some("serial"),
            Self::Block => Some("disk"),
            Self::Hidraw | Self::Usb | Self::Gpio | Self::ScsiGeneric => None,
        }
    }

    /// For messages: one and several.
    pub(crate) fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Tty => ("serial port", "serial ports"),
            Self::Block => ("disk", "disks"),
            Self::Hidraw => ("HID", "HIDs"),
            Self::Usb => ("USB device", "USB devices"),
            Self::Gpio => ("GPIO chip", "GPIO chips"),
            Self::ScsiGeneric => ("SCSI device", "SCSI devices"),
        }
    }
}
