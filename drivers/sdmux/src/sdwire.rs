//! `sdmux.sdwire`: SDWire and SDWireC, whose mux hangs on a pin of an FTDI chip.
//!
//! Facts: the pin is CBUS0 of an FT200X in bit-bang mode. `SIO_SET_BITMODE` is the vendor request 0Bh
//! with the mode in the high byte of wValue (20h: CBUS bit-bang) and, in the low byte, directions in its
//! upper and levels in its lower four bits; `SIO_READ_PINS` is 0Ch and gives one byte. High is the host.
//! Read from upstream's driver; FTDI describes the mode in AN_373, "Bit-Bang Modes for the FT-X
//! Series".

use std::{sync::Arc, time::Duration};

use rigd_device::{Host, UsbId, UsbIdentity, UsbMatch};
use rigd_driver::{Call, ConfigError, DriverError, HealthHandle, OpenCx, OpenError};
use rigd_usb::{Bus, HostBus, Setup, UsbDevice, open, reported};

use crate::{
    CardSettings, Mux, Side,
    config::{Ids, check_usb, mux_config, on_usb},
    mux::FindDisk,
};

/// The ids that the makers of SDWire program into it.
const PROGRAMMED: Ids = (UsbId(0x04e8), UsbId(0x6001));
const PRODUCT: &str = "sd-wire";
/// The ids of an FT200X as FTDI delivers it.
const FACTORY: Ids = (UsbId(0x0403), UsbId(0x6015));

/// A control request takes a millisecond.
const LIMIT: Duration = Duration::from_secs(2);
const SET_BITMODE: u8 = 0x0b;
const READ_PINS: u8 = 0x0c;
/// CBUS bit-bang, CBUS0 as an output, low.
const CBUS0_LOW: u16 = 0x20f0;
const CBUS0_HIGH: u16 = 0x20f1;

mux_config! {
    /// A card behind an SDWire or SDWireC.
    ///
    /// The reader's disk is the one in the mux's own hub. `off` is `host`: the mux has two positions. Power the board within
    /// half a second after `dut`, else the protection of some boards gives the card back to the host.
    ///
    /// A mux that still has the ids of its FTDI chip (0403:6015) is found by its `serial` alone; its pin CBUS0 must be set to
    /// GPIO already, with the maker's tool. udev's rule is in `systemd/60-rigd.rules`.
    pub struct SdWireConfig {
        /// Serial number of the mux. Without it the only one of the host.
        pub serial: Option<String>,
        /// The socket that its FTDI chip is in, by the ports of all hubs on the way: `1-1.4.2`.
        pub port: Option<String>,
    }
}

/// The FTDI chip of an SDWire on `B`.
pub struct SdWire<B = HostBus> {
    chip: Arc<UsbDevice>,
    health: HealthHandle,
    bus: std::marker::PhantomData<fn() -> B>,
}

impl<B: Bus> Mux for SdWire<B> {
    const TYPE: &'static str = "sdmux.sdwire";
    type Config = SdWireConfig;

    fn card(config: &SdWireConfig) -> CardSettings {
        config.card()
    }

    fn check(config: &SdWireConfig) -> Result<(), ConfigError> {
        check_usb(&on_usb(PROGRAMMED, &config.serial, &config.port))
    }

    async fn open(config: &SdWireConfig, cx: &OpenCx) -> Result<Self, OpenError> {
        let programmed = UsbMatch {
            product_name: Some(PRODUCT.into()),
            ..on_usb(PROGRAMMED, &config.serial, &config.port)
        };
        let chip = match open::<B>(&programmed, cx).await {
            Err(OpenError::Absent(text)) if config.serial.is_some() => {
                let factory = on_usb(FACTORY, &config.serial, &config.port);
                let factory = open::<B>(&factory, cx).await;
                factory.map_err(|error| match error {
                    OpenError::Absent(_) => OpenError::Absent(missing(&text)),
                    error => error,
                })?
            }
            Err(OpenError::Absent(text)) => return Err(OpenError::Absent(missing(&text))),
            opened => opened?,
        };
        Ok(Self {
            chip,
            health: cx.health().clone(),
            bus: std::marker::PhantomData,
        })
    }

    fn disk(&self) -> FindDisk {
        disk_behind(self.chip.place().usb().clone())
    }

    async fn set(&self, _: &Call, side: Side) -> Result<(), DriverError> {
        let setup = Setup {
            request_type: 0x40,
            request: SET_BITMODE,
            value: match side {
                Side::Host | Side::Off => CBUS0_HIGH,
                Side::Dut => CBUS0_LOW,
            },
            index: 0,
        };
        let sent = self.chip.control_out(setup, &[], LIMIT).await;
        sent.map_err(|error| reported(error, &self.health))
    }

    async fn get(&self) -> Result<Option<Side>, DriverError> {
        let setup = Setup {
            request_type: 0xc0,
            request: READ_PINS,
            value: 0,
            index: 0,
        };
        let pins = self.chip.control_in(setup, 1, LIMIT).await;
        let pins = pins.map_err(|error| reported(error, &self.health))?;
        match pins.first() {
            Some(pins) if pins & 1 == 1 => Ok(Some(Side::Host)),
            Some(_) => Ok(Some(Side::Dut)),
            None => Err(DriverError::Device(format!(
                "{} does not say where the card is: it sent nothing",
                self.chip.place()
            ))),
        }
    }
}

/// Upstream's text, with what there is.
fn missing(text: &str) -> String {
    format!("failed to find sd-wire device: {text}")
}

/// The disk that belongs to a USB device by where both are plugged in.
pub(crate) fn disk_behind(usb: UsbIdentity) -> FindDisk {
    use rigd_device::FindError;
    Arc::new(move || {
        let found = Host::default().disk_behind(&usb);
        let node = found.and_then(|disk| disk.node().map(std::path::Path::to_owned));
        node.map_err(|error| match error {
            FindError::Absent(text) => DriverError::Unavailable(text),
            error => DriverError::FailedPrecondition(format!(
                "card unknown: {error}; or name its disk with `storage_device`"
            )),
        })
    })
}

#[cfg(test)]
mod tests;
