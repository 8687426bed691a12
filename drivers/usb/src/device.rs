//! The one handle of this process for a USB device.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    sync::{Mutex as Gate, watch},
    time::timeout,
};

use crate::{
    Claim, Interface, Kernel, Operation, Place, Setup, UsbError, claim,
    claim::Taken,
    descriptors,
    usbfs::Node,
    worker::{GRACE, Worker},
};

/// Opening waits only for the kernel's lock of the device.
const OPEN_LIMIT: Duration = Duration::from_secs(2);
/// A reset takes the time of the hub's port and of finding the drivers again.
const RESET_LIMIT: Duration = Duration::from_secs(10);

/// What is known of a device that somebody opened.
#[derive(Debug, Default)]
struct Slot {
    device: Weak<UsbDevice>,
    /// The last thread, and for which device it was started.
    thread: Option<(Place, watch::Receiver<()>)>,
}

type Slots = BTreeMap<(u16, u16, PathBuf), Arc<Gate<Slot>>>;

static DEVICES: Mutex<Slots> = Mutex::new(BTreeMap::new());

/// An open USB device, shared by all in this process who use it.
///
/// Requests are carried out one after another, each within its own limit. One that the kernel does
/// not give back makes the handle useless for good: [`UsbError::is_final`].
#[derive(Debug)]
pub struct UsbDevice {
    place: Place,
    interfaces: Vec<Interface>,
    pub(crate) worker: Worker,
    claims: Gate<BTreeMap<u8, Weak<Taken>>>,
}

impl UsbDevice {
    /// Opens the device at `place`, or gives the handle that is open already.
    ///
    /// # Errors
    /// [`UsbError::Gone`], [`UsbError::Denied`], and [`UsbError::Wedged`] while a request of an
    /// earlier handle hangs in the kernel.
    pub async fn open(place: &Place) -> Result<Arc<Self>, UsbError> {
        let node = place.node().to_owned();
        Self::open_with(place, descriptors_of(place), GRACE, move || {
            Node::open(&node)
        })
        .await
    }

    pub(crate) async fn open_with<K: Kernel>(
        place: &Place,
        interfaces: Vec<Interface>,
        grace: Duration,
        open: impl FnOnce() -> io::Result<K> + Send + 'static,
    ) -> Result<Arc<Self>, UsbError> {
        let gate = slot(place);
        let Ok(mut slot) = timeout(OPEN_LIMIT + grace, gate.lock()).await else {
            let text = format!("cannot open {place}: somebody else is opening it");
            return Err(UsbError::Timeout(text));
        };
        if !place.is_current() {
            return Err(UsbError::Gone(format!("{place} was unplugged")));
        }
        let usable = |device: &Arc<Self>| device.place == *place && !device.worker.is_lost();
        if let Some(device) = slot.device.upgrade().filter(usable) {
            return Ok(device);
        }
        // Of a handle that was dropped just now, or of one that hangs. What another device that had
        // the number before does is of no interest.
        if let Some((_, thread)) = slot.thread.as_mut().filter(|(of, _)| of == place) {
            let ended = async { while thread.changed().await.is_ok() {} };
            if timeout(grace, ended).await.is_err() {
                return Err(UsbError::Wedged(format!(
                    "a request of {place} has not come back from the kernel yet; unplug it, or switch \
                     its hub off and on"
                )));
            }
        }
        let (thread, worker) = Worker::start(place, [OPEN_LIMIT, grace], open).await;
        slot.thread = Some((place.clone(), thread));
        let worker = worker?;
        // The number may have gone to another device between the look at sysfs and the opening.
        if !place.is_current() {
            return Err(UsbError::Gone(format!("{place} was unplugged")));
        }
        let device = Arc::new(Self {
            place: place.clone(),
            interfaces,
            worker,
            claims: Gate::default(),
        });
        slot.device = Arc::downgrade(&device);
        Ok(device)
    }

    /// Which device it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Its interfaces in the configuration that was in force when it was opened.
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// A control request with data to the device, or without any. A request to an interface needs a
    /// [`Claim`] of it unless it is a vendor's.
    ///
    /// # Errors
    /// Those of [`UsbError`], as all of these.
    pub async fn control_out(
        &self,
        setup: Setup,
        data: &[u8],
        limit: Duration,
    ) -> Result<(), UsbError> {
        let operation = Operation::ControlOut(setup, data.to_vec());
        self.worker.perform(operation, limit).await.map(drop)
    }

    /// A control request for at most `length` bytes.
    pub async fn control_in(
        &self,
        setup: Setup,
        length: u16,
        limit: Duration,
    ) -> Result<Vec<u8>, UsbError> {
        let operation = Operation::ControlIn(setup, length);
        self.worker.perform(operation, limit).await
    }

    /// Takes an interface, from the kernel's own driver as well.
    pub async fn claim(self: &Arc<Self>, interface: u8) -> Result<Claim, UsbError> {
        let mut claims = self.claims.lock().await;
        if let Some(claim) = claims.get(&interface).and_then(Claim::of) {
            return Ok(claim);
        }
        let from_driver = self.has_driver(interface);
        let operation = Operation::Claim(interface);
        self.worker.perform(operation, claim::LIMIT).await?;
        let claim = Claim::new(self.clone(), interface, from_driver);
        claims.insert(interface, claim.weak());
        Ok(claim)
    }

    /// Takes the kernel's driver off an interface and leaves it without one.
    pub async fn detach_driver(&self, interface: u8) -> Result<(), UsbError> {
        let operation = Operation::Detach(interface);
        self.worker.perform(operation, claim::LIMIT).await.map(drop)
    }

    /// Lets the kernel look for a driver of an interface.
    pub async fn attach_driver(&self, interface: u8) -> Result<(), UsbError> {
        let operation = Operation::Attach(interface);
        self.worker.perform(operation, claim::LIMIT).await.map(drop)
    }

    /// Resets the device. It stays the same one for the kernel unless its descriptors changed.
    pub async fn reset(&self) -> Result<(), UsbError> {
        self.worker
            .perform(Operation::Reset, RESET_LIMIT)
            .await
            .map(drop)
    }

    /// Tells the kernel's hub driver to leave a port of this hub alone, until it is released or the
    /// handle is dropped. What is plugged in there meanwhile gets no driver.
    pub async fn claim_port(&self, port: u8) -> Result<(), UsbError> {
        let operation = Operation::ClaimPort(port);
        self.worker.perform(operation, claim::LIMIT).await.map(drop)
    }

    /// Gives a port back to the kernel's hub driver.
    pub async fn release_port(&self, port: u8) -> Result<(), UsbError> {
        let operation = Operation::ReleasePort(port);
        self.worker.perform(operation, claim::LIMIT).await.map(drop)
    }

    fn has_driver(&self, interface: u8) -> bool {
        // `1-1.4:1.0` below `1-1.4`: configuration and interface.
        let configuration = active_configuration(&self.place).unwrap_or(1);
        let name = format!("{}:{configuration}.{interface}", self.place.name());
        let driver = self.place.usb().sysfs.join(name).join("driver");
        let driver = std::fs::read_link(driver).ok();
        driver.is_some_and(|driver| driver.file_name().is_some_and(|name| name != "usbfs"))
    }
}

impl Claim {
    /// Sends a packet to an interrupt or bulk endpoint of the interface.
    pub async fn write(&self, endpoint: u8, data: &[u8], limit: Duration) -> Result<(), UsbError> {
        let operation = Operation::Out(endpoint, data.to_vec());
        let worker = &self.device().worker;
        worker.perform(operation, limit).await.map(drop)
    }

    /// Receives from an interrupt or bulk endpoint of the interface: as much as came until a packet
    /// was not full, at most `length` bytes.
    pub async fn read(
        &self,
        endpoint: u8,
        length: usize,
        limit: Duration,
    ) -> Result<Vec<u8>, UsbError> {
        // Whole packets only: a device that sends more than was asked for is an error to the host.
        let endpoints = self.device().interfaces.iter().flat_map(|i| &i.endpoints);
        let packet = endpoints
            .filter(|e| e.address == endpoint)
            .map(|e| usize::from(e.max_packet))
            .max();
        let whole = length.max(1).next_multiple_of(packet.unwrap_or(1));
        let operation = Operation::In(endpoint, whole);
        let mut bytes = self.device().worker.perform(operation, limit).await?;
        bytes.truncate(length);
        Ok(bytes)
    }
}

/// The slot of a device; those that nobody uses any more are forgotten.
fn slot(place: &Place) -> Arc<Gate<Slot>> {
    let mut devices = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
    devices.retain(|_, gate| {
        let unused = |slot: &Slot| {
            let thread = slot.thread.as_ref();
            let ended = thread.is_none_or(|(_, thread)| thread.has_changed().is_err());
            ended && slot.device.strong_count() == 0
        };
        Arc::strong_count(gate) > 1 || !gate.try_lock().is_ok_and(|slot| unused(&slot))
    });
    let usb = place.usb();
    let key = (usb.busnum, usb.devnum, usb.sysfs.clone());
    devices.entry(key).or_default().clone()
}

fn active_configuration(place: &Place) -> Option<u8> {
    let text = std::fs::read_to_string(place.usb().sysfs.join("bConfigurationValue"));
    text.ok()?.trim().parse().ok()
}

fn descriptors_of(place: &Place) -> Vec<Interface> {
    let bytes = std::fs::read(place.usb().sysfs.join("descriptors")).unwrap_or_default();
    descriptors::interfaces(&bytes, active_configuration(place))
}
