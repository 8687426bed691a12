//! Owns the walk through HPACK field blocks (RFC 7541 section 6): which bytes are the value of an
//! `:authority` literal.
//!
//! ```text
//!   Representation --> Integer(Index | TableSize) -----------------------------> Representation
//!        |                                                                            ^
//!        +--> Integer(NameIndex) --0--> Length(Name) --> Text(Name) --+               |
//!                                 \                                   v               |
//!                                  +------------------------> Length(Value) --> Text(Value)
//! ```
//!
//! Of the dynamic table only one thing matters: which entries are *named* `:authority`, because a
//! later literal may take its name from there. The encoders known (C-core spells the name out
//! each time; h2, nghttp2, Go and Netty use static index 1) never do, but RFC 7541 allows it. One
//! bit for each of the newest insertions is enough. Sizes and evictions need no tracking: the index
//! counts from the newest entry, eviction takes the oldest, and an entry too large to be kept
//! empties the table, so no index that is still valid can point past it.
//!
//! Whole fields taken from the table need no care: their value was rewritten on its way in.

use super::{Malformed, huffman::CodeWalk};

const NAME: &[u8] = b":authority";
/// The one way to Huffman-code [`NAME`].
const NAME_CODED: &[u8] = &[0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f];

const STATIC_AUTHORITY: u32 = 1;
const FIRST_DYNAMIC: u32 = 62;

/// Finds the bytes to replace in the field blocks of one connection, in order.
#[derive(Clone, Debug)]
pub(super) struct FieldScanner {
    place: Place,
    /// Bit n: the entry at dynamic index n is named `:authority`. The default table of 4096 bytes
    /// holds no more than 128 entries (32 bytes each at least, RFC 7541 section 4.1), and the
    /// server does not offer a larger one.
    authority_names: u128,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Representation,
    Integer { of: Meaning, value: u32, shift: u32 },
    LengthHead(Part),
    Text { left: u32, text: Text },
}

/// What an integer is.
#[derive(Clone, Copy, Debug)]
enum Meaning {
    Index,
    TableSize,
    NameIndex { inserts: bool },
    Length { part: Part, coded: bool },
}

/// The two strings of a literal field.
#[derive(Clone, Copy, Debug)]
enum Part {
    Name { inserts: bool },
    Value(Field),
}

/// What is known of a literal field once its name is read.
#[derive(Clone, Copy, Debug)]
struct Field {
    inserts: bool,
    is_authority: bool,
}

#[derive(Clone, Copy, Debug)]
enum Text {
    /// `expected` is what is left of the name searched for; `None` after a difference.
    Name {
        inserts: bool,
        expected: Option<&'static [u8]>,
    },
    OtherValue(Field),
    PlainAuthority(Field),
    CodedAuthority(Field, CodeWalk),
}

impl FieldScanner {
    pub(super) const fn new() -> Self {
        Self {
            place: Place::Representation,
            authority_names: 0,
        }
    }

    /// Takes the next byte of a field block; returns what to put in its place.
    pub(super) fn step(&mut self, byte: u8) -> Result<u8, Malformed> {
        match self.place {
            Place::Representation => self.representation(byte)?,
            Place::Integer { of, value, shift } => self.integer(of, value, shift, byte)?,
            Place::LengthHead(part) => {
                let coded = byte & 0x80 != 0;
                self.integer_prefix(Meaning::Length { part, coded }, byte, 0x7f)?;
            }
            Place::Text { left, text } => return self.text(left, text, byte),
        }
        Ok(byte)
    }

    /// Must be called at the end of a field block, which cannot end inside of a field.
    pub(super) fn end_of_block(&self) -> Result<(), Malformed> {
        match self.place {
            Place::Representation => Ok(()),
            _ => Err(Malformed),
        }
    }

    fn representation(&mut self, byte: u8) -> Result<(), Malformed> {
        if byte & 0x80 != 0 {
            self.integer_prefix(Meaning::Index, byte, 0x7f)
        } else if byte & 0x40 != 0 {
            self.integer_prefix(Meaning::NameIndex { inserts: true }, byte, 0x3f)
        } else if byte & 0x20 != 0 {
            self.integer_prefix(Meaning::TableSize, byte, 0x1f)
        } else {
            // Without indexing (0000) and never indexed (0001) differ for proxies only.
            self.integer_prefix(Meaning::NameIndex { inserts: false }, byte, 0x0f)
        }
    }

    /// RFC 7541 section 5.1: a prefix of ones says that the integer goes on.
    fn integer_prefix(&mut self, of: Meaning, byte: u8, mask: u8) -> Result<(), Malformed> {
        let value = u32::from(byte & mask);
        if byte & mask == mask {
            self.place = Place::Integer {
                of,
                value,
                shift: 0,
            };
            return Ok(());
        }
        self.integer_end(of, value)
    }

    fn integer(&mut self, of: Meaning, value: u32, shift: u32, byte: u8) -> Result<(), Malformed> {
        let value = match u64::from(byte & 0x7f) {
            // Superfluous zeros are legal, and their number is not limited.
            0 => value,
            // 28 is the last shift that leaves a value below 2^32 possible.
            digits if shift <= 28 => {
                u32::try_from(u64::from(value) + (digits << shift)).map_err(|_| Malformed)?
            }
            _ => return Err(Malformed),
        };
        if byte & 0x80 != 0 {
            self.place = Place::Integer {
                of,
                value,
                shift: shift.saturating_add(7),
            };
            return Ok(());
        }
        self.integer_end(of, value)
    }

    fn integer_end(&mut self, of: Meaning, value: u32) -> Result<(), Malformed> {
        match of {
            Meaning::Index if value == 0 => return Err(Malformed),
            Meaning::Index | Meaning::TableSize => self.place = Place::Representation,
            Meaning::NameIndex { inserts } if value == 0 => {
                self.place = Place::LengthHead(Part::Name { inserts });
            }
            Meaning::NameIndex { inserts } => {
                let field = Field {
                    inserts,
                    is_authority: self.names_authority(value),
                };
                self.place = Place::LengthHead(Part::Value(field));
            }
            Meaning::Length { part, coded } => self.enter_text(value, Text::new(part, coded))?,
        }
        Ok(())
    }

    fn names_authority(&self, index: u32) -> bool {
        match index.checked_sub(FIRST_DYNAMIC) {
            None => index == STATIC_AUTHORITY,
            Some(age) => self.authority_names.checked_shr(age).unwrap_or(0) & 1 == 1,
        }
    }

    fn text(&mut self, left: u32, mut text: Text, byte: u8) -> Result<u8, Malformed> {
        let out = text.step(byte)?;
        self.enter_text(left - 1, text)?;
        Ok(out)
    }

    fn enter_text(&mut self, left: u32, text: Text) -> Result<(), Malformed> {
        if left > 0 {
            self.place = Place::Text { left, text };
            return Ok(());
        }
        self.place = match text {
            Text::Name { inserts, expected } => {
                let is_authority = expected.is_some_and(<[u8]>::is_empty);
                Place::LengthHead(Part::Value(Field {
                    inserts,
                    is_authority,
                }))
            }
            Text::CodedAuthority(field, walk) => {
                walk.end_of_string()?;
                self.end_field(field)
            }
            Text::OtherValue(field) | Text::PlainAuthority(field) => self.end_field(field),
        };
        Ok(())
    }

    fn end_field(&mut self, field: Field) -> Place {
        if field.inserts {
            self.authority_names = self.authority_names << 1 | u128::from(field.is_authority);
        }
        Place::Representation
    }
}

impl Text {
    fn new(part: Part, coded: bool) -> Self {
        match part {
            Part::Name { inserts } => Self::Name {
                inserts,
                expected: Some(if coded { NAME_CODED } else { NAME }),
            },
            Part::Value(field) if !field.is_authority => Self::OtherValue(field),
            Part::Value(field) if coded => Self::CodedAuthority(field, CodeWalk::default()),
            Part::Value(field) => Self::PlainAuthority(field),
        }
    }

    fn step(&mut self, byte: u8) -> Result<u8, Malformed> {
        match self {
            Self::Name { expected, .. } => {
                *expected = match *expected {
                    Some([first, rest @ ..]) if *first == byte => Some(rest),
                    _ => None,
                };
                Ok(byte)
            }
            Self::OtherValue(_) => Ok(byte),
            Self::PlainAuthority(_) if byte.is_ascii_alphanumeric() => Ok(byte),
            Self::PlainAuthority(_) if matches!(byte, b'.' | b'-') => Ok(byte),
            Self::PlainAuthority(_) => Ok(b'-'),
            Self::CodedAuthority(_, walk) => walk.step(byte),
        }
    }
}
