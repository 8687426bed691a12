//! A device that was found, and whether it is the same one still.

use std::{
    fmt, fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use crate::{
    Class, UsbId,
    host::{attribute, number},
};

/// A device of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What kind it is.
    pub class: Class,
    /// The kernel's name: `ttyUSB0`, `sda`, `1-1.4`.
    pub name: String,
    /// The device file, which may be missing while udev or devtmpfs make it.
    pub node: Option<PathBuf>,
    /// The device's directory in sysfs. Pseudo terminals have none.
    pub sysfs: Option<PathBuf>,
    /// Tells it from another device that takes its name later.
    pub generation: Generation,
    /// The USB device it is, or is behind.
    pub usb: Option<UsbIdentity>,
}

/// What makes a USB device, and an interface of it, recognisable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsbIdentity {
    /// Number of the bus, as in `/dev/bus/usb/001`.
    pub busnum: u16,
    /// Number on the bus, new after each plug.
    pub devnum: u16,
    /// Vendor, `idVendor`.
    pub vendor: UsbId,
    /// Product, `idProduct`.
    pub product: UsbId,
    /// Serial number as the device tells it; many have none, or the same for all.
    pub serial: Option<String>,
    /// The socket it is in, by the ports of all hubs on the way: `1-1.4`.
    pub port: String,
    /// Product name as the device tells it.
    pub product_name: Option<String>,
    /// The interface that the device is behind, `bInterfaceNumber`. None for a USB device as a
    /// whole.
    pub interface: Option<u8>,
    /// Which of several ports behind that one interface it is (`port_number` of usb-serial).
    pub port_number: Option<u8>,
    /// Directory of the USB device in sysfs.
    pub sysfs: PathBuf,
}

/// Which of the devices that had this name one after another it is.
///
/// Everything that the kernel counts up: the directory's number in sysfs, which each registration
/// of a device gets anew; the number on the USB bus; the sequence number of a disk, which a change
/// of the medium counts up, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    directory: Option<u64>,
    usb: Option<(u16, u16)>,
    diskseq: Option<u64>,
    /// Of a device file that sysfs does not know: device number, inode, time of change.
    file: Option<(u64, u64, (i64, i64))>,
}

impl Generation {
    /// Of a device with a directory in sysfs.
    pub(crate) fn read(sysfs: &Path, usb: Option<&Path>) -> Self {
        // A partition has no number of its own.
        let diskseq = number(sysfs, "diskseq").or_else(|| number(sysfs.parent()?, "diskseq"));
        Self {
            directory: fs::metadata(sysfs).ok().map(|m| m.ino()),
            usb: usb.and_then(|usb| Some((number(usb, "busnum")?, number(usb, "devnum")?))),
            diskseq,
            file: None,
        }
    }

    /// Of a device file that sysfs does not know.
    pub(crate) fn of_file(path: &Path) -> Self {
        let file = fs::metadata(path).ok();
        Self {
            directory: None,
            usb: None,
            diskseq: None,
            file: file.map(|m| (m.rdev(), m.ino(), (m.ctime(), m.ctime_nsec()))),
        }
    }

    /// The sequence number of a disk and its medium (`diskseq`, since Linux 5.15).
    pub fn diskseq(&self) -> Option<u64> {
        self.diskseq
    }
}

impl Found {
    /// A device that sysfs does not know: a pseudo terminal, or what a test plays.
    pub fn of_file(class: Class, file: &Path) -> Self {
        let name = file.file_name().unwrap_or_default();
        Self {
            class,
            name: name.to_string_lossy().into_owned(),
            node: Some(file.into()),
            sysfs: None,
            generation: Generation::of_file(file),
            usb: None,
        }
    }

    /// Whether the same device still has this name and this file. Takes microseconds.
    ///
    /// Ask after opening the file: when it is current then, the open file is that device.
    pub fn is_current(&self) -> bool {
        let Some(sysfs) = &self.sysfs else {
            let node = self.node.as_deref();
            return node.is_some_and(|node| Generation::of_file(node) == self.generation);
        };
        let usb = self.usb.as_ref().map(|usb| usb.sysfs.as_path());
        Generation::read(sysfs, usb) == self.generation && self.has_its_file(sysfs)
    }

    /// Whether its file, if there is one, leads to it.
    fn has_its_file(&self, sysfs: &Path) -> bool {
        let file = self.node.as_deref().and_then(device_number);
        file.is_none() || file == attribute(sysfs, "dev")
    }

    /// The device file, or why there is none.
    ///
    /// # Errors
    /// Absent: nobody made the file yet.
    pub fn node(&self) -> Result<&Path, crate::FindError> {
        let missing = || {
            let name = &self.name;
            crate::FindError::Absent(format!("{name} is there, and has no device file yet"))
        };
        self.node.as_deref().ok_or_else(missing)
    }
}

/// `MAJOR:MINOR` of a device file; none when it is a file of another kind.
pub(crate) fn device_number(path: &Path) -> Option<String> {
    let meta = fs::metadata(path).ok()?;
    let kind = meta.file_type();
    let device = kind.is_char_device() || kind.is_block_device();
    let number = meta.rdev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    device.then(|| format!("{major}:{minor}"))
}

/// For lists of candidates: `/dev/ttyUSB0 (0403:6010 "Dual RS232", serial "A1", interface 0, port 1-1.4)`.
impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Some(node) => write!(f, "{}", node.display())?,
            None => f.write_str(&self.name)?,
        }
        match &self.usb {
            Some(usb) => write!(f, " ({usb})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for UsbIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.vendor, self.product)?;
        if let Some(name) = &self.product_name {
            write!(f, " {name:?}")?;
        }
        if let Some(serial) = &self.serial {
            write!(f, ", serial {serial:?}")?;
        }
        if let Some(interface) = self.interface {
            write!(f, ", interface {interface}")?;
        }
        if let Some(number) = self.port_number {
            write!(f, ", portNumber {number}")?;
        }
        write!(f, ", port {}", self.port)
    }
}
