//! The vendor or product number of a USB device.

use std::{fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// A vendor or product number, as `lsusb` prints it: four hexadecimal digits.
///
/// In a configuration a string is hexadecimal (`"0403"`, `"0x0403"`) and a number is what it says
/// (`0x0403`, `1027`). YAML takes an unquoted `0403` for a number in base 8, so quotes matter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UsbId(pub u16);

impl fmt::Display for UsbId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}", self.0)
    }
}

impl fmt::Debug for UsbId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Up to four hexadecimal digits, with or without `0x`.
impl FromStr for UsbId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        // from_str_radix takes a sign.
        let hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = u16::from_str_radix(digits, 16).ok().filter(|_| hexadecimal);
        let wrong =
            || format!("{text:?} is no USB number: write four hexadecimal digits, \"0403\"");
        id.map(Self).ok_or_else(wrong)
    }
}

impl UsbId {
    /// What the user may have meant who wrote hexadecimal digits without quotes: YAML took them for
    /// a number in base 10, or in base 8 after a zero.
    pub(crate) fn unquoted(self) -> impl Iterator<Item = Self> {
        let texts = [format!("{}", self.0), format!("{:o}", self.0)];
        texts
            .into_iter()
            .filter_map(|digits| digits.parse().ok())
            .filter(move |meant| *meant != self)
    }
}

impl<'de> Deserialize<'de> for UsbId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visitor)
    }
}

struct Visitor;

impl de::Visitor<'_> for Visitor {
    type Value = UsbId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("four hexadecimal digits in quotes, or a number from 0 to 65535")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<UsbId, E> {
        let id = u16::try_from(value).map(UsbId);
        id.map_err(|_| E::invalid_value(de::Unexpected::Unsigned(value), &self))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<UsbId, E> {
        let id = u16::try_from(value).map(UsbId);
        id.map_err(|_| E::invalid_value(de::Unexpected::Signed(value), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<UsbId, E> {
        text.parse().map_err(E::custom)
    }
}

impl JsonSchema for UsbId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "UsbId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A USB vendor or product number: hexadecimal digits in quotes (`\"0403\"`), or a number (`0x0403`).",
            "anyOf": [
                {"type": "string", "pattern": "^(0x)?[0-9a-fA-F]{1,4}$"},
                {"type": "integer", "minimum": 0, "maximum": 65535},
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<UsbId, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn numbers_and_quoted_digits_are_read() {
        for text in ["\"0403\"", "\"0x0403\"", "\"403\"", "1027"] {
            assert_eq!(read(text), Ok(UsbId(0x0403)), "{text}");
        }
        assert_eq!(read("\"2B23\""), Ok(UsbId(0x2b23)));
        assert_eq!(UsbId(0x403).to_string(), "0403");
    }

    #[test]
    fn what_is_no_number_is_refused_with_what_would_be_right() {
        for text in [
            "\"\"",
            "\"0x\"",
            "\"+403\"",
            "\"12345\"",
            "\"ftdi\"",
            "70000",
            "-1",
            "null",
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains("hexadecimal digits"), "{text}: {error}");
        }
    }

    #[test]
    fn digits_without_quotes_are_guessed() {
        // `vendor: 0403` and `vendor: 1209` as YAML reads them.
        assert!(UsbId(0o403).unquoted().any(|id| id == UsbId(0x403)));
        assert!(UsbId(1209).unquoted().any(|id| id == UsbId(0x1209)));
    }
}
