//! Where a driver gets its USB device from: this host, or a test.

use std::{future::Future, sync::Arc};

use rigd_device::{Class, DeviceMatch, Found, Host, UsbMatch, wake_on};
use rigd_driver::{DriverError, HealthHandle, OpenCx, OpenError};

use crate::{Place, UsbDevice, UsbError};

/// A source of USB devices.
pub trait Bus: Send + Sync + 'static {
    /// All devices that match, hubs as well. Blocks for some milliseconds.
    ///
    /// # Errors
    /// Sysfs cannot be read.
    fn list(wanted: &UsbMatch) -> Result<Vec<Found>, OpenError>;

    /// The one device that matches.
    ///
    /// # Errors
    /// Absent or ambiguous.
    fn find(wanted: &UsbMatch) -> Result<Found, OpenError>;

    /// Opens a device, or gives the handle that is open already.
    fn open(place: &Place) -> impl Future<Output = Result<Arc<UsbDevice>, UsbError>> + Send;
}

/// The USB devices of this host.
#[derive(Debug)]
pub struct HostBus;

impl Bus for HostBus {
    fn list(wanted: &UsbMatch) -> Result<Vec<Found>, OpenError> {
        let all = Host::default().all(Class::Usb);
        let mut all =
            all.map_err(|error| OpenError::Faulty(format!("cannot read sysfs: {error}")))?;
        all.retain(|found| found.usb.as_ref().is_some_and(|usb| wanted.fits(usb)));
        Ok(all)
    }

    fn find(wanted: &UsbMatch) -> Result<Found, OpenError> {
        let wanted = DeviceMatch {
            usb: wanted.clone(),
            ..DeviceMatch::default()
        };
        Ok(wanted.find(Class::Usb)?)
    }

    async fn open(place: &Place) -> Result<Arc<UsbDevice>, UsbError> {
        UsbDevice::open(place).await
    }
}

/// Finds and opens the one device that matches, for `Driver::open`: absent, the instance is opened
/// again when it comes; unplugged later, the instance hears of it at once.
///
/// # Errors
/// Absent, ambiguous, without permission, or hanging.
pub async fn open<B: Bus>(wanted: &UsbMatch, cx: &OpenCx) -> Result<Arc<UsbDevice>, OpenError> {
    wake_on(cx, &[Class::Usb]);
    let wanted = wanted.clone();
    let found = cx.blocking(move || B::find(&wanted)).await?;
    open_found::<B>(&found, cx).await
}

/// The second half of [`open`], for who chose among several devices.
///
/// # Errors
/// Those of opening.
pub async fn open_found<B: Bus>(found: &Found, cx: &OpenCx) -> Result<Arc<UsbDevice>, OpenError> {
    let device = B::open(&Place::of(found)?).await?;
    let (found, health) = (found.clone(), cx.health().clone());
    cx.tasks().spawn(async move {
        found.removed().await;
        health.lost(format!("{found} was unplugged"));
    });
    Ok(device)
}

/// What a failed request means to the caller; the instance hears of it when the handle is of no
/// further use.
pub fn reported(error: UsbError, health: &HealthHandle) -> DriverError {
    match &error {
        UsbError::Gone(text) => health.lost(text.clone()),
        UsbError::Wedged(text) => health.faulty(text.clone()),
        _ => {}
    }
    error.into()
}
