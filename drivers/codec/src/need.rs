//! How much memory compressed data asks for, read from its first header.
//!
//! - xz: The .xz File Format 1.2.1, sections 2.1.1 (stream header), 3.1 (block header) and 5.3.1
//!   (LZMA2: one byte of dictionary size).
//! - zstd: RFC 8878, sections 3.1.1.1 (frame header) and 3.1.1.1.2 (window descriptor).
//!
//! gzip and bzip2 need less than 8 MiB whatever they say.

use crate::Encoding;

/// Bytes of the data that [`first_header`] looks at.
pub(crate) const HEADER: usize = 64;
/// What a decoder of xz takes beside its dictionary: tables and one input buffer.
const XZ_STATE: u64 = 128 * 1024;
const XZ_STREAM_HEADER: usize = 12;
const LZMA2: u8 = 0x21;

/// Bytes of memory that the first member needs; `None` where its header does not say.
pub(crate) fn first_header(encoding: Encoding, data: &[u8]) -> Option<u64> {
    match encoding {
        Encoding::Xz => xz_dictionary(data).map(|dictionary| dictionary + XZ_STATE),
        Encoding::Zstd => zstd_window(data),
        Encoding::Identity | Encoding::Gzip | Encoding::Bzip2 => None,
    }
}

fn xz_dictionary(data: &[u8]) -> Option<u64> {
    let block = data.get(XZ_STREAM_HEADER..)?;
    let size = (usize::from(*block.first()?) + 1) * 4;
    let header = block.get(..size.min(block.len()))?;
    let flags = *header.get(1)?;
    let mut at = 2;
    // Bits 6 and 7: sizes of the block, which come first.
    for bit in [0x40, 0x80] {
        if flags & bit != 0 {
            at += variable(header.get(at..)?)?;
        }
    }
    for _ in 0..=(flags & 3) {
        let (id, properties) = (*header.get(at)?, *header.get(at + 1)?);
        if id == LZMA2 && properties == 1 {
            return dictionary(*header.get(at + 2)?);
        }
        at += 2 + usize::from(properties);
    }
    None
}

/// Length of an integer of variable length: seven bits a byte, at most nine bytes.
fn variable(data: &[u8]) -> Option<usize> {
    let last = data.iter().take(9).position(|byte| byte & 0x80 == 0)?;
    Some(last + 1)
}

/// Sizes go 4 KiB, 6 KiB, 8 KiB, 12 KiB, … up to 4 GiB - 1.
fn dictionary(bits: u8) -> Option<u64> {
    match bits {
        40 => Some(u64::from(u32::MAX)),
        0..40 => Some((2 | u64::from(bits & 1)) << (bits / 2 + 11)),
        _ => None,
    }
}

fn zstd_window(data: &[u8]) -> Option<u64> {
    let (magic, rest) = data.split_at_checked(4)?;
    if magic != [0x28, 0xb5, 0x2f, 0xfd] {
        return None;
    }
    let descriptor = *rest.first()?;
    let single_segment = descriptor & 0x20 != 0;
    if !single_segment {
        let window = *rest.get(1)?;
        let base = 1_u64 << (10 + u32::from(window >> 3));
        return Some(base + base / 8 * u64::from(window & 7));
    }
    // Without a window the whole content is one.
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let field = rest.get(1 + dictionary..)?;
    let bytes = [1, 2, 4, 8][usize::from(descriptor >> 6)];
    let mut size = [0; 8];
    size[..bytes].copy_from_slice(field.get(..bytes)?);
    let size = u64::from_le_bytes(size);
    Some(if bytes == 2 { size + 256 } else { size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dictionary_of_xz_is_read_from_its_block_header() {
        // `xz -9` and `xz --lzma2=dict=1GiB` of Debian 12 over three bytes.
        let header = |bits: u8| {
            let mut data = vec![
                0xfd, b'7', b'z', b'X', b'Z', 0, 0, 4, 0xe6, 0xd6, 0xb4, 0x46,
            ];
            data.extend([2, 0, 0x21, 1, bits, 0, 0, 0]);
            data
        };
        let need = |bits| first_header(Encoding::Xz, &header(bits)).map(|n| n - XZ_STATE);
        assert_eq!(need(28), Some(64 << 20));
        assert_eq!(need(36), Some(1 << 30));
        assert_eq!(need(0), Some(4096));
        assert_eq!(need(1), Some(6144));
        assert_eq!(need(41), None);
    }

    #[test]
    fn the_window_of_zstd_is_read_from_its_frame_header() {
        let need = |data: &[u8]| first_header(Encoding::Zstd, data);
        let window = |byte| need(&[0x28, 0xb5, 0x2f, 0xfd, 0x04, byte]);
        assert_eq!(window(0x58), Some(2 << 20));
        assert_eq!(window(0xa8), Some(2 << 30));
        assert_eq!(window(1), Some(1024 + 128));
        let single = [0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0x10];
        assert_eq!(need(&single), Some(256 << 20));
        assert_eq!(need(b"not zstd"), None);
        assert_eq!(need(&[0x28, 0xb5]), None);
    }
}
