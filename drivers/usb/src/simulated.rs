//! Devices that a test plays. They go through the same threads, limits and claims as real ones.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rigd_device::{Class, DeviceMatch, FindError, Found, Host, UsbMatch};
use rigd_driver::OpenError;

use crate::{
    Bus, Direction, Endpoint, EndpointKind, Interface, Kernel, Operation, Place, UsbDevice,
    UsbError,
};

/// How long one may take beyond its limits: no kernel cancels anything here.
const GRACE: Duration = Duration::from_millis(300);

/// What a simulated device answers.
pub type Answers = Arc<dyn Fn(&Operation) -> io::Result<Vec<u8>> + Send + Sync>;

/// What was asked of a simulated device, in order.
#[derive(Debug, Clone, Default)]
pub struct Record(Arc<Mutex<Vec<Operation>>>);

impl Record {
    /// What was asked since the last look.
    pub fn take(&self) -> Vec<Operation> {
        std::mem::take(&mut lock(&self.0))
    }
}

#[derive(Clone)]
struct Played {
    answers: Answers,
    record: Record,
    interfaces: Vec<Interface>,
}

impl Kernel for Played {
    fn perform(&self, operation: &Operation, _: Duration) -> io::Result<Vec<u8>> {
        lock(&self.record.0).push(operation.clone());
        (self.answers)(operation)
    }
}

/// By the directory in sysfs.
static PLUGGED: Mutex<BTreeMap<PathBuf, Played>> = Mutex::new(BTreeMap::new());

/// A host with simulated devices, below a directory of the test.
#[derive(Debug)]
pub struct SimulatedHost {
    root: tempfile::TempDir,
}

/// What sysfs shall show of a device.
#[derive(Debug, Clone, Default)]
pub struct Shown<'a> {
    /// The kernel's name: `1-1.4`, or `usb1`.
    pub name: &'a str,
    /// Number on the bus.
    pub number: u16,
    /// Vendor and product.
    pub ids: [u16; 2],
    /// Serial number.
    pub serial: Option<&'a str>,
    /// Product name.
    pub product: Option<&'a str>,
    /// Other attributes and their texts.
    pub more: &'a [(&'a str, &'a str)],
}

impl SimulatedHost {
    /// A host without devices.
    ///
    /// # Errors
    /// Those of making a directory.
    pub fn new() -> io::Result<Self> {
        let root = tempfile::tempdir()?;
        Ok(Self { root })
    }

    /// The directory of a device, or of something else, in its sysfs.
    pub fn sysfs(&self, name: &str) -> PathBuf {
        self.root.path().join("sys/devices").join(name)
    }

    /// Plugs a device in.
    ///
    /// # Errors
    /// Those of writing its files.
    pub fn plug_in(
        &self,
        shown: &Shown<'_>,
        interfaces: Vec<Interface>,
        answers: Answers,
    ) -> io::Result<Record> {
        let sysfs = self.sysfs(shown.name);
        fs::create_dir_all(&sysfs)?;
        let listed = self.root.path().join("sys/bus/usb/devices");
        fs::create_dir_all(&listed)?;
        symlink(&sysfs, listed.join(shown.name))?;
        let write = |name: &str, text: &str| fs::write(sysfs.join(name), format!("{text}\n"));
        let digits: String = shown
            .name
            .chars()
            .filter(char::is_ascii_digit)
            .take(1)
            .collect();
        let bus = digits.parse::<u16>().unwrap_or(1);
        let [vendor, product] = shown.ids;
        write("busnum", &bus.to_string())?;
        write("devnum", &shown.number.to_string())?;
        write("idVendor", &format!("{vendor:04x}"))?;
        write("idProduct", &format!("{product:04x}"))?;
        if let Some(serial) = shown.serial {
            write("serial", serial)?;
        }
        if let Some(product) = shown.product {
            write("product", product)?;
        }
        for (name, text) in shown.more {
            write(name, text)?;
        }
        let node = format!("bus/usb/{bus:03}/{:03}", shown.number);
        write("uevent", &format!("DEVTYPE=usb_device\nDEVNAME={node}"))?;
        let node = self.root.path().join("dev").join(node);
        fs::create_dir_all(node.parent().unwrap_or(Path::new("/")))?;
        fs::write(node, "")?;
        let played = Played {
            answers,
            record: Record::default(),
            interfaces,
        };
        let record = played.record.clone();
        lock(&PLUGGED).insert(fs::canonicalize(&sysfs)?, played);
        Ok(record)
    }

    /// Unplugs a device.
    ///
    /// # Errors
    /// Those of removing its files.
    pub fn unplug(&self, name: &str) -> io::Result<()> {
        let sysfs = fs::canonicalize(self.sysfs(name))?;
        lock(&PLUGGED).remove(&sysfs);
        fs::remove_file(self.root.path().join("sys/bus/usb/devices").join(name))?;
        // Kept: a directory of sysfs never gets a number that another one had.
        let gone = self.root.path().join("gone");
        fs::create_dir_all(&gone)?;
        let count = fs::read_dir(&gone)?.count();
        fs::rename(sysfs, gone.join(count.to_string()))
    }

    /// What is plugged in under that name.
    ///
    /// # Errors
    /// It is not there.
    pub fn place(&self, name: &str) -> Result<Place, UsbError> {
        let found = Host::at(self.root.path()).all(Class::Usb);
        let found = found.map_err(|error| UsbError::Io(error.to_string()))?;
        let found = found.iter().find(|found| found.name == name);
        Place::of(found.ok_or_else(|| UsbError::Gone(format!("nothing at {name}")))?)
    }
}

impl Drop for SimulatedHost {
    fn drop(&mut self) {
        if let Ok(root) = fs::canonicalize(self.root.path()) {
            lock(&PLUGGED).retain(|sysfs, _| !sysfs.starts_with(&root));
        }
    }
}

/// The devices of all simulated hosts of a test program; tests tell theirs apart by what they match.
#[derive(Debug)]
pub struct SimulatedBus;

impl SimulatedBus {
    fn roots() -> Vec<PathBuf> {
        // ROOT/sys/devices/NAME
        let plugged = lock(&PLUGGED);
        let mut roots: Vec<_> = plugged
            .keys()
            .filter_map(|sysfs| sysfs.ancestors().nth(3).map(Path::to_owned))
            .collect();
        roots.dedup();
        roots
    }
}

impl Bus for SimulatedBus {
    fn list(wanted: &UsbMatch) -> Result<Vec<Found>, OpenError> {
        let mut all = Vec::new();
        for root in Self::roots() {
            let found = Host::at(&root).all(Class::Usb);
            all.extend(found.map_err(|error| OpenError::Faulty(error.to_string()))?);
        }
        all.retain(|found| found.usb.as_ref().is_some_and(|usb| wanted.fits(usb)));
        Ok(all)
    }

    fn find(wanted: &UsbMatch) -> Result<Found, OpenError> {
        let wanted = DeviceMatch {
            usb: wanted.clone(),
            ..DeviceMatch::default()
        };
        let mut outcome = Err(FindError::Absent(
            "no simulated device is plugged in".into(),
        ));
        for root in Self::roots() {
            outcome = Host::at(&root).find(&wanted, Class::Usb);
            if !matches!(outcome, Err(FindError::Absent(_))) {
                break;
            }
        }
        Ok(outcome?)
    }

    async fn open(place: &Place) -> Result<Arc<UsbDevice>, UsbError> {
        let sysfs = place.usb().sysfs.clone();
        let played = lock(&PLUGGED).get(&sysfs).cloned();
        let played = played.ok_or_else(|| UsbError::Gone(format!("{place} is gone")))?;
        let interfaces = played.interfaces.clone();
        UsbDevice::open_with(place, interfaces, GRACE, move || Ok(played)).await
    }
}

/// A HID with an interrupt endpoint in each direction.
pub fn hid(max_packet: u16) -> Vec<Interface> {
    let endpoint = |address| Endpoint {
        address,
        kind: EndpointKind::Interrupt,
        max_packet,
    };
    vec![Interface {
        number: 0,
        class: [3, 0, 0],
        endpoints: vec![endpoint(0x81), endpoint(0x01)],
    }]
}

/// A HID with an interrupt endpoint to the host alone.
pub fn hid_without_output() -> Vec<Interface> {
    let mut interfaces = hid(8);
    for interface in &mut interfaces {
        interface
            .endpoints
            .retain(|e| e.direction() == Direction::In);
    }
    interfaces
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
