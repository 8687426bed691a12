//! Interfaces that this process has taken.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use crate::{Operation, UsbDevice};

/// Neither waits for the device; the kernel's driver may need a moment to go or to come.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);

/// The right to use an interface, for as long as it is kept. All claims of an interface in this
/// process are one; when the last is dropped the interface goes back, to the kernel's driver if it
/// was taken from that.
#[derive(Debug, Clone)]
pub struct Claim(Arc<Taken>);

#[derive(Debug)]
pub(crate) struct Taken {
    device: Arc<UsbDevice>,
    interface: u8,
    from_driver: bool,
}

impl Claim {
    pub(crate) fn new(device: Arc<UsbDevice>, interface: u8, from_driver: bool) -> Self {
        Self(Arc::new(Taken {
            device,
            interface,
            from_driver,
        }))
    }

    pub(crate) fn weak(&self) -> Weak<Taken> {
        Arc::downgrade(&self.0)
    }

    pub(crate) fn of(taken: &Weak<Taken>) -> Option<Self> {
        taken.upgrade().map(Self)
    }

    /// The device.
    pub fn device(&self) -> &Arc<UsbDevice> {
        &self.0.device
    }

    /// Number of the interface.
    pub fn interface(&self) -> u8 {
        self.0.interface
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let release = Operation::Release(self.interface, self.from_driver);
        self.device.worker.leave(release, LIMIT);
    }
}
