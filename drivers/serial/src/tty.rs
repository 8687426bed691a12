//! Opening a tty or pty, its modem lines, and what failures are called.

#![allow(
    unsafe_code,
    reason = "the serial library gives out its descriptor only as a number"
)]

use std::{
    io,
    os::{
        fd::{AsRawFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rigd_driver::{DriverError, OpenError};
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    termios::{ControlModes, OptionalActions, tcgetattr, tcsetattr},
};
use serialport::{ErrorKind, SerialPort, TTYPort};
use tracing::{info, warn};

/// An output line of the port.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Line {
    Dtr,
    Rts,
}

/// The modem lines of an open tty, by a descriptor of their own: setting one may wait for a USB
/// transfer, which must not hold up reads and writes.
#[derive(Debug, Clone)]
pub(crate) struct Lines(Arc<Mutex<TTYPort>>);

impl Lines {
    /// Blocks as long as the device takes.
    pub(crate) fn set(&self, line: Line, active: bool) -> Result<(), DriverError> {
        let mut tty = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let done = match line {
            Line::Dtr => tty.write_data_terminal_ready(active),
            Line::Rts => tty.write_request_to_send(active),
        };
        done.map_err(|error| {
            // The library keeps the text of the error alone and has its own words for this one,
            // which every pty answers; clients know the C library's.
            if error.description == "Not a typewriter" {
                let number = Errno::NOTTY.raw_os_error();
                let text = "Inappropriate ioctl for device";
                return DriverError::Device(format!("[Errno {number}] {text}"));
            }
            DriverError::Device(format!("cannot set {line:?}: {error}"))
        })
    }
}

/// Opens `path` raw, 8N1, without flow control, for this process alone. Blocks.
pub(crate) fn open(path: &Path, baudrate: u32) -> Result<(TTYPort, Lines), OpenError> {
    let name = path.to_string_lossy();
    // Exclusive is the library's default: TIOCEXCL and a lock on the file.
    let opened = TTYPort::open(&serialport::new(name.as_ref(), baudrate));
    let tty = opened.map_err(|error| failure(path, &error))?;
    let lines = tty.try_clone_native();
    let lines = lines.map_err(|error| OpenError::Faulty(format!("{name}: {error}")))?;
    Ok((tty, Lines(Arc::new(Mutex::new(lines)))))
}

/// Keeps the kernel from dropping DTR when the port is closed, which resets many boards.
pub(crate) fn disable_hupcl(tty: &TTYPort, url: &str) {
    // SAFETY: `tty` owns the descriptor and is borrowed until the end of this function.
    let fd = unsafe { BorrowedFd::borrow_raw(tty.as_raw_fd()) };
    let done = tcgetattr(fd).and_then(|mut settings| {
        settings.control_modes -= ControlModes::HUPCL;
        tcsetattr(fd, OptionalActions::Now, &settings)
    });
    match done {
        Ok(()) => info!("Disabled HUPCL on {url}"),
        Err(_) => warn!("Failed to disable HUPCL on {url}"),
    }
}

fn failure(path: &Path, error: &serialport::Error) -> OpenError {
    let shown = path.display();
    if error.kind == ErrorKind::NoDevice {
        return OpenError::Faulty(format!("{shown} is in use by another program"));
    }
    // The library loses most error numbers; opening once more brings this one back.
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Err(Errno::NOENT) => OpenError::Absent(format!("{shown} does not exist")),
        Err(error @ (Errno::NXIO | Errno::NODEV | Errno::IO)) => {
            OpenError::Absent(format!("{shown} is not there: {}", io::Error::from(error)))
        }
        Err(Errno::ACCESS | Errno::PERM) => OpenError::Faulty(no_permission(path)),
        Err(Errno::BUSY) => OpenError::Faulty(format!("{shown} is in use by another program")),
        Err(error) => {
            let error = io::Error::from(error);
            OpenError::Faulty(format!("cannot open {shown}: {error}"))
        }
        Ok(fd) if !rustix::termios::isatty(&fd) => {
            OpenError::Faulty(format!("{shown} is no serial port"))
        }
        Ok(_) => OpenError::Faulty(format!("cannot set up {shown}: {error}")),
    }
}

/// Who may open the port, and what to do about it.
fn no_permission(path: &Path) -> String {
    let shown = path.display();
    let advice = "add the daemon's user to its group, or install a udev rule";
    match std::fs::metadata(path) {
        Ok(found) => {
            let (gid, mode) = (found.gid(), found.mode() & 0o7777);
            let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
            let group = group_name(&groups, gid).map_or_else(|| gid.to_string(), str::to_owned);
            format!("no permission for {shown} (group {group}, mode {mode:04o}): {advice}")
        }
        Err(_) => format!("no permission for {shown}: {advice}"),
    }
}

/// Name of a group by its number, from the text of group(5).
fn group_name(groups: &str, gid: u32) -> Option<&str> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(gid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_number() {
        let groups = "root:x:0:\nbroken\ndialout:x:20:alice,bob\n";
        assert_eq!(group_name(groups, 20), Some("dialout"));
        assert_eq!(group_name(groups, 7), None);
    }

    #[test]
    fn a_lack_of_permission_names_path_group_and_cure() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = no_permission(file.path());
        assert!(text.contains(&file.path().display().to_string()), "{text}");
        assert!(
            text.contains("mode 0600") && text.contains("udev rule"),
            "{text}"
        );
    }

    #[test]
    fn a_file_that_is_no_tty_is_named_so() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = open(file.path(), 9600).unwrap_err();
        assert!(matches!(error, OpenError::Faulty(_)));
        assert!(error.to_string().ends_with("is no serial port"), "{error}");
    }
}
