//! The codecs by name and by the first bytes of their data.

use rigd_driver::DriverError;

/// Compression of the bytes on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// None.
    Identity,
    /// RFC 1952.
    Gzip,
    /// The .xz file format.
    Xz,
    /// bzip2.
    Bzip2,
    /// RFC 8878.
    Zstd,
}

impl Encoding {
    /// The encoding of this name on the wire; none for no name or an empty one.
    pub fn parse(name: Option<&str>) -> Result<Self, DriverError> {
        match name {
            None | Some("") => Ok(Self::Identity),
            Some("gzip") => Ok(Self::Gzip),
            Some("xz") => Ok(Self::Xz),
            Some("bz2") => Ok(Self::Bzip2),
            Some("zstd") => Ok(Self::Zstd),
            Some(other) => Err(DriverError::InvalidArgument(format!(
                "unknown content encoding '{other}': gzip, xz, bz2 and zstd are understood"
            ))),
        }
    }

    /// What data is by its first bytes, of which 16 suffice; none when it is nothing we know.
    pub fn detect(data: &[u8]) -> Self {
        match data {
            // Deflate, and none of the reserved flags.
            [0x1f, 0x8b, 8, flags, ..] if flags & 0xe0 == 0 => Self::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            // A level, and the first block or the end of an empty stream.
            [
                b'B',
                b'Z',
                b'h',
                b'1'..=b'9',
                0x31,
                0x41,
                0x59,
                0x26,
                0x53,
                0x59,
                ..,
            ]
            | [
                b'B',
                b'Z',
                b'h',
                b'1'..=b'9',
                0x17,
                0x72,
                0x45,
                0x38,
                0x50,
                0x90,
                ..,
            ] => Self::Bzip2,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::Identity,
        }
    }

    /// For messages: `raw`, `gzip`, `xz`, `bz2`, `zstd`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "raw",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Bzip2 => "bz2",
            Self::Zstd => "zstd",
        }
    }
}
