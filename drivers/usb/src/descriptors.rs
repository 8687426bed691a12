//! Interfaces and endpoints of a device, from its descriptors (USB 2.0, 9.6).

/// `bDescriptorType` of what is read here (USB 2.0, table 9-5).
const CONFIGURATION: u8 = 2;
const INTERFACE: u8 = 4;
const ENDPOINT: u8 = 5;

/// An interface in its first alternate setting, which is the one in force after plugging in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// `bInterfaceNumber`.
    pub number: u8,
    /// `bInterfaceClass`, `bInterfaceSubClass` and `bInterfaceProtocol`.
    pub class: [u8; 3],
    /// Its endpoints beside the control endpoint.
    pub endpoints: Vec<Endpoint>,
}

/// Where the data of an endpoint goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the device.
    Out,
    /// To the host.
    In,
}

/// How an endpoint carries its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointKind {
    /// Control.
    Control,
    /// Isochronous.
    Isochronous,
    /// Bulk.
    Bulk,
    /// Interrupt.
    Interrupt,
}

/// An endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// `bEndpointAddress`.
    pub address: u8,
    /// How it carries its data.
    pub kind: EndpointKind,
    /// Most bytes in a packet, at least 1.
    pub max_packet: u16,
}

impl Endpoint {
    /// Where its data goes.
    pub fn direction(&self) -> Direction {
        if self.address & 0x80 == 0 {
            Direction::Out
        } else {
            Direction::In
        }
    }
}

impl Interface {
    /// Its first interrupt endpoint in that direction.
    pub fn interrupt(&self, direction: Direction) -> Option<Endpoint> {
        let fits = |e: &&Endpoint| e.kind == EndpointKind::Interrupt && e.direction() == direction;
        self.endpoints.iter().find(fits).copied()
    }
}

/// The interfaces of one configuration, the first one unless `active` names another. What a broken
/// device says after its first wrong length is left out.
pub(crate) fn interfaces(bytes: &[u8], active: Option<u8>) -> Vec<Interface> {
    let mut found: Vec<Interface> = Vec::new();
    // Endpoints follow the interface they belong to.
    let mut in_use = false;
    let mut configurations = 0;
    let mut wanted = false;
    for one in descriptors(bytes) {
        match (one[1], one) {
            (CONFIGURATION, [_, _, _, _, _, value, ..]) => {
                configurations += 1;
                wanted = active.map_or(configurations == 1, |active| active == *value);
                in_use = false;
            }
            (INTERFACE, [_, _, number, alternate, _, class, subclass, protocol, ..]) => {
                in_use = wanted && *alternate == 0;
                if in_use {
                    found.push(Interface {
                        number: *number,
                        class: [*class, *subclass, *protocol],
                        endpoints: Vec::new(),
                    });
                }
            }
            (ENDPOINT, [_, _, address, attributes, low, high, ..]) if in_use => {
                if let Some(interface) = found.last_mut() {
                    interface.endpoints.push(Endpoint {
                        address: *address,
                        kind: kind(*attributes),
                        // Bits 11 and 12 count further packets (USB 2.0, table 9-13).
                        max_packet: (u16::from_le_bytes([*low, *high]) & 0x7ff).max(1),
                    });
                }
            }
            _ => {}
        }
    }
    found
}

/// One after another by their own lengths; ends at one that cannot be right.
fn descriptors(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = usize::from(*bytes.first()?);
        let (one, rest) = bytes.split_at_checked(length).filter(|_| length >= 2)?;
        bytes = rest;
        Some(one)
    })
}

fn kind(attributes: u8) -> EndpointKind {
    match attributes & 0b11 {
        0 => EndpointKind::Control,
        1 => EndpointKind::Isochronous,
        2 => EndpointKind::Bulk,
        _ => EndpointKind::Interrupt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A device with two configurations; the second has what a DUTLink has.
    const TWO: &[u8] = &[
        18, 1, 0, 2, 0, 0, 0, 64, 0xd8, 0x04, 0xf7, 0xf2, 0, 1, 1, 2, 3, 2, // device
        9, 2, 41, 0, 1, 1, 0, 0x80, 50, // configuration 1
        9, 4, 0, 0, 2, 3, 0, 0, 0, // interface 0: HID
        9, 0x21, 0x11, 1, 0, 1, 0x22, 29, 0, // HID descriptor
        7, 5, 0x81, 3, 64, 0, 1, // interrupt IN
        7, 5, 0x01, 3, 64, 0, 1, // interrupt OUT
        9, 2, 41, 0, 1, 2, 0, 0x80, 50, // configuration 2
        9, 4, 0, 0, 0, 0xff, 1, 1, 0, // interface 0: vendor
        9, 4, 1, 0, 0, 10, 0, 0, 0, // interface 1, nothing
        9, 4, 1, 1, 1, 10, 0, 0, 0, // and its alternate setting
        7, 5, 0x82, 2, 0, 2, 0, // bulk IN
    ];

    #[test]
    fn the_configuration_in_force_is_read() {
        let hid = interfaces(TWO, Some(1));
        assert_eq!(hid, interfaces(TWO, None));
        assert_eq!(hid.len(), 1);
        assert_eq!((hid[0].number, hid[0].class), (0, [3, 0, 0]));
        assert_eq!(hid[0].interrupt(Direction::Out).unwrap().address, 0x01);
        let input = hid[0].interrupt(Direction::In).unwrap();
        assert_eq!((input.address, input.max_packet), (0x81, 64));

        let vendor = interfaces(TWO, Some(2));
        let classes: Vec<_> = vendor.iter().map(|one| (one.number, one.class)).collect();
        assert_eq!(classes, [(0, [0xff, 1, 1]), (1, [10, 0, 0])]);
        assert_eq!(vendor[1].endpoints, []);
        assert_eq!(interfaces(TWO, Some(3)), []);
    }

    #[test]
    fn a_wrong_length_ends_it() {
        let mut cut = TWO.to_vec();
        cut.truncate(58);
        assert_eq!(interfaces(&cut, None)[0].endpoints.len(), 1);
        cut[18] = 0;
        assert_eq!(interfaces(&cut, None), []);
    }

    proptest! {
        #[test]
        fn whatever_a_device_says_is_read(bytes: Vec<u8>, active: Option<u8>) {
            interfaces(&bytes, active);
        }

        #[test]
        fn a_cut_changes_nothing_before_it(cut in 0..TWO.len()) {
            let whole = interfaces(TWO, None);
            let part = interfaces(&TWO[..cut], None);
            prop_assert!(part.len() <= whole.len());
            for (part, whole) in part.iter().zip(&whole) {
                prop_assert_eq!(part.class, whole.class);
                prop_assert!(whole.endpoints.starts_with(&part.endpoints));
            }
        }
    }
}
