//! What a driver needs of the chips of a host and of one line: the seam between the drivers and the
//! library that speaks to the kernel. Tests put simulated chips here.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rigd_device::Found;
use rigd_driver::async_trait;

use crate::config::{Bias, Drive};

/// Whether a line is active. What that means in volts is the business of `active_low`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Off.
    Inactive,
    /// On.
    Active,
}

impl Level {
    /// The word of log lines.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Active => "active",
        }
    }
}

/// A change of an input, named by where it led.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// The level after it: active for a rising edge.
    pub to: Level,
    /// When the kernel saw it, in nanoseconds of the monotonic clock.
    pub at: u64,
}

/// A chip as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chip {
    /// Its device file.
    pub path: PathBuf,
    /// The kernel's name, `gpiochip0`. It may be another one after a restart.
    pub name: String,
    /// Its maker's name, `pinctrl-bcm2711`.
    pub label: String,
    /// The name of each line, by offset; most have none.
    pub lines: Vec<Option<String>>,
    /// What sysfs knows of it; none where there is no sysfs.
    pub device: Option<Found>,
}

/// What a line is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Driven from the first moment on to this level.
    Output(Level, Drive),
    /// Watched.
    Input,
}

/// How a line is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Device file of the chip.
    pub chip: PathBuf,
    /// Offset of the line on it.
    pub offset: u32,
    /// Who takes it, for others who find it busy.
    pub consumer: String,
    /// What for.
    pub direction: Direction,
    /// The resistor.
    pub bias: Bias,
    /// Whether low volts are the active level.
    pub active_low: bool,
    /// The chip as it was found.
    pub device: Option<Found>,
}

/// The chips of a host. All calls may block, but for a short time only.
pub trait Chips: Send + Sync + 'static {
    /// Device files of all chips, in the order of their numbers.
    fn list() -> io::Result<Vec<PathBuf>>;

    /// What a chip says of itself.
    fn describe(path: &Path) -> io::Result<Chip>;

    /// Who holds a line, in its own words; `None` when it is free.
    fn holder(path: &Path, offset: u32) -> io::Result<Option<String>>;

    /// Takes a line. Called inside of a runtime, which will serve its edges.
    ///
    /// # Errors
    /// `ResourceBusy` when somebody else holds it.
    fn take(request: &Request) -> io::Result<Arc<dyn Line>>;
}

/// A line that is held until the last reference is dropped.
#[async_trait]
pub trait Line: Send + Sync {
    /// Drives it. May block.
    fn set(&self, level: Level) -> io::Result<()>;

    /// What the pin reads, of an output too. May block.
    fn get(&self) -> io::Result<Level>;

    /// Whether its chip reports edges. An output has none.
    fn has_edges(&self) -> bool;

    /// The edges since the last call, at least one; waits for it. Cancel-safe: an edge is either
    /// returned or there at the next call. Of more than the kernel keeps, the newest.
    async fn edges(&self) -> io::Result<Vec<Edge>>;

    /// Resolves when the chip was removed. Cancel-safe.
    async fn removed(&self);
}
