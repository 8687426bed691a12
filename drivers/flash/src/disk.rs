//! A block device or a file as a medium.
//!
//! Block devices are opened with `O_EXCL`, which the kernel refuses while anything mounts or claims
//! the device or a part of it, and locked as a whole, which udev honours: it does not look at the
//! card while it is written. Files are locked. Reads and writes go past the page cache (`O_DIRECT`)
//! wherever the file system can do that. Nothing here needs more than the permission to open the node.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread::sleep,
    time::{Duration, Instant},
};

use rigd_driver::DriverError;
use rustix::{
    fs::{FlockOperation, Mode, OFlags, SeekFrom, fcntl_getfl, fcntl_setfl, flock, open, seek},
    io::Errno,
};

use crate::{
    medium::{Keep, Medium, Witness},
    pages::PAGE,
    sysfs::Node,
};

/// How long a lock that somebody holds is waited for: udev holds its own for a moment whenever a card
/// appears.
const LOCK: Duration = Duration::from_secs(5);
/// How often it is tried.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// What a disk is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading alone.
    Read,
    /// Writing an image and reading it back.
    Write,
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// As much as it has now, like a disk. An empty file grows.
    Fixed,
    /// It takes the size of its image, up to a limit in bytes if there is one; it is made if it is
    /// not there.
    Grows(Option<u64>),
}

/// Why a disk was not opened.
#[derive(Debug, Clone)]
pub(crate) struct CannotOpen {
    pub(crate) error: DriverError,
    /// A card that is put in, or a reader that is about to find it, changes that.
    pub(crate) may_pass: bool,
}

impl From<DriverError> for CannotOpen {
    fn from(error: DriverError) -> Self {
        Self {
            may_pass: matches!(error, DriverError::Unavailable(_)),
            error,
        }
    }
}

/// An open block device or file.
#[derive(Debug)]
pub struct Disk {
    file: File,
    path: PathBuf,
    name: String,
    /// Where the kernel tells about a block device.
    node: Option<Node>,
    capacity: Option<u64>,
    sector: usize,
    direct: AtomicBool,
    /// Bytes of a file that keeps its size.
    fixed: Option<u64>,
    identity: String,
}

impl Disk {
    /// Opens `path` exclusively. Blocks, for a moment when somebody else has it.
    ///
    /// # Errors
    /// FAILED_PRECONDITION where somebody else uses it (the text says who, where the kernel tells) or
    /// it is write-protected; UNAVAILABLE where it is not there or has no card in it.
    pub fn open(path: &Path, access: Access, extent: Extent) -> Result<Self, DriverError> {
        Self::try_open(path, access, extent).map_err(|failed| failed.error)
    }

    /// As [`open`](Self::open), for whoever can wait.
    pub(crate) fn try_open(
        path: &Path,
        access: Access,
        extent: Extent,
    ) -> Result<Self, CannotOpen> {
        let name = path.display().to_string();
        let kind = std::fs::metadata(path).map(|found| found.file_type());
        match kind {
            Ok(kind) if kind.is_block_device() => Self::open_device(path, name, access),
            Ok(kind) if kind.is_file() => Self::open_file(path, name, access, extent),
            Ok(_) => Err(CannotOpen::from(DriverError::FailedPrecondition(format!(
                "not a disk: {name} is neither a block device nor a file"
            )))),
            Err(e) if e.kind() == io::ErrorKind::NotFound && extent != Extent::Fixed => {
                Self::open_file(path, name, access, extent)
            }
            Err(e) => Err(cannot_open(&name, access, None, &e)),
        }
    }

    fn open_device(path: &Path, name: String, access: Access) -> Result<Self, CannotOpen> {
        let how = match access {
            Access::Read => OFlags::RDONLY,
            Access::Write => OFlags::RDWR,
        };
        let flags = how | OFlags::DIRECT | OFlags::EXCL | OFlags::CLOEXEC;
        let node = || Node::of(std::fs::metadata(path).ok()?.rdev());
        let opened = open(path, flags, Mode::empty());
        let fd = opened.map_err(|e| cannot_open(&name, access, node(), &e.into()))?;
        let file = File::from(fd);
        // Newer kernels let a device that is read-only be opened for writing.
        if access == Access::Write && node().is_some_and(|node| node.is_read_only()) {
            return Err(write_protected(&name).into());
        }
        lock(&file, &name, node().as_ref())?;
        let failed = |e: io::Error| cannot_open(&name, access, None, &e);
        let node = Node::of(file.metadata().map_err(failed)?.rdev());
        let capacity = seek(&file, SeekFrom::End(0)).map_err(|e| failed(e.into()))?;
        if capacity == 0 {
            return Err(DriverError::Unavailable(format!("no card in {name}")).into());
        }
        let sector = rustix::fs::ioctl_blksszget(&file).map_err(|e| failed(e.into()))? as usize;
        if !sector.is_power_of_two() || sector > PAGE {
            let text = format!("cannot write {name}: sectors of {sector} bytes");
            return Err(DriverError::Unimplemented(text).into());
        }
        let identity = node.as_ref().map(Node::identity).unwrap_or_default();
        Ok(Self {
            file,
            path: path.into(),
            name,
            node,
            capacity: Some(capacity),
            sector,
            direct: AtomicBool::new(true),
            fixed: None,
            identity,
        })
    }

    fn open_file(
        path: &Path,
        name: String,
        access: Access,
        extent: Extent,
    ) -> Result<Self, CannotOpen> {
        if let Some(holder) = crate::sysfs::loop_over(path) {
            let text = format!("disk in use: {name} is the file of {holder}");
            return Err(DriverError::FailedPrecondition(text).into());
        }
        let how = match (access, extent) {
            (Access::Read, _) => OFlags::RDONLY,
            (Access::Write, Extent::Fixed) => OFlags::RDWR,
            (Access::Write, Extent::Grows(_)) => OFlags::RDWR | OFlags::CREATE,
        };
        let how = how | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o666);
        // tmpfs and some others refuse direct I/O here, others only when it is used.
        let (fd, direct) = match open(path, how | OFlags::DIRECT, mode) {
            Err(Errno::INVAL) => (open(path, how, mode), false),
            opened => (opened, true),
        };
        let fd = fd.map_err(|e| cannot_open(&name, access, None, &e.into()))?;
        let file = File::from(fd);
        lock(&file, &name, None)?;
        let found = file.metadata();
        let found = found.map_err(|e| cannot_open(&name, access, None, &e))?;
        let fixed = (extent == Extent::Fixed && found.size() > 0).then(|| found.size());
        let limit = match extent {
            Extent::Fixed => None,
            Extent::Grows(limit) => limit,
        };
        let capacity = match access {
            Access::Read => Some(found.size()),
            Access::Write => fixed.or(limit),
        };
        Ok(Self {
            file,
            path: path.into(),
            name,
            node: None,
            capacity,
            sector: if direct { PAGE } else { 1 },
            direct: AtomicBool::new(direct),
            fixed,
            identity: String::new(),
        })
    }

    /// Without direct I/O from now on, if that was the fault of `error`.
    fn fall_back(&self, error: Errno) -> io::Result<()> {
        if error != Errno::INVAL || self.node.is_some() || !self.direct.swap(false, Relaxed) {
            return Err(error.into());
        }
        let flags = fcntl_getfl(&self.file)? - OFlags::DIRECT;
        Ok(fcntl_setfl(&self.file, flags)?)
    }
}

impl Medium for Disk {
    fn name(&self) -> &str {
        &self.name
    }

    fn capacity(&self) -> Option<u64> {
        self.capacity
    }

    fn sector(&self) -> usize {
        self.sector
    }

    fn begin(&self, keep: Keep) -> io::Result<()> {
        if self.node.is_none() && self.fixed.is_none() && keep == Keep::No {
            self.file.set_len(0)?;
        }
        Ok(())
    }

    fn write_at(&self, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match rustix::io::pwrite(&self.file, bytes, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    bytes = &bytes[count..];
                    at += count as u64;
                }
                Err(Errno::INTR) => {}
                Err(error) => self.fall_back(error)?,
            }
        }
        Ok(())
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < bytes.len() {
            match rustix::io::pread(&self.file, &mut bytes[done..], at + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                // The end of a file within a sector: direct I/O cannot go on from there.
                Err(Errno::INVAL) if !done.is_multiple_of(self.sector) => break,
                Err(Errno::INTR) => {}
                Err(error) => self.fall_back(error)?,
            }
        }
        Ok(done)
    }

    fn sync(&self, size: Option<u64>) -> io::Result<()> {
        if self.node.is_none() {
            let size = self.fixed.or(size);
            // Whole sectors were written; the image may end within one.
            if let Some(size) =
                size.filter(|size| self.file.metadata().is_ok_and(|m| m.len() != *size))
            {
                self.file.set_len(size)?;
            }
        }
        self.file.sync_data()?;
        if !self.direct.load(Relaxed) {
            // What is read back comes from the medium then, as far as the file system has one.
            let all = rustix::fs::Advice::DontNeed;
            rustix::fs::fadvise(&self.file, 0, None, all).ok();
        }
        if self.node.is_some() {
            crate::sysfs::flush_buffers(&self.file).ok();
        }
        Ok(())
    }

    fn witness(&self) -> Option<Witness> {
        let node = self.node.as_ref()?;
        Some(Witness {
            identity: node.identity(),
            behind: node.file_behind(),
            sectors: node.sectors_written()?,
        })
    }

    fn has_changed(&self) -> bool {
        let node = self.node.as_ref();
        node.is_some_and(|node| node.identity() != self.identity)
    }

    fn check_present(&self) -> Result<(), DriverError> {
        let name = &self.name;
        let gone = |why: &str| Err(DriverError::Unavailable(format!("{name} is gone: {why}")));
        if self.node.is_none() {
            return Ok(());
        }
        let there = std::fs::metadata(&self.path).and_then(|at| Ok((at, self.file.metadata()?)));
        match there {
            Ok((at, own)) if at.rdev() == own.rdev() => {}
            Ok(_) => return gone("another disk has its name now"),
            Err(_) => return gone("it was unplugged"),
        }
        // Without a card reads and writes fail as any others do. Opening has the kernel ask the reader.
        let asked = open(&self.path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let none = matches!(asked, Err(Errno::NOMEDIUM));
        if none || self.has_changed() || seek(&self.file, SeekFrom::End(0)) == Ok(0) {
            return gone("the card was taken out or changed");
        }
        Ok(())
    }
}

fn lock(file: &File, name: &str, node: Option<&Node>) -> Result<(), DriverError> {
    let begun = Instant::now();
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) if node.is_some() && begun.elapsed() < LOCK => {
                sleep(LOCK_POLL);
            }
            Err(Errno::WOULDBLOCK) => {
                return Err(DriverError::FailedPrecondition(format!(
                    "disk in use: another process or instance holds a lock on {name}"
                )));
            }
            // Some network file systems have no locks; they never had this protection.
            Err(Errno::NOLCK | Errno::OPNOTSUPP) => return Ok(()),
            Err(error) => {
                let text = format!("cannot lock {name}: {error}");
                return Err(DriverError::Device(text));
            }
        }
    }
}

fn write_protected(name: &str) -> DriverError {
    DriverError::FailedPrecondition(format!(
        "card write-protected: {name} is read-only (the switch on the card or its adapter, or a card \
         that has reached its end)"
    ))
}

pub(crate) fn cannot_open(
    name: &str,
    access: Access,
    node: Option<Node>,
    error: &io::Error,
) -> CannotOpen {
    let text = format!("cannot open {name}: {error}");
    let error = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::BUSY) => DriverError::FailedPrecondition(format!(
            "disk in use: {}",
            node.map_or_else(|| format!("{name} is held"), |node| node.holders())
        )),
        Some(Errno::ROFS) => write_protected(name),
        Some(Errno::ACCESS | Errno::PERM)
            if access == Access::Write && node.as_ref().is_some_and(Node::is_read_only) =>
        {
            write_protected(name)
        }
        Some(Errno::ACCESS | Errno::PERM) => DriverError::Device(format!(
            "{text}: the daemon's user needs to be in the node's group (usually `disk`), or a udev rule \
             for this card"
        )),
        Some(Errno::NOMEDIUM) => DriverError::Unavailable(format!("no card in {name}")),
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => DriverError::Unavailable(text),
        // A reader that is not done yet with a card that was put in. It may be broken as well, so that
        // this is not as good as no card for who wants to know whether anybody uses it.
        Some(Errno::IO) => {
            return CannotOpen {
                error: DriverError::Device(text),
                may_pass: true,
            };
        }
        _ => DriverError::Device(text),
    };
    error.into()
}
