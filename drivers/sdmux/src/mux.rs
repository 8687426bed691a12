//! What differs between muxes: where the card can be, and how the hardware is told and asked.

use std::{fmt, future::Future, path::PathBuf, sync::Arc};

use rigd_driver::{Call, ConfigError, DriverError, OpenCx, OpenError};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::CardSettings;

/// Where the card is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// At the lab host.
    Host,
    /// At the board.
    Dut,
    /// At neither.
    Off,
}

impl Side {
    /// The state as rules name it, and the method that leads there.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Dut => "dut",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Where the disk of the card is found. Looked for anew each time, since its name changes with a
/// replug. Blocks for some milliseconds. UNAVAILABLE while there is none.
pub type FindDisk = Arc<dyn Fn() -> Result<PathBuf, DriverError> + Send + Sync>;

/// The hardware of a mux. The implementing type is the open mux.
///
/// `get` may come at any time, `set` from one call at a time.
pub trait Mux: Send + Sync + Sized + 'static {
    /// Short name for `type:`.
    const TYPE: &'static str;
    /// Where `off` leads: a mux with two positions has the host for it.
    const OFF: Side = Side::Host;
    /// What `config:` holds.
    type Config: DeserializeOwned + JsonSchema + Send + Sync + 'static;

    /// What the configuration says of the card.
    fn card(config: &Self::Config) -> CardSettings;

    /// Checks what types cannot say, without touching hardware.
    ///
    /// # Errors
    /// A value that cannot be right, with its key.
    fn check(config: &Self::Config) -> Result<(), ConfigError> {
        let _ = config;
        Ok(())
    }

    /// Opens the mux and leaves the card where it is. As [`Driver::open`](rigd_driver::Driver::open).
    fn open(
        config: &Self::Config,
        cx: &OpenCx,
    ) -> impl Future<Output = Result<Self, OpenError>> + Send;

    /// How its disk is found, where the configuration does not say.
    fn disk(&self) -> FindDisk;

    /// Switches. Has a limit of its own; may be cancelled halfway, the position is unknown then.
    fn set(&self, call: &Call, side: Side) -> impl Future<Output = Result<(), DriverError>> + Send;

    /// Asks the hardware; `None` when it cannot be asked.
    fn get(&self) -> impl Future<Output = Result<Option<Side>, DriverError>> + Send;

    /// Nothing uses it any more: the daemon stops or the device was lost.
    fn close(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// What a mux that cannot be asked while it is opened makes of its instance.
pub(crate) fn not_open(error: DriverError) -> OpenError {
    match error {
        DriverError::Unavailable(text) => OpenError::Absent(text),
        error => OpenError::Faulty(error.to_string()),
    }
}
