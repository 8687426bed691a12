//! What an image is written to: the border between the engine and hardware.

use std::{fmt, io};

use rigd_driver::DriverError;

/// Proof that nobody wrote in between: equal before and after.
///
/// What counts writes (`stat` of a block device) is compared with what the engine itself wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// Which medium it is: changes with every medium that is put in.
    pub identity: String,
    /// State of what lies behind it and can be written past it.
    pub behind: Option<String>,
    /// Sectors of 512 bytes written or discarded by anybody.
    pub sectors: u64,
}

impl Witness {
    /// Whether nobody but the engine wrote, where `expected` is what it should find then. What lies
    /// behind the medium changes with the engine's own writes.
    pub(crate) fn proves(&self, expected: &Self) -> bool {
        self.identity == expected.identity && self.sectors == expected.sectors
    }
}

/// An open card, held exclusively for as long as the value lives. Everything blocks, for minutes
/// when hardware hangs; it is called on threads of the engine alone.
pub trait Medium: Send + Sync + fmt::Debug {
    /// For people: `/dev/sda`.
    fn name(&self) -> &str;

    /// Bytes it holds; `None` where it grows.
    fn capacity(&self) -> Option<u64>;

    /// Places, lengths and memory must be multiples of this many bytes, a power of two up to 4096.
    fn sector(&self) -> usize;

    /// A write begins; what is there may be thrown away unless the write needs it.
    ///
    /// # Errors
    /// As the operating system says.
    fn begin(&self, keep: Keep) -> io::Result<()> {
        let _ = keep;
        Ok(())
    }

    /// Writes all of `bytes` at `at`.
    ///
    /// # Errors
    /// As the operating system says.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Reads from the medium itself, not from a cache: all of `bytes`, fewer only at its end.
    ///
    /// # Errors
    /// As the operating system says.
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize>;

    /// Everything was written; `size` is that of the image. Returns when it is on the medium. Called
    /// once: an error is final, since the kernel has dropped what it could not write.
    ///
    /// # Errors
    /// As the operating system says.
    fn sync(&self, size: Option<u64>) -> io::Result<()>;

    /// Who could have written; `None` where nobody can tell.
    fn witness(&self) -> Option<Witness> {
        None
    }

    /// Whether it is certainly not the one any more that was opened. Asked for each part of a
    /// transfer, so it is quick.
    fn has_changed(&self) -> bool {
        false
    }

    /// Whether it is still the one that was opened; the error says what became of it.
    ///
    /// # Errors
    /// [`DriverError::Unavailable`] where it is gone.
    fn check_present(&self) -> Result<(), DriverError> {
        Ok(())
    }
}

/// Whether a write needs what was on the medium before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Parts stay or are compared.
    Needed,
    /// All of it is written anew.
    No,
}

/// Before anything more is written to `medium`, and after something was read from it. The kernel lets an
/// open handle go on with a card that was put in since, once it has told anybody of the change: udev has
/// it look every other second.
pub(crate) fn check_same(medium: &dyn Medium) -> Result<(), DriverError> {
    match medium.has_changed() {
        true => medium.check_present(),
        false => Ok(()),
    }
}

/// The error of an operation on `medium`.
pub(crate) fn failed(medium: &dyn Medium, what: &str, at: u64, error: &io::Error) -> DriverError {
    if let Err(gone) = medium.check_present() {
        return gone;
    }
    let name = medium.name();
    let place = match what {
        "sync" => String::new(),
        _ => format!(" at byte {at}"),
    };
    // The kernel's word for a sector that the card cannot read, "no data available", is easily misread.
    let unreadable = match error.raw_os_error() {
        Some(code) if code == rustix::io::Errno::NODATA.raw_os_error() => {
            "the card cannot read it: "
        }
        _ => "",
    };
    let text = format!("cannot {what} {name}{place}: {unreadable}{error}");
    match error
        .raw_os_error()
        .map(rustix::io::Errno::from_raw_os_error)
    {
        Some(rustix::io::Errno::NODEV | rustix::io::Errno::NXIO | rustix::io::Errno::NOMEDIUM) => {
            DriverError::Unavailable(text)
        }
        _ => DriverError::Device(text),
    }
}
