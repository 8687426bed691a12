//! `sdmux.sdwire3`: a reader that switches with whether a driver has it.
//!
//! Facts: there is no control chip. Without a kernel driver on interface 0 a reset of the device leaves
//! the card to the board; with one, to the host. Read from the maker's `sdwire-cli` (device class
//! `SDWireGen2`, `sdwire/constants.py`); unverified on hardware.

use std::{path::Path, sync::Arc, time::Duration};

use rigd_device::UsbId;
use rigd_driver::{Call, ConfigError, DriverError, HealthHandle, OpenCx, OpenError};
use rigd_usb::{Bus, HostBus, UsbDevice, open, reported};
use tokio::time::{Instant, sleep};

use crate::{
    CardSettings, Mux, Side,
    config::{Ids, check_usb, mux_config, on_usb},
    mux::FindDisk,
    sdwire::disk_behind,
};

/// Its ids.
const IDS: Ids = (UsbId(0x1209), UsbId(0x2404));
/// The interface of its reader.
const READER: u8 = 0;
/// How long the kernel may take to find the driver again after a reset.
const BIND: Duration = Duration::from_secs(3);
const BIND_LOOK: Duration = Duration::from_millis(50);

mux_config! {
    /// A card behind an SDWire3 (1209:2404).
    ///
    /// `off` is `host`: the mux has two positions. While the card is at the board the reader has no driver, and no disk.
    ///
    /// **Unverified on hardware**: the way it switches is read from its maker's tool. Older ones, 0bda:0316, have the ids of
    /// readers in many notebooks and are not taken. udev's rule is in `systemd/60-rigd.rules`.
    pub struct SdWire3Config {
        /// Serial number of the mux. Without it the only one of the host.
        pub serial: Option<String>,
        /// The socket that it is in, by the ports of all hubs on the way: `1-1.4`.
        pub port: Option<String>,
    }
}

/// An SDWire3 on `B`.
pub struct SdWire3<B = HostBus> {
    reader: Arc<UsbDevice>,
    health: HealthHandle,
    bus: std::marker::PhantomData<fn() -> B>,
}

impl<B: Bus> Mux for SdWire3<B> {
    const TYPE: &'static str = "sdmux.sdwire3";
    type Config = SdWire3Config;

    fn card(config: &SdWire3Config) -> CardSettings {
        config.card()
    }

    fn check(config: &SdWire3Config) -> Result<(), ConfigError> {
        check_usb(&on_usb(IDS, &config.serial, &config.port))
    }

    async fn open(config: &SdWire3Config, cx: &OpenCx) -> Result<Self, OpenError> {
        Ok(Self {
            reader: open::<B>(&on_usb(IDS, &config.serial, &config.port), cx).await?,
            health: cx.health().clone(),
            bus: std::marker::PhantomData,
        })
    }

    fn disk(&self) -> FindDisk {
        disk_behind(self.reader.place().usb().clone())
    }

    async fn set(&self, _: &Call, side: Side) -> Result<(), DriverError> {
        let told = match side {
            Side::Host | Side::Off => self.reader.attach_driver(READER).await,
            Side::Dut => self.reader.detach_driver(READER).await,
        };
        told.map_err(|error| reported(error, &self.health))?;
        let reset = self.reader.reset().await;
        reset.map_err(|error| reported(error, &self.health))?;
        self.settles_at(side).await;
        Ok(())
    }

    /// Whether a driver has the reader: sysfs tells, the device cannot.
    async fn get(&self) -> Result<Option<Side>, DriverError> {
        Ok(Some(match self.has_driver() {
            true => Side::Host,
            false => Side::Dut,
        }))
    }
}

impl<B: Bus> SdWire3<B> {
    /// A look at a link in sysfs, in microseconds.
    fn has_driver(&self) -> bool {
        let place = self.reader.place();
        let interface = |dir: &Path| {
            let name = dir.file_name().unwrap_or_default().to_string_lossy();
            // Configuration 1 is the only one of a reader.
            dir.join(format!("{name}:1.{READER}"))
        };
        let driver = interface(&place.usb().sysfs).join("driver");
        // usbfs is what has it while this process does.
        let name = std::fs::read_link(driver).ok();
        name.is_some_and(|name| name.file_name().is_some_and(|name| name != "usbfs"))
    }

    /// The kernel looks for drivers after the reset, some time later.
    async fn settles_at(&self, side: Side) {
        let limit = Instant::now() + BIND;
        while self.has_driver() != (side != Side::Dut) && Instant::now() < limit {
            sleep(BIND_LOOK).await;
        }
    }
}

#[cfg(test)]
mod tests;
