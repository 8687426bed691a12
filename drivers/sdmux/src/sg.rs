//! Commands to a SCSI device, through `/dev/sg*` (`SG_IO` of include/scsi/sg.h).

#![allow(unsafe_code, reason = "SG_IO takes pointers to its buffers")]

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
    ptr::null_mut,
};

use rigd_device::{Class, DeviceMatch, FindError, Found, UsbMatch};
use rustix::ioctl::{Opcode, Updater, ioctl};

/// Bytes of a command, and of its data in one direction.
pub(crate) const COMMAND: usize = 16;
/// The bridge moves whole sectors.
pub(crate) const DATA: usize = 512;

const SG_IO: Opcode = 0x2285;
const TO_DEVICE: i32 = -2;
const FROM_DEVICE: i32 = -3;
/// Milliseconds for a command. An I2C transfer of a few bytes takes one.
const LIMIT: u32 = 3000;
const SENSE: usize = 32;

/// What carries SCSI commands: the kernel, or a test. Everything blocks, for 3 s when the device hangs.
pub trait Scsi: Send + Sized + 'static {
    /// The one device behind a USB device that matches.
    ///
    /// # Errors
    /// None or several match.
    fn find(wanted: &UsbMatch) -> Result<Found, FindError>;

    /// Opens its file.
    ///
    /// # Errors
    /// Those of the operating system.
    fn open(node: &Path) -> io::Result<Self>;

    /// A command with data to the device.
    ///
    /// # Errors
    /// The device refused it or did not answer in time.
    fn send(&self, command: &[u8; COMMAND], data: &[u8; DATA]) -> io::Result<()>;

    /// A command with data from the device.
    ///
    /// # Errors
    /// The device refused it or did not answer in time.
    fn receive(&self, command: &[u8; COMMAND]) -> io::Result<[u8; DATA]>;
}

/// A SCSI device of this host.
#[derive(Debug)]
pub struct Kernel(File);

impl Scsi for Kernel {
    fn find(wanted: &UsbMatch) -> Result<Found, FindError> {
        let usb = wanted.clone();
        let wanted = DeviceMatch {
            usb,
            ..DeviceMatch::default()
        };
        wanted.find(Class::ScsiGeneric)
    }

    fn open(node: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(node);
        file.map(Self)
    }

    fn send(&self, command: &[u8; COMMAND], data: &[u8; DATA]) -> io::Result<()> {
        self.perform(TO_DEVICE, *command, *data).map(drop)
    }

    fn receive(&self, command: &[u8; COMMAND]) -> io::Result<[u8; DATA]> {
        self.perform(FROM_DEVICE, *command, [0; DATA])
    }
}

/// `struct sg_io_hdr`.
#[repr(C)]
struct Header {
    interface_id: i32,
    direction: i32,
    command_len: u8,
    sense_size: u8,
    iovec_count: u16,
    data_len: u32,
    data: *mut u8,
    command: *mut u8,
    sense: *mut u8,
    timeout: u32,
    flags: u32,
    pack_id: i32,
    user: *mut u8,
    status: u8,
    masked_status: u8,
    msg_status: u8,
    sense_len: u8,
    host_status: u16,
    driver_status: u16,
    residue: i32,
    duration: u32,
    info: u32,
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Header>() == 88, "as on every 64-bit Linux");

impl Kernel {
    fn perform(
        &self,
        direction: i32,
        mut command: [u8; COMMAND],
        mut data: [u8; DATA],
    ) -> io::Result<[u8; DATA]> {
        let mut sense = [0_u8; SENSE];
        let mut header = Header {
            interface_id: i32::from(b'S'),
            direction,
            // All three are far below 256.
            command_len: COMMAND as u8,
            sense_size: SENSE as u8,
            iovec_count: 0,
            data_len: DATA as u32,
            data: data.as_mut_ptr(),
            command: command.as_mut_ptr(),
            sense: sense.as_mut_ptr(),
            timeout: LIMIT,
            flags: 0,
            pack_id: 0,
            user: null_mut(),
            status: 0,
            masked_status: 0,
            msg_status: 0,
            sense_len: 0,
            host_status: 0,
            driver_status: 0,
            residue: 0,
            duration: 0,
            info: 0,
        };
        // SAFETY: the header is laid out as the kernel has it, and points to three buffers of the
        // lengths that it says, which live until the call returns.
        unsafe { ioctl(&self.0, Updater::<SG_IO, Header>::new(&mut header)) }?;
        // SG_ERR_DRIVER_SENSE (8) says only that there is sense data, which the status says as well.
        let driver = header.driver_status & 0x07;
        if header.status == 0 && header.host_status == 0 && driver == 0 {
            return Ok(data);
        }
        // SG_ERR_DID_TIME_OUT
        if header.host_status == 3 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let (status, host) = (header.status, header.host_status);
        Err(io::Error::other(format!(
            "the device refused it (SCSI status {status}, host status {host})"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_scsi_device_refuses_the_command() {
        // The kernel looks at the file, and finds none of its own.
        let null = Kernel::open(Path::new("/dev/null")).unwrap();
        let error = null.receive(&[0; COMMAND]).unwrap_err();
        let errno = rustix::io::Errno::NOTTY.raw_os_error();
        assert_eq!(error.raw_os_error(), Some(errno));
    }
}
