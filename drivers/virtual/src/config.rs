//! What can be configured of the virtual board; the doc comments become its page.

use std::{path::PathBuf, time::Duration};

use rigd_driver::ConfigError;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{ByteCount, Delay, Faults};

/// Smallest card: the board looks at the first MiB to tell whether there is anything to boot.
const MIN_CARD: ByteCount = ByteCount(1 << 20);
/// Cards have whole sectors.
const SECTOR: u64 = 512;
/// Long enough to see the lines come, short enough for tests.
const BOOT: Duration = Duration::from_millis(300);
/// A boot that takes longer is a typing mistake more likely than a wish.
const MAX_BOOT: Duration = Duration::from_secs(600);

/// A simulated single-board computer: power, a card behind a mux, and a serial console.
///
/// Brings along its own parts `power`, `storage` and `console`, which clients drive as those of
/// real hardware.
///
/// When a lease ends, console streams end, the shell on the board is logged out and faults that
/// the lease injected are taken back. Power, the position of the mux and the content of the card
/// stay as they are. After a restart of the daemon the board is off, the card is in it, and the
/// card's content is kept.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BoardConfig {
    /// The card.
    pub card: CardConfig,
    /// How long the kernel's part of a boot takes after the image was read, e.g. `2s`; 300 ms by
    /// default.
    pub boot_delay: Delay,
    /// Faults that hold from the start.
    pub faults: Faults,
}

/// The card of the board.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CardConfig {
    /// Sparse file that stands for the card, absolute; a file beside it with `.json` at its end
    /// remembers how much of it was written. By default both are in the state directory. A file that
    /// exists is taken as it is and counts as one image.
    pub path: Option<PathBuf>,
    /// Size of the card, e.g. `64MiB`; 4 GiB by default. An existing smaller file is made larger.
    pub size: ByteCount,
}

impl Default for CardConfig {
    fn default() -> Self {
        Self {
            path: None,
            size: ByteCount(4 << 30),
        }
    }
}

impl Default for BoardConfig {
    fn default() -> Self {
        Self {
            card: CardConfig::default(),
            boot_delay: Delay(BOOT),
            faults: Faults::default(),
        }
    }
}

impl BoardConfig {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let ByteCount(size) = self.card.size;
        if self.card.size < MIN_CARD || !size.is_multiple_of(SECTOR) {
            return Err(ConfigError::new(
                "card.size",
                format!(
                    "{} is not the size of a card: at least 1 MiB, in whole sectors of {SECTOR} bytes",
                    self.card.size
                ),
            ));
        }
        if let Some(path) = &self.card.path
            && !path.is_absolute()
        {
            let path = path.display();
            return Err(ConfigError::new(
                "card.path",
                format!("{path} must be an absolute path"),
            ));
        }
        if self.boot_delay.0 > MAX_BOOT {
            return Err(ConfigError::new(
                "boot_delay",
                format!("must be at most {} s", MAX_BOOT.as_secs()),
            ));
        }
        self.faults
            .check()
            .map_err(|(key, why)| ConfigError::new(format!("faults.{key}"), why))
    }
}

/// A part of a `virtual.board`; it comes with the board and has nothing to configure.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartConfig {}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    fn key(config: serde_json::Value) -> String {
        let config: BoardConfig = from_value(config).unwrap();
        config.check().unwrap_err().key
    }

    #[test]
    fn nothing_needs_to_be_configured() {
        let config: BoardConfig = from_value(json!({})).unwrap();
        config.check().unwrap();
        assert_eq!(config.card.size, ByteCount(4 << 30));
    }

    #[test]
    fn values_that_cannot_be_right_name_their_key() {
        assert_eq!(key(json!({"card": {"size": 0}})), "card.size");
        assert_eq!(key(json!({"card": {"size": 1048577}})), "card.size");
        assert_eq!(key(json!({"card": {"path": "card.img"}})), "card.path");
        assert_eq!(key(json!({"boot_delay": "11m"})), "boot_delay");
        assert_eq!(key(json!({"faults": {"card_slow": 0}})), "faults.card_slow");
    }

    #[test]
    fn unknown_keys_are_refused_at_every_depth() {
        for wrong in [
            json!({"cards": {}}),
            json!({"card": {"sizes": 1}}),
            json!({"faults": {"fire": true}}),
        ] {
            from_value::<BoardConfig>(wrong).unwrap_err();
        }
    }
}
