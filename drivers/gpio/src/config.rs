//! What the configurations of all GPIO drivers share: how a line is named, and how it is wired.

use rigd_device::UsbMatch;
use rigd_driver::ConfigError;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::line::Level;

/// Where the line of an offset is looked for, unless `device` says.
pub(crate) const DEFAULT_CHIP: &str = "/dev/gpiochip0";

/// A line: its offset on the chip, or its name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum LineName {
    /// The offset on the chip, from 0.
    Offset(u32),
    /// The name that the chip gives it, for instance `GPIO17`.
    Name(String),
}

/// How an output is driven.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Drive {
    /// To both levels.
    #[default]
    PushPull,
    /// Low only; for high it is let go.
    OpenDrain,
    /// High only; for low it is let go.
    OpenSource,
}

/// The resistor inside of the chip.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Bias {
    /// As it is, from the boot loader or whoever had the line before.
    #[default]
    AsIs,
    /// To the supply.
    PullUp,
    /// To ground.
    PullDown,
    /// None.
    Disabled,
}

/// The level of an output from the moment it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum InitialValue {
    /// `true` is active.
    Flag(bool),
    /// `active`, `on`, `inactive` or `off`.
    Word(LevelWord),
}

/// A level in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LevelWord {
    /// On.
    Active,
    /// On.
    On,
    /// Off.
    Inactive,
    /// Off.
    Off,
}

/// What happens to an output when a lease starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnLeaseStart {
    /// It goes to its initial value.
    #[default]
    Initial,
    /// It stays as the lease before left it.
    Keep,
}

/// The level of an `initial_value`, which is inactive when there is none.
pub(crate) fn initial_level(value: Option<InitialValue>) -> Level {
    match value {
        Some(InitialValue::Flag(true) | InitialValue::Word(LevelWord::Active | LevelWord::On)) => {
            Level::Active
        }
        None | Some(InitialValue::Flag(false) | InitialValue::Word(_)) => Level::Inactive,
    }
}

/// Checks what types cannot say of `device`, `usb` and `line`.
pub(crate) fn check_names(
    device: Option<&str>,
    usb: &UsbMatch,
    line: &LineName,
) -> Result<(), ConfigError> {
    usb.check("usb")?;
    if device.is_some_and(str::is_empty) {
        let text = "is empty; write a chip's label, its name or its path, or leave the key out";
        return Err(ConfigError::new("device", text));
    }
    if matches!(line, LineName::Name(name) if name.is_empty()) {
        let text = "is empty; write the line's offset on the chip or its name";
        return Err(ConfigError::new("line", text));
    }
    Ok(())
}
