//! Block maps: which parts of an image carry data, with their checksums.
//!
//! Facts: the bmap formats 1.2 to 2.0 as documented in the head of `BmapCreate.py` of bmap-tools.
//! From 1.4 on (2.0 says the same in a version that older readers refuse) the type of all checksums
//! is named and SHA-256; the checksum of the file itself is taken with zeros in its own place. The SHA-1 of
//! 1.3 is not checked.

use std::ops::RangeInclusive;

use sha2::{Digest, Sha256};

use self::xml::Tag;
use crate::pages::PAGE;

mod xml;

/// A range of blocks that carry data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mapped {
    /// Bytes of the image.
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// SHA-256 of these bytes, where the map has it.
    pub(crate) hash: Option<[u8; 32]>,
}

/// The map of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bmap {
    /// Bytes of the image.
    pub(crate) size: u64,
    /// In order, apart from each other.
    pub(crate) mapped: Vec<Mapped>,
    /// Whether the map has checksums that are not checked.
    pub(crate) unchecked: bool,
}

/// What the elements say, before it is known to fit together.
#[derive(Default)]
struct Fields {
    size: Option<u64>,
    block: Option<u64>,
    mapped_blocks: Option<u64>,
    checksum_type: Option<String>,
    ranges: Vec<(RangeInclusive<u64>, Option<String>)>,
    sha1: bool,
}

impl Bmap {
    /// Reads a map and checks its own checksum. Errors say what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut fields = Fields::default();
        let mut own = None;
        let mut version = None;
        for tag in xml::tags(text)? {
            if tag.name == "bmap" {
                version = tag.attribute("version").map(str::to_owned);
            } else if tag.name == "BmapFileChecksum" {
                own = Some(tag);
            } else {
                fields.take(&tag)?;
            }
        }
        let version = version.ok_or("no <bmap version=…> element")?;
        match version.split('.').next() {
            Some("1" | "2") => {}
            _ => return Err(format!("version {version}, only 1.x and 2.x are known")),
        }
        if let Some(own) = own {
            fields.check_own(text, &own)?;
        }
        fields.map()
    }
}

impl Fields {
    fn take(&mut self, tag: &Tag<'_>) -> Result<(), String> {
        let text = tag.text.trim();
        match tag.name {
            "ImageSize" => self.size = Some(number(tag.name, text)?),
            "BlockSize" => self.block = Some(number(tag.name, text)?),
            "MappedBlocksCount" => self.mapped_blocks = Some(number(tag.name, text)?),
            "ChecksumType" => self.checksum_type = Some(text.to_owned()),
            "BmapFileSHA1" => self.sha1 = true,
            "Range" => {
                let (first, last) = text.split_once('-').unwrap_or((text, text));
                let range = number("Range", first.trim())?..=number("Range", last.trim())?;
                self.sha1 |= tag.attribute("sha1").is_some();
                self.ranges
                    .push((range, tag.attribute("chksum").map(str::to_owned)));
            }
            // Counts for people, and what later versions add.
            _ => {}
        }
        Ok(())
    }

    fn is_sha256(&self) -> bool {
        self.checksum_type.as_deref() == Some("sha256")
    }

    fn check_own(&self, text: &str, own: &Tag<'_>) -> Result<(), String> {
        let told = own.text.trim();
        if !self.is_sha256() {
            return Ok(());
        }
        let Some(at) = text.find(told).filter(|_| !told.is_empty()) else {
            return Err("its own checksum is empty".into());
        };
        let mut hash = Sha256::new();
        hash.update(&text[..at]);
        hash.update("0".repeat(told.len()));
        hash.update(&text[at + told.len()..]);
        if hash_of(told)? == <[u8; 32]>::from(hash.finalize()) {
            Ok(())
        } else {
            Err("its own checksum does not match: the file was changed or cut".into())
        }
    }

    fn map(self) -> Result<Bmap, String> {
        let size = self.size.ok_or("no ImageSize")?;
        let block = self.block.filter(|b| *b > 0).ok_or("no BlockSize")?;
        let blocks = size.div_ceil(block);
        let sha256 = self.is_sha256();
        let mut unchecked = self.sha1;
        let mut mapped = Vec::<Mapped>::new();
        let mut count = 0;
        for (range, checksum) in self.ranges {
            let (first, last) = range.into_inner();
            if first > last || last >= blocks {
                return Err(format!(
                    "range {first}-{last} is not within its {blocks} blocks"
                ));
            }
            count += last - first + 1;
            let start = first * block;
            if mapped.last().is_some_and(|m| m.end > start) {
                return Err(format!("range {first}-{last} is not in order"));
            }
            let hash = match checksum {
                Some(text) if sha256 => Some(hash_of(&text)?),
                other => {
                    unchecked |= other.is_some();
                    None
                }
            };
            mapped.push(Mapped {
                start,
                end: ((last + 1).saturating_mul(block)).min(size),
                hash,
            });
        }
        if self.mapped_blocks.is_some_and(|told| told != count) {
            return Err(format!(
                "its ranges have {count} blocks, and MappedBlocksCount says otherwise"
            ));
        }
        Ok(Bmap {
            size,
            mapped,
            unchecked,
        })
    }
}

fn number(name: &str, text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("{name}: {text:?} is no number"))
}

fn hash_of(hex: &str) -> Result<[u8; 32], String> {
    let wrong = || format!("{hex:?} is no SHA-256");
    if hex.len() != 64 || !hex.is_ascii() {
        return Err(wrong());
    }
    let mut hash = [0; 32];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).map_err(|_| wrong())?;
    }
    Ok(hash)
}

/// What of `range` is to be written: whole pages around what is mapped, since the image has bytes
/// there as well. `hint` is where the last search ended; ranges are asked for in order.
pub(crate) fn pages_within(
    mapped: &[Mapped],
    hint: &mut usize,
    at: u64,
    end: u64,
) -> Option<(u64, u64)> {
    let page = PAGE as u64;
    if at >= end {
        return None;
    }
    while let Some(m) = mapped.get(*hint) {
        let (start, stop) = (m.start / page * page, m.end.div_ceil(page) * page);
        if stop <= at {
            *hint += 1;
        } else if start >= end {
            return None;
        } else {
            return Some((start.max(at), stop.min(end)));
        }
    }
    None
}

#[cfg(test)]
mod tests;
