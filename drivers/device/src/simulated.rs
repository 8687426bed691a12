//! A host in a directory of its own: sysfs and `/dev` as the kernel and udev lay them out.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::Host;

/// Where the bus is that devices are plugged into.
const BUS: &str = "devices/pci0000:00/0000:00:14.0";

pub(crate) struct Simulated {
    root: TempDir,
    pub(crate) host: Host,
}

/// What a USB device says of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Says {
    pub(crate) ids: (&'static str, &'static str),
    pub(crate) serial: &'static str,
    pub(crate) product: &'static str,
}

pub(crate) const DUAL: Says = Says {
    ids: ("0403", "6010"),
    serial: "FT1",
    product: "Dual RS232-HS",
};

impl Simulated {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let host = Host::at(root.path());
        for folder in [
            "sys/devices",
            "sys/class/tty",
            "sys/class/block",
            "sys/bus/usb/devices",
        ] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        fs::create_dir_all(root.path().join("dev")).unwrap();
        Self { root, host }
    }

    /// A path below the root.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    pub(crate) fn dev(&self, name: &str) -> PathBuf {
        self.host.dev.join(name)
    }

    fn write(&self, path: &Path, name: &str, text: &str) {
        fs::create_dir_all(path).unwrap();
        fs::write(path.join(name), format!("{text}\n")).unwrap();
    }

    fn list(&self, listed: &str, name: &str, target: &Path) {
        let listed = self.host.sys.join(listed);
        fs::create_dir_all(&listed).unwrap();
        symlink(target, listed.join(name)).unwrap();
    }

    /// Plugs a USB device into a port such as `1-1.4`, whose hubs need not be there.
    pub(crate) fn usb(&self, port: &str, devnum: u16, says: Says) -> PathBuf {
        let dir = self.usb_dir(port);
        self.write(&dir, "idVendor", says.ids.0);
        self.write(&dir, "idProduct", says.ids.1);
        self.write(&dir, "busnum", "1");
        self.write(&dir, "devnum", &devnum.to_string());
        self.write(&dir, "product", says.product);
        self.write(
            &dir,
            "uevent",
            &format!("DEVTYPE=usb_device\nDEVNAME=bus/usb/001/{devnum:03}"),
        );
        if !says.serial.is_empty() {
            self.write(&dir, "serial", says.serial);
        }
        self.node(&format!("bus/usb/001/{devnum:03}"));
        self.list("bus/usb/devices", port, &dir);
        dir
    }

    fn usb_dir(&self, port: &str) -> PathBuf {
        let mut dir = self.host.sys.join(BUS).join("usb1");
        let (bus, ports) = port.split_once('-').unwrap();
        let mut name = format!("{bus}-");
        for (depth, number) in ports.split('.').enumerate() {
            if depth > 0 {
                name.push('.');
            }
            name.push_str(number);
            dir.push(&name);
        }
        dir
    }

    pub(crate) fn interface(&self, usb: &Path, number: u8) -> PathBuf {
        let port = usb.file_name().unwrap().to_str().unwrap();
        let dir = usb.join(format!("{port}:1.{number}"));
        self.write(&dir, "bInterfaceNumber", &format!("{number:02x}"));
        let name = dir.file_name().unwrap().to_str().unwrap();
        self.list("bus/usb/devices", name, &dir);
        dir
    }

    /// A serial port behind an interface, one of several if it has a number.
    pub(crate) fn tty(&self, interface: &Path, name: &str, port_number: Option<u8>) -> PathBuf {
        let port = interface.join(name);
        if let Some(number) = port_number {
            self.write(&port, "port_number", &number.to_string());
        }
        let dir = port.join("tty").join(name);
        self.write(
            &dir,
            "uevent",
            &format!("MAJOR=188\nMINOR=0\nDEVNAME={name}"),
        );
        symlink(&port, dir.join("device")).unwrap();
        self.list("class/tty", name, &dir);
        self.node(name);
        dir
    }

    /// An adapter with ports on the given interfaces, `ttyUSB<first>` and on.
    pub(crate) fn adapter(&self, port: &str, devnum: u16, says: Says, first: u8, interfaces: u8) {
        let usb = self.usb(port, devnum, says);
        for number in 0..interfaces {
            let interface = self.interface(&usb, number);
            self.tty(&interface, &format!("ttyUSB{}", first + number), None);
        }
    }

    /// A disk behind an interface.
    pub(crate) fn disk(&self, interface: &Path, name: &str, diskseq: u64) -> PathBuf {
        let dir = interface.join("host0/target0:0:0/0:0:0:0/block").join(name);
        self.write(
            &dir,
            "uevent",
            &format!("DEVTYPE=disk\nDEVNAME={name}\nDISKSEQ={diskseq}"),
        );
        self.write(&dir, "diskseq", &diskseq.to_string());
        self.list("class/block", name, &dir);
        self.node(name);
        dir
    }

    pub(crate) fn partition(&self, disk: &Path, name: &str) {
        let dir = disk.join(name);
        self.write(
            &dir,
            "uevent",
            &format!("DEVTYPE=partition\nDEVNAME={name}"),
        );
        self.write(&dir, "partition", "1");
        self.list("class/block", name, &dir);
        self.node(name);
    }

    /// A serial port of the mainboard, and a virtual terminal.
    pub(crate) fn mainboard(&self) {
        let port = self.host.sys.join("devices/platform/serial8250/tty/ttyS0");
        self.write(&port, "uevent", "MAJOR=4\nMINOR=64\nDEVNAME=ttyS0");
        symlink("../../../serial8250", port.join("device")).unwrap();
        self.list("class/tty", "ttyS0", &port);
        self.node("ttyS0");
        let terminal = self.host.sys.join("devices/virtual/tty/tty1");
        self.write(&terminal, "uevent", "MAJOR=4\nMINOR=1\nDEVNAME=tty1");
        self.list("class/tty", "tty1", &terminal);
        self.node("tty1");
    }

    pub(crate) fn node(&self, name: &str) {
        let path = self.dev(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    /// A link of udev's, such as `serial/by-id/usb-x`.
    pub(crate) fn link(&self, link: &str, node: &str) {
        let link = self.dev(link);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(self.dev(node), link).unwrap();
    }

    /// Pulls out what is in a port.
    pub(crate) fn unplug(&self, port: &str) {
        let dir = self.usb_dir(port);
        for listed in ["class/tty", "class/block", "bus/usb/devices"] {
            for entry in fs::read_dir(self.host.sys.join(listed)).unwrap() {
                let entry = entry.unwrap().path();
                if fs::canonicalize(&entry).is_ok_and(|target| target.starts_with(&dir)) {
                    let name = entry.file_name().unwrap();
                    fs::remove_file(self.host.dev.join(name)).ok();
                    fs::remove_file(entry).unwrap();
                }
            }
        }
        fs::remove_dir_all(dir).unwrap();
    }
}
