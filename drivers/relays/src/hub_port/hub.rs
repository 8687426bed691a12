//! The requests of a hub: USB 2.0, 11.24.2; USB 3.2, 10.16.2. The numbers are those of
//! include/uapi/linux/usb/ch11.h as well.

use std::{fs, sync::Arc, time::Duration};

use rigd_driver::OpenError;
use rigd_usb::{Place, Setup, UsbDevice, UsbError};

/// How long a hub may take for a request: it answers by itself, without its ports.
pub(super) const LIMIT: Duration = Duration::from_secs(2);

/// `bmRequestType` of requests to the hub and to a port of it (USB 2.0, table 11-15).
const FROM_HUB: u8 = 0xa0;
const TO_PORT: u8 = 0x23;
const FROM_PORT: u8 = 0xa3;
/// `bRequest` (USB 2.0, table 11-16).
const GET_STATUS: u8 = 0;
const CLEAR_FEATURE: u8 = 1;
const SET_FEATURE: u8 = 3;
const GET_DESCRIPTOR: u8 = 6;
/// The feature (USB 2.0, table 11-17).
const PORT_POWER: u16 = 8;
/// High byte of `wValue`: the hub's descriptor (USB 2.0, 11.23.2.1), and that of a USB 3 hub (USB
/// 3.2, 10.15.2.1).
const DESCRIPTOR: u16 = 0x2900;
const SUPERSPEED_DESCRIPTOR: u16 = 0x2a00;
/// `bDeviceProtocol` of a USB 3 hub (`USB_HUB_PR_SS`).
const SUPERSPEED: u8 = 3;
/// Bits of `wPortStatus`: USB 2.0, table 11-21, and USB 3.2, table 10-13.
const POWERED: u16 = 1 << 8;
const SUPERSPEED_POWERED: u16 = 1 << 9;

/// What a hub can do about power (`wHubCharacteristics`, bits 0 and 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PowerSwitching {
    /// All ports at once.
    Ganged,
    /// One by one.
    Individual,
    /// Nothing.
    None,
}

/// What a hub's descriptor says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct About {
    pub(super) ports: u8,
    pub(super) switching: PowerSwitching,
    /// From power on until the port can be used.
    pub(super) settle: Duration,
}

impl About {
    /// Nothing when it is no hub's descriptor.
    pub(super) fn parse(descriptor: &[u8], superspeed: bool) -> Option<Self> {
        let [_, kind, ports, low, high, settle, ..] = descriptor else {
            return None;
        };
        let expected = if superspeed {
            SUPERSPEED_DESCRIPTOR
        } else {
            DESCRIPTOR
        };
        if u16::from(*kind) << 8 != expected || *ports == 0 {
            return None;
        }
        Some(Self {
            ports: *ports,
            switching: match u16::from_le_bytes([*low, *high]) & 0b11 {
                0 => PowerSwitching::Ganged,
                1 => PowerSwitching::Individual,
                _ => PowerSwitching::None,
            },
            // `bPwrOn2PwrGood` counts 2 ms.
            settle: Duration::from_millis(2 * u64::from(*settle)),
        })
    }
}

/// A hub in use. Linux's own driver stays bound to it.
#[derive(Debug)]
pub(super) struct Hub {
    device: Arc<UsbDevice>,
    about: About,
    superspeed: bool,
}

impl Hub {
    /// Asks a hub for its descriptor.
    pub(super) async fn read(device: Arc<UsbDevice>) -> Result<Self, OpenError> {
        let superspeed = is_superspeed(device.place());
        let setup = Setup {
            request_type: FROM_HUB,
            request: GET_DESCRIPTOR,
            value: if superspeed {
                SUPERSPEED_DESCRIPTOR
            } else {
                DESCRIPTOR
            },
            index: 0,
        };
        // The fixed part is 7 bytes, 12 of a USB 3 hub; a bit for each port follows.
        let descriptor = device.control_in(setup, 71, LIMIT).await?;
        let Some(about) = About::parse(&descriptor, superspeed) else {
            let text = format!(
                "{}: {descriptor:02x?} is no hub's descriptor",
                device.place()
            );
            return Err(OpenError::Faulty(text));
        };
        Ok(Self {
            device,
            about,
            superspeed,
        })
    }

    pub(super) fn place(&self) -> &Place {
        self.device.place()
    }

    /// Whether it can switch that port alone.
    pub(super) fn can_switch(&self, port: u8) -> Result<(), OpenError> {
        let (place, ports) = (self.place(), self.about.ports);
        if !(1..=ports).contains(&port) {
            let text = format!("there is no port {port} on {place}: it has {ports}");
            return Err(OpenError::Faulty(text));
        }
        match self.about.switching {
            PowerSwitching::Individual => Ok(()),
            other => Err(OpenError::Faulty(format!(
                "{place} {}; it takes a hub with power switching per port",
                <&str>::from(other)
            ))),
        }
    }

    /// Switches a port and waits until it has power.
    pub(super) async fn switch(&self, port: u8, on: bool) -> Result<(), UsbError> {
        if on {
            self.release(port).await;
        } else {
            self.hold(port).await?;
        }
        let setup = Setup {
            request_type: TO_PORT,
            request: if on { SET_FEATURE } else { CLEAR_FEATURE },
            value: PORT_POWER,
            index: port.into(),
        };
        self.device.control_out(setup, &[], LIMIT).await?;
        if on {
            tokio::time::sleep(self.about.settle).await;
        }
        Ok(())
    }

    /// Whether a port has power.
    pub(super) async fn is_on(&self, port: u8) -> Result<bool, UsbError> {
        let setup = Setup {
            request_type: FROM_PORT,
            request: GET_STATUS,
            value: 0,
            index: port.into(),
        };
        let status = self.device.control_in(setup, 4, LIMIT).await?;
        powered(&status, self.superspeed).ok_or_else(|| {
            let place = self.place();
            UsbError::Io(format!("{place}: {status:02x?} is no status of a port"))
        })
    }

    /// Keeps Linux from switching the port on again.
    pub(super) async fn hold(&self, port: u8) -> Result<(), UsbError> {
        match self.device.claim_port(port).await {
            // By this handle, for this port or another instance that has the same.
            Err(UsbError::Busy(text)) => {
                tracing::debug!("{text}");
                Ok(())
            }
            other => other,
        }
    }

    async fn release(&self, port: u8) {
        if let Err(error) = self.device.release_port(port).await {
            // It was not held.
            tracing::debug!("{error}");
        }
    }
}

fn powered(status: &[u8], superspeed: bool) -> Option<bool> {
    let [low, high, _, _] = status else {
        return None;
    };
    let bit = if superspeed {
        SUPERSPEED_POWERED
    } else {
        POWERED
    };
    Some(u16::from_le_bytes([*low, *high]) & bit != 0)
}

fn is_superspeed(place: &Place) -> bool {
    let protocol = fs::read_to_string(place.usb().sysfs.join("bDeviceProtocol"));
    protocol.is_ok_and(|text| u8::from_str_radix(text.trim(), 16) == Ok(SUPERSPEED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_descriptor_says_what_can_be_switched() {
        // 4 ports; individual power and overcurrent; 100 ms.
        let two = [9, 0x29, 4, 0x09, 0x00, 50, 100, 0, 0xff];
        let about = About::parse(&two, false).unwrap();
        let settle = Duration::from_millis(100);
        let expected = About {
            ports: 4,
            switching: PowerSwitching::Individual,
            settle,
        };
        assert_eq!(about, expected);
        assert_eq!(About::parse(&two, true), None);
        let three = [12, 0x2a, 4, 0x00, 0x00, 0, 0, 0, 0, 0, 0, 0];
        let about = About::parse(&three, true).unwrap();
        assert_eq!(about.switching, PowerSwitching::Ganged);
        for without in [0x02, 0x03] {
            let about = About::parse(&[9, 0x29, 4, without, 0, 50, 100], false).unwrap();
            assert_eq!(about.switching, PowerSwitching::None);
        }
    }

    #[test]
    fn the_bit_of_power_differs_between_usb_2_and_3() {
        assert_eq!(powered(&[0x00, 0x01, 0, 0], false), Some(true));
        assert_eq!(powered(&[0x03, 0x04, 0, 0], false), Some(false));
        assert_eq!(powered(&[0xa0, 0x02, 0, 0], true), Some(true));
        assert_eq!(powered(&[0x00, 0x01, 0, 0], true), Some(false));
        assert_eq!(powered(&[0x00, 0x01], false), None);
    }

    proptest! {
        #[test]
        fn whatever_a_hub_says_is_read(bytes: Vec<u8>, superspeed: bool) {
            if let Some(about) = About::parse(&bytes, superspeed) {
                prop_assert!(about.ports > 0);
            }
            powered(&bytes, superspeed);
        }
    }
}
