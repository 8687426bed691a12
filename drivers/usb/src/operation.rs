//! What can be asked of a device.

use std::fmt;

/// The fixed part of a control request (USB 2.0, 9.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// `bmRequestType`: direction, type and recipient.
    pub request_type: u8,
    /// `bRequest`.
    pub request: u8,
    /// `wValue`.
    pub value: u16,
    /// `wIndex`.
    pub index: u16,
}

/// One request to the kernel about one device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// A control request with data to the device, or none.
    ControlOut(Setup, Vec<u8>),
    /// A control request for at most that many bytes.
    ControlIn(Setup, u16),
    /// A packet to an interrupt or bulk endpoint.
    Out(u8, Vec<u8>),
    /// At most that many bytes from an interrupt or bulk endpoint.
    In(u8, usize),
    /// Takes an interface, from the kernel's own driver as well.
    Claim(u8),
    /// Gives an interface back; `true` to the kernel's driver.
    Release(u8, bool),
    /// Takes the kernel's driver off an interface and leaves it without one.
    Detach(u8),
    /// Lets the kernel look for a driver of an interface.
    Attach(u8),
    /// Resets the device. The kernel's drivers stay, or come again.
    Reset,
    /// Tells the kernel's hub driver to leave a port of this hub alone (Linux 2.6.38).
    ClaimPort(u8),
    /// The opposite.
    ReleasePort(u8),
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ControlOut(setup, _) | Self::ControlIn(setup, _) => write!(
                f,
                "control request {:#04x}/{:#04x}",
                setup.request_type, setup.request
            ),
            Self::Out(endpoint, _) => write!(f, "write to endpoint {endpoint:#04x}"),
            Self::In(endpoint, _) => write!(f, "read from endpoint {endpoint:#04x}"),
            Self::Claim(interface) => write!(f, "claim of interface {interface}"),
            Self::Release(interface, _) => write!(f, "release of interface {interface}"),
            Self::Detach(interface) => write!(f, "detaching of interface {interface}"),
            Self::Attach(interface) => write!(f, "attaching of interface {interface}"),
            Self::Reset => f.write_str("reset"),
            Self::ClaimPort(port) => write!(f, "claim of port {port}"),
            Self::ReleasePort(port) => write!(f, "release of port {port}"),
        }
    }
}
