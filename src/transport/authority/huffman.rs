//! Owns the walk through one Huffman-coded HPACK string (RFC 7541 appendix B), bit by bit.
//!
//! The code is canonical: ordered by length, then by value, so that one bound for each length tells
//! where a code ends, and no table of symbols is needed.
//!
//! A bit that was handed out cannot be taken back (the next byte may come with a later read), so a
//! replacement must be clear before the first bit that differs:
//!
//! ```text
//!   ' '  010100   01010 is the head of nothing but these two, both unwanted: its last bit
//!   '%'  010101   is written as 1, and a 0 is written after it:
//!   '-'  010110   <-
//!
//!   '/'  011000   0110 is also the head of 3, 4 and 5, so '-' is out of reach; the last bit
//!   '3'  011001   <- is not, and any harmless letter will do
//! ```
//!
//! No client is known that Huffman-codes a percent-encoded path (C-core sends it plain); what
//! matters most here is that values which are coded, such as those of h2's own clients, stay whole.

use super::Malformed;

/// For each code length the value after its last code, from RFC 7541 appendix B.
const CODES: [(u8, u32); 21] = [
    (5, 0xa),
    (6, 0x2e),
    (7, 0x7c),
    (8, 0xfe),
    (10, 0x3fd),
    (11, 0x7fd),
    (12, 0xffc),
    (13, 0x1ffe),
    (14, 0x3ffe),
    (15, 0x7fff),
    (19, 0x7_fff3),
    (20, 0xf_ffee),
    (21, 0x1f_ffe9),
    (22, 0x3f_ffec),
    (23, 0x7f_fff5),
    (24, 0xff_fff6),
    (25, 0x1ff_fff0),
    (26, 0x3ff_ffef),
    (27, 0x7ff_fff1),
    (28, 0xfff_ffff),
    // The last value of this length is EOS, which must not occur in a string.
    (30, 0x3fff_ffff),
];

/// RFC 7541 section 5.2: padding is shorter than a byte.
const LONGEST_PADDING: u8 = 7;

/// The place in a coded string: the bits of the code that is not complete yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CodeWalk {
    code: u32,
    length: u8,
}

impl CodeWalk {
    /// Takes the next byte of the string; returns what to put in its place.
    pub(super) fn step(&mut self, byte: u8) -> Result<u8, Malformed> {
        let mut out = 0;
        for shift in (0..u8::BITS).rev() {
            let bit = byte >> shift & 1;
            self.code = self.code << 1 | u32::from(bit);
            self.length += 1;
            out = out << 1 | replacement(self.length, self.code).unwrap_or(bit);
            if self.is_complete()? {
                *self = Self::default();
            }
        }
        Ok(out)
    }

    /// Must be called at the end of the string: what is left has to be padding (ones).
    pub(super) fn end_of_string(self) -> Result<(), Malformed> {
        let padding = (1 << self.length) - 1;
        if self.length > LONGEST_PADDING || self.code != padding {
            Err(Malformed)
        } else {
            Ok(())
        }
    }

    fn is_complete(self) -> Result<bool, Malformed> {
        let (longest, _) = CODES[CODES.len() - 1];
        match CODES.iter().find(|(length, _)| *length == self.length) {
            Some((_, end)) if self.code < *end => Ok(true),
            _ if self.length >= longest => Err(Malformed),
            _ => Ok(false),
        }
    }
}

/// The bit to write instead of the last one of `code`, when that has to differ.
fn replacement(length: u8, code: u32) -> Option<u8> {
    match (length, code) {
        (5, 0b01010) => Some(1),
        (6, 0b01_0100 | 0b01_0101) => Some(0),
        (6, 0b01_1000) => Some(1),
        _ => None,
    }
}
