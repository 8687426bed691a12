//! What there is: the devices that sysfs lists. An entry that goes away while it is read is left out.

use std::{
    fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::{Class, Found, Generation, UsbId, UsbIdentity};

/// No attribute that is read here is longer; a USB string has at most 126 characters.
const LONGEST: usize = 4096;

/// The directories that devices are read from. Tests put simulated ones below a directory of theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    pub(crate) sys: PathBuf,
    pub(crate) dev: PathBuf,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            sys: "/sys".into(),
            dev: "/dev".into(),
        }
    }
}

/// What a look through sysfs gave.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) devices: Vec<Found>,
    /// Something went away meanwhile, so the same may have happened to what is looked for: look
    /// again.
    pub(crate) vanished: bool,
}

impl Host {
    /// The host whose `/sys` and `/dev` are `root/sys` and `root/dev`.
    pub fn at(root: &Path) -> Self {
        Self {
            sys: root.join("sys"),
            dev: root.join("dev"),
        }
    }

    /// All devices of a kind, sorted by name; no partitions, no virtual terminals.
    ///
    /// Blocks for some milliseconds on a host with many devices.
    ///
    /// # Errors
    /// Sysfs cannot be read.
    pub fn all(&self, class: Class) -> io::Result<Vec<Found>> {
        let mut devices = self.scan(class)?.devices;
        devices.retain(|found| {
            let sysfs = found.sysfs.as_deref();
            !sysfs.is_some_and(|sysfs| sysfs.join("partition").exists())
        });
        Ok(devices)
    }

    /// The same with partitions.
    pub(crate) fn scan(&self, class: Class) -> io::Result<Scan> {
        let mut scan = Scan {
            devices: Vec::new(),
            vanished: false,
        };
        let listed = self.sys.join(class.listed());
        let entries = match fs::read_dir(&listed) {
            Ok(entries) => entries,
            // The kernel has no such devices, or its module is not loaded.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(scan),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(name) = name.filter(|name| is_device(class, name, &path)) else {
                continue;
            };
            match self.read(class, name, &path) {
                Some(found) => scan.devices.push(found),
                None => scan.vanished = true,
            }
        }
        scan.devices
            .sort_by(|a, b| natural(&a.name).cmp(&natural(&b.name)));
        Ok(scan)
    }

    /// One device, or nothing when it is not there any more.
    fn read(&self, class: Class, name: &str, path: &Path) -> Option<Found> {
        let sysfs = fs::canonicalize(path).ok()?;
        let usb = self.usb_of(&sysfs)?;
        let node = node_name(&sysfs).map(|name| self.dev.join(name));
        let generation = Generation::read(&sysfs, usb.as_ref().map(|usb| usb.sysfs.as_path()));
        // The last thing to be read: what went away meanwhile has no directory now.
        fs::metadata(&sysfs).ok()?;
        Some(Found {
            class,
            name: name.into(),
            node: node.filter(|node| node.exists()),
            sysfs: Some(sysfs),
            generation,
            usb,
        })
    }

    /// The USB device that a device is, or is behind. The outer `None` says that it went away
    /// while it was read.
    #[allow(clippy::option_option, reason = "each says another thing, see above")]
    fn usb_of(&self, sysfs: &Path) -> Option<Option<UsbIdentity>> {
        let (mut interface, mut port_number) = (None, None);
        let devices = fs::canonicalize(self.sys.join("devices")).ok()?;
        for dir in sysfs.ancestors().take_while(|dir| **dir != *devices) {
            if dir.join("idVendor").exists() {
                return usb_device(dir, interface, port_number).map(Some);
            }
            let number = attribute(dir, "bInterfaceNumber");
            interface = interface.or(number.and_then(|hex| u8::from_str_radix(&hex, 16).ok()));
            port_number = port_number.or(number_attribute(dir, "port_number"));
        }
        Some(None)
    }
}

fn usb_device(dir: &Path, interface: Option<u8>, port_number: Option<u8>) -> Option<UsbIdentity> {
    Some(UsbIdentity {
        busnum: number(dir, "busnum")?,
        devnum: number(dir, "devnum")?,
        vendor: number_of(dir, "idVendor")?,
        product: number_of(dir, "idProduct")?,
        serial: attribute(dir, "serial"),
        port: dir.file_name()?.to_str()?.into(),
        product_name: attribute(dir, "product"),
        interface,
        port_number,
        sysfs: dir.into(),
    })
}

/// Whether an entry of a class's directory is one of its devices.
fn is_device(class: Class, name: &str, path: &Path) -> bool {
    match class {
        // Virtual terminals have no hardware behind them.
        Class::Tty => path.join("device").symlink_metadata().is_ok(),
        // The others are interfaces of devices: `1-1:1.0`.
        Class::Usb => !name.contains(':'),
        Class::Block | Class::Hidraw | Class::Gpio | Class::ScsiGeneric => true,
    }
}

/// The device file's name below `/dev`.
fn node_name(sysfs: &Path) -> Option<String> {
    let text = read_short(&sysfs.join("uevent"))?;
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("DEVNAME="))?;
    // The kernel's own names never leave `/dev`.
    let inside = !name.starts_with('/') && !name.split('/').any(|part| part == "..");
    inside.then(|| name.into())
}

/// An attribute's text without the white space around it; none when it is missing or empty.
pub(crate) fn attribute(dir: &Path, name: &str) -> Option<String> {
    let text = read_short(&dir.join(name))?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.into())
}

/// An attribute that is a decimal number.
pub(crate) fn number<T: FromStr>(dir: &Path, name: &str) -> Option<T> {
    attribute(dir, name)?.parse().ok()
}

fn number_attribute(dir: &Path, name: &str) -> Option<u8> {
    number(dir, name)
}

fn number_of(dir: &Path, name: &str) -> Option<UsbId> {
    attribute(dir, name)?.parse().ok()
}

fn read_short(path: &Path) -> Option<String> {
    let mut bytes = fs::read(path).ok()?;
    bytes.truncate(LONGEST);
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Sorts `ttyUSB10` after `ttyUSB9`.
fn natural(name: &str) -> (&str, usize, &str) {
    let head = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = &name[head.len()..];
    (head, digits.len(), digits)
}
