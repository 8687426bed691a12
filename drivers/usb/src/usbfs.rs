//! The kernel's interface for one device: the ioctls of `/dev/bus/usb/BBB/DDD`.
//!
//! All of them block until the host controller is done, `wait_for_completion_killable` in
//! drivers/usb/core/devio.c, and a time limit only starts the cancelling: a controller that hangs
//! never gives the request back. So they run on the thread of their device and nowhere else.
//!
//! Numbers and structures: include/uapi/linux/usbdevice_fs.h.
#![allow(
    unsafe_code,
    reason = "usbfs is made of ioctls; rustix has no wrappers for them"
)]

use std::{
    ffi::c_void,
    fs::{File, OpenOptions},
    io,
    path::Path,
    time::Duration,
};

use rustix::ioctl::{Ioctl, IoctlOutput, NoArg, Opcode, Setter, ioctl, opcode};

use crate::{Kernel, Operation, Setup};

/// `USBDEVFS_DISCONNECT_CLAIM_EXCEPT_DRIVER`: takes an interface from any driver but the one named.
const EXCEPT_DRIVER: u32 = 2;
/// The largest control request of usbfs, one page.
const MAX_CONTROL: usize = 4096;
/// The largest transfer that is asked for; relay boards and muxes move a packet at a time.
const MAX_TRANSFER: usize = 64 * 1024;

#[repr(C)]
struct ControlTransfer {
    setup: Setup8,
    length: u16,
    timeout: u32,
    data: *mut c_void,
}

/// The first 6 bytes of the structure, which are those of the request.
#[repr(C)]
struct Setup8 {
    request_type: u8,
    request: u8,
    value: u16,
    index: u16,
}

#[repr(C)]
struct BulkTransfer {
    endpoint: u32,
    length: u32,
    timeout: u32,
    data: *mut c_void,
}

#[repr(C)]
struct DriverIoctl {
    interface: i32,
    code: i32,
    data: *mut c_void,
}

#[repr(C)]
struct DisconnectClaim {
    interface: u32,
    flags: u32,
    driver: [u8; 256],
}

const CONTROL: Opcode = opcode::read_write::<ControlTransfer>(b'U', 0);
const BULK: Opcode = opcode::read_write::<BulkTransfer>(b'U', 2);
const RELEASE_INTERFACE: Opcode = opcode::read::<u32>(b'U', 16);
const DRIVER_IOCTL: Opcode = opcode::read_write::<DriverIoctl>(b'U', 18);
const RESET: Opcode = opcode::none(b'U', 20);
const DISCONNECT: Opcode = opcode::none(b'U', 22);
const CONNECT: Opcode = opcode::none(b'U', 23);
const CLAIM_PORT: Opcode = opcode::read::<u32>(b'U', 24);
const RELEASE_PORT: Opcode = opcode::read::<u32>(b'U', 25);
const DISCONNECT_CLAIM: Opcode = opcode::read::<DisconnectClaim>(b'U', 27);

/// An ioctl whose argument the kernel reads, and whose result is a number of bytes.
struct Transfer<const CODE: Opcode, T>(T);

// SAFETY: `CODE` is only instantiated below, each time with the structure that the kernel expects
// for it, and the kernel writes nothing into the structure itself.
unsafe impl<const CODE: Opcode, T> Ioctl for Transfer<CODE, T> {
    type Output = usize;

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        CODE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        (&raw mut self.0).cast()
    }

    unsafe fn output_from_ptr(moved: IoctlOutput, _: *mut c_void) -> rustix::io::Result<usize> {
        Ok(usize::try_from(moved).unwrap_or(0))
    }
}

/// An open device. Closing it gives back what was claimed.
#[derive(Debug)]
pub(crate) struct Node(File);

impl Node {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self(file))
    }

    fn control(&self, setup: Setup, data: &mut [u8], limit: Duration) -> io::Result<usize> {
        if data.len() > MAX_CONTROL {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let transfer = ControlTransfer {
            setup: Setup8 {
                request_type: setup.request_type,
                request: setup.request,
                value: setup.value,
                index: setup.index,
            },
            length: u16::try_from(data.len()).unwrap_or(u16::MAX),
            timeout: milliseconds(limit),
            data: data.as_mut_ptr().cast(),
        };
        // SAFETY: `data` lives until the call returns, and has as many bytes as `length` says.
        let moved = unsafe { ioctl(&self.0, Transfer::<CONTROL, _>(transfer)) }?;
        Ok(moved)
    }

    fn bulk(&self, endpoint: u8, data: &mut [u8], limit: Duration) -> io::Result<usize> {
        if data.len() > MAX_TRANSFER {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let transfer = BulkTransfer {
            endpoint: endpoint.into(),
            length: u32::try_from(data.len()).unwrap_or(u32::MAX),
            timeout: milliseconds(limit),
            data: data.as_mut_ptr().cast(),
        };
        // SAFETY: `data` lives until the call returns, and has as many bytes as `length` says.
        let moved = unsafe { ioctl(&self.0, Transfer::<BULK, _>(transfer)) }?;
        Ok(moved)
    }

    fn claim(&self, interface: u8) -> io::Result<()> {
        let mut driver = [0; 256];
        driver[..5].copy_from_slice(b"usbfs");
        let claim = DisconnectClaim {
            interface: interface.into(),
            flags: EXCEPT_DRIVER,
            driver,
        };
        // SAFETY: the structure is what the kernel reads for this code.
        unsafe { ioctl(&self.0, Setter::<DISCONNECT_CLAIM, _>::new(claim)) }?;
        Ok(())
    }

    fn release(&self, interface: u8) -> io::Result<()> {
        // SAFETY: the kernel reads one unsigned int.
        unsafe {
            ioctl(
                &self.0,
                Setter::<RELEASE_INTERFACE, u32>::new(interface.into()),
            )
        }?;
        Ok(())
    }

    fn driver(&self, interface: u8, code: Opcode) -> io::Result<()> {
        let inner = DriverIoctl {
            interface: interface.into(),
            code: i32::try_from(code).unwrap_or(0),
            data: std::ptr::null_mut(),
        };
        // SAFETY: the structure is what the kernel reads for this code; both inner codes used here
        // take no argument.
        unsafe { ioctl(&self.0, Transfer::<DRIVER_IOCTL, _>(inner)) }?;
        Ok(())
    }

    fn reset(&self) -> io::Result<()> {
        // SAFETY: takes no argument.
        unsafe { ioctl(&self.0, NoArg::<RESET>::new()) }?;
        Ok(())
    }

    fn claim_port(&self, port: u8) -> io::Result<()> {
        // SAFETY: the kernel reads one unsigned int.
        unsafe { ioctl(&self.0, Setter::<CLAIM_PORT, u32>::new(port.into())) }?;
        Ok(())
    }

    fn release_port(&self, port: u8) -> io::Result<()> {
        // SAFETY: the kernel reads one unsigned int.
        unsafe { ioctl(&self.0, Setter::<RELEASE_PORT, u32>::new(port.into())) }?;
        Ok(())
    }
}

impl Kernel for Node {
    fn perform(&self, operation: &Operation, limit: Duration) -> io::Result<Vec<u8>> {
        let nothing = Vec::new();
        match operation {
            Operation::ControlOut(setup, data) => {
                self.control(*setup, &mut data.clone(), limit)?;
                Ok(nothing)
            }
            Operation::ControlIn(setup, length) => {
                let mut data = vec![0; usize::from(*length)];
                let moved = self.control(*setup, &mut data, limit)?;
                data.truncate(moved);
                Ok(data)
            }
            Operation::Out(endpoint, data) => {
                let moved = self.bulk(*endpoint, &mut data.clone(), limit)?;
                if moved < data.len() {
                    let text = format!("only {moved} of {} bytes were taken", data.len());
                    return Err(io::Error::new(io::ErrorKind::WriteZero, text));
                }
                Ok(nothing)
            }
            Operation::In(endpoint, length) => {
                let mut data = vec![0; *length];
                let moved = self.bulk(*endpoint, &mut data, limit)?;
                data.truncate(moved);
                Ok(data)
            }
            Operation::Claim(interface) => self.claim(*interface).map(|()| nothing),
            Operation::Release(interface, attach) => {
                self.release(*interface)?;
                if *attach {
                    self.driver(*interface, CONNECT)?;
                }
                Ok(nothing)
            }
            Operation::Detach(interface) => self.driver(*interface, DISCONNECT).map(|()| nothing),
            Operation::Attach(interface) => self.driver(*interface, CONNECT).map(|()| nothing),
            Operation::Reset => self.reset().map(|()| nothing),
            Operation::ClaimPort(port) => self.claim_port(*port).map(|()| nothing),
            Operation::ReleasePort(port) => self.release_port(*port).map(|()| nothing),
        }
    }
}

/// The kernel takes 0 for no limit at all.
fn milliseconds(limit: Duration) -> u32 {
    u32::try_from(limit.as_millis()).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `_IOWR` and its relatives give them on a 64-bit host, from the header's macros.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn codes_are_those_of_the_kernel() {
        assert_eq!(CONTROL, 0xc018_5500);
        assert_eq!(BULK, 0xc018_5502);
        assert_eq!(RELEASE_INTERFACE, 0x8004_5510);
        assert_eq!(DRIVER_IOCTL, 0xc010_5512);
        assert_eq!(RESET, 0x5514);
        assert_eq!(DISCONNECT, 0x5516);
        assert_eq!(CONNECT, 0x5517);
        assert_eq!(CLAIM_PORT, 0x8004_5518);
        assert_eq!(RELEASE_PORT, 0x8004_5519);
        assert_eq!(DISCONNECT_CLAIM, 0x8108_551b);
    }

    #[test]
    fn a_limit_is_never_none() {
        assert_eq!(milliseconds(Duration::ZERO), 1);
        assert_eq!(milliseconds(Duration::from_secs(2)), 2000);
    }
}
