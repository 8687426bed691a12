//! The requests of a DUTLink.
//!
//! Vendor requests to its vendor interface, class ff, subclass 1, protocol 1. Numbers are those of the
//! Python driver.

use std::{sync::Arc, time::Duration};

use rigd_device::{UsbId, UsbMatch};
use rigd_driver::{DriverError, HealthHandle, OpenCx, OpenError};
use rigd_usb::{Bus, Setup, UsbDevice, UsbError, reported};

/// Vendor and product of the board.
pub(crate) const IDS: (u16, u16) = (0x2b23, 0x1012);
/// Class, subclass and protocol of the interface that takes requests.
const CONTROL_INTERFACE: [u8; 3] = [0xff, 0x01, 0x01];
/// `bmRequestType`: vendor, interface.
const TO_BOARD: u8 = 0x41;
const FROM_BOARD: u8 = 0xc1;
const REFRESH: u8 = 0x00;
const SET_POWER: u8 = 0x01;
const SET_STORAGE: u8 = 0x02;
const READ: u8 = 0x04;
/// Which of the values `READ` gives.
const POWER_VALUE: u16 = 1;
/// Longest text of a value.
const TEXT: u16 = 512;

/// What the board's supply is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Supply {
    Off = 0,
    On = 1,
    Rescue = 4,
}

/// Where the board's mux has the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Card {
    Off = 0,
    Host = 1,
    Dut = 2,
}

/// An open board.
#[derive(Debug)]
pub(crate) struct Board {
    device: Arc<UsbDevice>,
    interface: u16,
    limit: Duration,
    health: HealthHandle,
}

impl Board {
    /// Finds and opens the board.
    pub(crate) async fn open<B: Bus>(
        wanted: &UsbMatch,
        limit: Duration,
        cx: &OpenCx,
    ) -> Result<Self, OpenError> {
        let device = rigd_usb::open::<B>(wanted, cx).await?;
        let mut interfaces = device.interfaces().iter();
        let interface = interfaces.find(|one| one.class == CONTROL_INTERFACE);
        let Some(interface) = interface.map(|one| u16::from(one.number)) else {
            let text = format!(
                "{} has no interface for requests (class ff, subclass 1, protocol 1); is its firmware \
                 complete?",
                device.place()
            );
            return Err(OpenError::Faulty(text));
        };
        Ok(Self {
            device,
            interface,
            limit,
            health: cx.health().clone(),
        })
    }

    /// What it is known by.
    pub(crate) fn address(&self) -> String {
        self.device.place().to_string()
    }

    /// Switches the supply.
    pub(crate) async fn supply(&self, supply: Supply) -> Result<(), DriverError> {
        self.send(SET_POWER, supply as u16).await
    }

    /// Switches the mux.
    pub(crate) async fn card(&self, card: Card) -> Result<(), DriverError> {
        self.send(SET_STORAGE, card as u16).await
    }

    /// Measures, and gives the text of the power value: `5.10V 0.30A`.
    pub(crate) async fn power_text(&self) -> Result<String, DriverError> {
        self.send(REFRESH, 0).await?;
        let setup = self.setup(FROM_BOARD, READ, POWER_VALUE);
        let text = self.device.control_in(setup, TEXT, self.limit).await;
        let text = self.heard(text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    async fn send(&self, request: u8, value: u16) -> Result<(), DriverError> {
        let setup = self.setup(TO_BOARD, request, value);
        let sent = self.device.control_out(setup, &[], self.limit).await;
        self.heard(sent)
    }

    fn setup(&self, request_type: u8, request: u8, value: u16) -> Setup {
        Setup {
            request_type,
            request,
            value,
            index: self.interface,
        }
    }

    fn heard<T>(&self, outcome: Result<T, UsbError>) -> Result<T, DriverError> {
        outcome.map_err(|error| reported(error, &self.health))
    }
}

/// How a board is looked for.
pub(crate) fn wanted(serial: Option<&String>, usb: &UsbMatch) -> UsbMatch {
    let mut wanted = usb.clone();
    wanted.vendor.get_or_insert(UsbId(IDS.0));
    wanted.product.get_or_insert(UsbId(IDS.1));
    if let Some(serial) = serial {
        wanted.serial = Some(serial.clone());
    }
    wanted
}
