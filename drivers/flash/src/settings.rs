//! What users say about writing images: per instance in the configuration, per write in the call.

use std::{path::PathBuf, time::Duration};

use rigd_driver::{ByteCount, DECODER_MEMORY, Delay};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Images up to this size are read back as a whole unless something else is said.
const FULL_VERIFY: u64 = 4 << 30;

/// How long a card may take for what it was given. The kernel itself gives a disk up to five tries of
/// 30 s, and resets the bus in between.
const STALL: Duration = Duration::from_secs(300);

/// What is read back after a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Verify {
    /// Nothing.
    None,
    /// The beginning, the end and pieces spread over the rest, 128 MiB at most.
    Sampled,
    /// Everything that was written.
    Full,
}

impl Verify {
    /// What is read back of so many bytes unless something else is said.
    pub(crate) fn by_size(written: u64) -> Self {
        match written <= FULL_VERIFY {
            true => Self::Full,
            false => Self::Sampled,
        }
    }
}

/// Which parts of an image need not be written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Delta {
    /// All parts are written.
    None,
    /// Parts that the card has for certain: this daemon wrote the same bytes there, and nobody else
    /// could have written since.
    #[default]
    Proven,
    /// In addition the card is read, and only what differs is written. Good for cards that read
    /// much faster than they write.
    Compare,
}

/// What is done with long runs of zeros in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Holes {
    /// They are written.
    #[default]
    Write,
    /// They are left out: the card keeps there what it had.
    Skip,
}

/// What an image may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Format {
    /// Compressed data (gzip, xz, bzip2, zstd) and Android sparse images are recognised by their first
    /// bytes and unpacked.
    #[default]
    Auto,
    /// The bytes are written as they are.
    Raw,
}

/// How images are written to the card.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct FlashSettings {
    /// `full`: everything that was written is read back and compared; `sampled`: 128 MiB of it; `none`:
    /// nothing. Without the key `full` for images up to 4 GiB, else `sampled`.
    pub verify: Option<Verify>,
    /// `proven`: parts are left out that the card has for certain; `compare`: in addition the card is
    /// read, and only what differs is written; `none`: everything is written.
    pub delta: Delta,
    /// `write`, or `skip`: the card keeps there what it had.
    pub holes: Holes,
    /// `auto`: compressed data and Android sparse images are recognised and unpacked; `raw`: bytes are
    /// written as they are.
    pub format: Format,
    /// Whether `IMAGE.bmap` is looked for beside an image that is a file of the lab host, or comes from
    /// a URL without a query.
    pub find_bmap: bool,
    /// Directories of the lab host whose files `write_file` may write to the card. Without them it is
    /// refused.
    pub image_roots: Vec<PathBuf>,
    /// Memory that a decoder may take. `xz -9` needs 65 MiB.
    pub max_decoder_memory: ByteCount,
    /// How long a card may get no further until the write or read is given up: 300 s unless given. The
    /// kernel itself tries for up to three minutes. A sync has a limit of its own.
    pub stall_limit: Delay,
    /// Lets `dut` give an incomplete card to the board.
    pub force: bool,
}

impl Default for FlashSettings {
    fn default() -> Self {
        Self {
            verify: None,
            delta: Delta::default(),
            holes: Holes::default(),
            format: Format::default(),
            find_bmap: true,
            image_roots: Vec::new(),
            max_decoder_memory: ByteCount(DECODER_MEMORY),
            stall_limit: Delay(STALL),
            force: false,
        }
    }
}

impl FlashSettings {
    /// The settings for one write.
    pub(crate) fn with(&self, options: &WriteOptions) -> Self {
        Self {
            verify: options.verify.or(self.verify),
            delta: options.delta.unwrap_or(self.delta),
            holes: options.holes.unwrap_or(self.holes),
            format: options.format.unwrap_or(self.format),
            ..self.clone()
        }
    }
}

/// What a caller says about one write: the second argument of `write`, which may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct WriteOptions {
    /// In place of the configured one.
    pub verify: Option<Verify>,
    /// In place of the configured one.
    pub delta: Option<Delta>,
    /// In place of the configured one.
    pub holes: Option<Holes>,
    /// In place of the configured one.
    pub format: Option<Format>,
    /// The text of a block map of the image.
    pub bmap: Option<String>,
}

/// What was written: the result of `write`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Bytes of the image.
    pub size: u64,
    /// Bytes of it that belong on the card: fewer than `size` with a block map, holes or a sparse image.
    pub mapped: u64,
    /// Bytes of these that the card had already.
    pub unchanged: u64,
    /// SHA-256 of the mapped bytes in order; that of the image if they are all of it.
    pub sha256: String,
    /// What was read back.
    pub verify: Verify,
    /// Bytes read back.
    pub verified: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_up_to_4_gib_are_read_back_as_a_whole() {
        for (written, wanted) in [
            (0, Verify::Full),
            (4 << 30, Verify::Full),
            ((4 << 30) + 1, Verify::Sampled),
            (u64::MAX, Verify::Sampled),
        ] {
            assert_eq!(Verify::by_size(written), wanted, "{written} bytes");
        }
    }
}
