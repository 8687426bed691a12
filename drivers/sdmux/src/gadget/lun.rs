//! The card in the gadget: at the board while the gadget has its file.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::{ffi::OsStringExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use rigd_driver::{DriverError, HealthHandle};
use rustix::io::Errno;

use super::kernel::{Kernel, cannot, line};
use crate::Side;

/// The logical unit of a mass storage function.
#[derive(Debug)]
pub(super) struct Lun {
    pub(super) kernel: Kernel,
    /// Where its attributes are.
    pub(super) dir: PathBuf,
    /// The card's file, without symbolic links.
    pub(super) card: PathBuf,
    /// Its gadget's name.
    pub(super) gadget: String,
    pub(super) read_only: bool,
    pub(super) health: HealthHandle,
}

impl Lun {
    /// Who has the card.
    pub(super) fn side(&self) -> Result<Side, DriverError> {
        let attribute = self.dir.join("file");
        let shown = line(&attribute).map_err(|error| self.failed("read", &attribute, &error))?;
        if shown.is_empty() {
            return Ok(Side::Host);
        }
        let shown = PathBuf::from(OsString::from_vec(shown));
        match self.is_card(&shown) {
            true => Ok(Side::Dut),
            false => Err(DriverError::FailedPrecondition(format!(
                "the gadget {} has {} for the board, and not the card {}: `echo >{}` takes it out",
                self.gadget,
                shown.display(),
                self.card.display(),
                attribute.display()
            ))),
        }
    }

    /// Loads the card.
    pub(super) fn give(&self) -> Result<(), DriverError> {
        let attribute = self.dir.join("ro");
        if self.is_read_only()? != self.read_only {
            let value = if self.read_only { "1" } else { "0" };
            let written = self.kernel.configfs.write(&attribute, OsStr::new(value));
            written.map_err(|error| self.failed("write", &attribute, &error))?;
        }
        let attribute = self.dir.join("file");
        let written = self
            .kernel
            .configfs
            .write(&attribute, self.card.as_os_str());
        written.map_err(|error| {
            let what = format!("give {} to the board: cannot write", self.card.display());
            self.failed(&what, &attribute, &error)
        })?;
        if self.is_read_only()? != self.read_only {
            // The kernel opens it as this process would, and falls back without a word.
            self.take()?;
            return Err(DriverError::Device(format!(
                "the kernel opens {} for reading alone: the daemon's user, and its unit, have to be allowed \
                 to write it",
                self.card.display()
            )));
        }
        Ok(())
    }

    /// Unloads it, against the will of the board if need be.
    pub(super) fn take(&self) -> Result<(), DriverError> {
        let attribute = self.dir.join("file");
        let busy = Some(Errno::BUSY.raw_os_error());
        match self.kernel.configfs.write(&attribute, OsStr::new("")) {
            Ok(()) => return Ok(()),
            Err(error) if error.raw_os_error() == busy => {}
            Err(error) => return Err(self.failed("write", &attribute, &error)),
        }
        let attribute = self.dir.join("forced_eject");
        match self.kernel.configfs.write(&attribute, OsStr::new("1")) {
            Ok(()) => {
                tracing::warn!("The board had the card in use; it was taken all the same.");
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(DriverError::FailedPrecondition(
                    "card in use: the board has locked it, and this kernel cannot take it all the same (Linux \
                     6.0 can); unmount it on the board or switch the board off"
                        .into(),
                ))
            }
            Err(error) => Err(self.failed("write", &attribute, &error)),
        }
    }

    /// Whether the board may only read: of the card that is loaded, else of the next one.
    fn is_read_only(&self) -> Result<bool, DriverError> {
        let attribute = self.dir.join("ro");
        let value = line(&attribute).map_err(|error| self.failed("read", &attribute, &error))?;
        Ok(value != b"0")
    }

    /// Whether the path that the kernel prints is the card's.
    fn is_card(&self, shown: &Path) -> bool {
        if shown == self.card {
            return true;
        }
        match (fs::metadata(shown), fs::metadata(&self.card)) {
            (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
            // Given to the board by a service that has ended: the mounts that only it had are gone, and the
            // kernel prints the path from the one on. A path that cannot be looked at says nothing.
            (Err(error), _) if error.kind() == io::ErrorKind::NotFound => shown
                .strip_prefix("/")
                .is_ok_and(|end| self.card.ends_with(end)),
            _ => false,
        }
    }

    fn failed(&self, what: &str, attribute: &Path, error: &io::Error) -> DriverError {
        let text = cannot(what, attribute, error);
        if self.dir.exists() {
            return DriverError::Device(text);
        }
        let gone = format!("the gadget {} was removed", self.gadget);
        self.health.lost(gone.clone());
        DriverError::Unavailable(format!("{gone}: {text}"))
    }
}
