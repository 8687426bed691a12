//! Where the kernel has its gadgets, and what changes them.

use std::{
    ffi::OsStr,
    fmt,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::io::Errno;

/// A switch waits for the command that the board is in, such as a flush of all that it wrote.
const LIMIT: Duration = Duration::from_secs(60);

/// Changes of configfs: by the kernel, or a test that plays it. Reading is from plain files in both.
pub(super) trait Configfs: fmt::Debug + Send + Sync {
    /// Makes an object; the kernel fills its directory with attributes.
    fn make_dir(&self, dir: &Path) -> io::Result<()>;
    /// Unmakes it.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    /// Links one object into another.
    fn link(&self, target: &Path, link: &Path) -> io::Result<()>;
    /// Ends that.
    fn remove_link(&self, link: &Path) -> io::Result<()>;
    /// Writes a line to an attribute.
    fn write(&self, attribute: &Path, value: &OsStr) -> io::Result<()>;
}

/// The kernel of this host.
#[derive(Debug)]
struct Host;

impl Configfs for Host {
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir(dir)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn link(&self, target: &Path, link: &Path) -> io::Result<()> {
        symlink(target, link)
    }

    fn remove_link(&self, link: &Path) -> io::Result<()> {
        fs::remove_file(link)
    }

    fn write(&self, attribute: &Path, value: &OsStr) -> io::Result<()> {
        // In one piece: each write is a command of its own. Nothing at all would be none.
        let line = [value.as_bytes(), b"\n"].concat();
        OpenOptions::new()
            .write(true)
            .open(attribute)?
            .write_all(&line)
    }
}

/// The places of gadgets and device controllers.
#[derive(Debug, Clone)]
pub(super) struct Kernel {
    /// A directory for each gadget.
    pub(super) gadgets: PathBuf,
    /// An entry for each device controller.
    pub(super) controllers: PathBuf,
    pub(super) configfs: Arc<dyn Configfs>,
    /// How long it may take over a switch.
    pub(super) limit: Duration,
}

impl Default for Kernel {
    fn default() -> Self {
        Self {
            gadgets: "/sys/kernel/config/usb_gadget".into(),
            controllers: "/sys/class/udc".into(),
            configfs: Arc::new(Host),
            limit: LIMIT,
        }
    }
}

/// A file's one line, without its end.
pub(super) fn line(attribute: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = fs::read(attribute)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Ok(bytes)
}

/// What could not be done with which file, and what root has to do where it was forbidden.
pub(super) fn cannot(what: &str, path: &Path, error: &io::Error) -> String {
    let text = format!("cannot {what} {}: {error}", path.display());
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => format!(
            "{text}; root has to make the gadget and give it to the daemon's group, and the unit has to \
             allow writing to it: docs/service.md says how"
        ),
        _ => text,
    }
}
