//! Opening a tty for this process alone, and what failures are called.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
};

use libc::{TIOCM_DTR, TIOCM_RTS};
use rigd_driver::OpenError;
use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock},
    io::Errno,
    termios::{ControlModes, ioctl_tiocexcl, isatty, tcgetattr},
};
use tracing::{info, warn};

use crate::{
    orders::{set, set_line},
    settings::{FlowControl, Settings},
};

/// An open tty, exclusive and set.
#[derive(Debug)]
pub(crate) struct Opened(pub(crate) OwnedFd);

/// Opens `path` raw and for this process alone, and sets it. The kernel raises DTR and RTS when it
/// opens a port that nobody had open; those that `settings` want low are lowered right after. With
/// `keep_lines` they stay as they are when it is closed. Blocks as long as the device takes.
///
/// # Errors
/// Absent: it is not there. Faulty: it is there, and in use, not for us, no tty, or refuses the
/// settings.
pub(crate) fn open(
    path: &Path,
    settings: &Settings,
    keep_lines: bool,
) -> Result<Opened, OpenError> {
    let shown = path.display().to_string();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| failure(path, error))?;
    if !isatty(&fd) {
        return Err(OpenError::Faulty(format!("{shown} is no serial port")));
    }
    // The lock is for those that look for it; TIOCEXCL keeps the others out, root excepted.
    flock(&fd, FlockOperation::NonBlockingLockExclusive).map_err(|error| failure(path, error))?;
    ioctl_tiocexcl(&fd).map_err(|error| failure(path, error))?;
    let settled = set(fd.as_fd(), &shown, settings, keep_lines);
    settled.map_err(|error| OpenError::Faulty(error.to_string()))?;
    if keep_lines {
        tell_hang_up(&fd, &shown);
    }
    lower_lines(&fd, &shown, settings);
    Ok(Opened(fd))
}

/// Clients read these lines.
fn tell_hang_up(fd: &OwnedFd, shown: &str) {
    match tcgetattr(fd) {
        Ok(took) if !took.control_modes.contains(ControlModes::HUPCL) => {
            info!("Disabled HUPCL on {shown}");
        }
        _ => warn!("Failed to disable HUPCL on {shown}"),
    }
}

fn lower_lines(fd: &OwnedFd, shown: &str, settings: &Settings) {
    let rts = settings.rts || settings.flow_control == FlowControl::RtsCts;
    let lines = [("DTR", TIOCM_DTR, settings.dtr), ("RTS", TIOCM_RTS, rts)];
    for (line, bit, level) in lines {
        // Those that are to be high have been raised by the kernel.
        if !level && let Err(error) = set_line(fd.as_fd(), bit, false) {
            let error = io::Error::from(error);
            warn!(%error, "Cannot lower {line} of {shown}.");
        }
    }
}

fn failure(path: &Path, error: Errno) -> OpenError {
    let shown = path.display();
    match error {
        Errno::NOENT => OpenError::Absent(format!("{shown} does not exist")),
        Errno::NXIO | Errno::NODEV | Errno::IO => {
            OpenError::Absent(format!("{shown} is not there: {}", io::Error::from(error)))
        }
        Errno::ACCESS | Errno::PERM => OpenError::Faulty(no_permission(path)),
        Errno::BUSY | Errno::WOULDBLOCK => {
            OpenError::Faulty(format!("{shown} is in use by another program"))
        }
        error => {
            let error = io::Error::from(error);
            OpenError::Faulty(format!("cannot open {shown}: {error}"))
        }
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
    use crate::settings::Format;

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
        let settings = Settings {
            baudrate: 9600,
            format: Format::parse("8N1").unwrap(),
            flow_control: FlowControl::None,
            dtr: true,
            rts: true,
        };
        let error = open(file.path(), &settings, false).unwrap_err();
        assert!(matches!(error, OpenError::Faulty(_)));
        assert!(error.to_string().ends_with("is no serial port"), "{error}");
    }
}
