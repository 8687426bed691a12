//! How a line is set: speed, format of a character, flow control, and the two output lines.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Parity bit of a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Parity {
    /// No parity bit.
    #[default]
    None,
    /// The number of ones is odd.
    Odd,
    /// The number of ones is even.
    Even,
    /// Always one.
    Mark,
    /// Always zero.
    Space,
}

impl Parity {
    const LETTERS: [(char, Self); 5] = [
        ('N', Self::None),
        ('O', Self::Odd),
        ('E', Self::Even),
        ('M', Self::Mark),
        ('S', Self::Space),
    ];

    fn letter(self) -> char {
        let found = Self::LETTERS.iter().find(|(_, parity)| *parity == self);
        found.map_or('N', |(letter, _)| *letter)
    }
}

/// What a character looks like on the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    /// 5 to 8.
    pub(crate) data_bits: u8,
    pub(crate) parity: Parity,
    /// 1 or 2.
    pub(crate) stop_bits: u8,
}

impl Format {
    /// # Errors
    /// Numbers that no line has, as a text.
    pub(crate) fn new(data_bits: u8, parity: Parity, stop_bits: u8) -> Result<Self, String> {
        if !(5..=8).contains(&data_bits) {
            return Err(format!("{data_bits} data bits do not exist; 5 to 8 do"));
        }
        if !(1..=2).contains(&stop_bits) {
            return Err(format!("{stop_bits} stop bits do not exist; 1 and 2 do"));
        }
        Ok(Self {
            data_bits,
            parity,
            stop_bits,
        })
    }

    /// From the usual short form, e.g. `8N1`.
    ///
    /// # Errors
    /// A text that says what would be right.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no format; write data bits, parity (N, E, O, M, S) and stop bits, \
                 e.g. \"8N1\" or \"7E1\""
            )
        };
        let mut chars = text.chars();
        let (Some(data), Some(parity), Some(stop), None) =
            (chars.next(), chars.next(), chars.next(), chars.next())
        else {
            return Err(wrong());
        };
        let digit = |c: char| c.to_digit(10).and_then(|digit| u8::try_from(digit).ok());
        let parity = parity.to_ascii_uppercase();
        let known = |(letter, _): &&(char, Parity)| *letter == parity;
        let parity = Parity::LETTERS.iter().find(known).map(|(_, p)| *p);
        let (Some(data), Some(parity), Some(stop)) = (digit(data), parity, digit(stop)) else {
            return Err(wrong());
        };
        Self::new(data, parity, stop)
    }

    /// From a value of JSON, in which `7E1` without quotes is the number 70.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub(crate) fn from_json(value: &Value) -> Result<Self, String> {
        let as_number = |format: &Self| {
            let number = f64::from(format.data_bits) * 10_f64.powi(i32::from(format.stop_bits));
            value.as_f64() == Some(number)
        };
        match value {
            Value::String(text) => Self::parse(text),
            value => (5..=8)
                .flat_map(|data| [1, 2].map(|stop| Self::new(data, Parity::Even, stop)))
                .flatten()
                .find(as_number)
                .map_or_else(|| Self::parse(&value.to_string()), Ok),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (data, parity, stop) = (self.data_bits, self.parity.letter(), self.stop_bits);
        write!(f, "{data}{parity}{stop}")
    }
}

/// Who may hold whom up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FlowControl {
    /// Nobody: bytes come and go as fast as the line carries them.
    #[default]
    None,
    /// By the lines RTS and CTS.
    #[serde(rename = "rtscts")]
    RtsCts,
    /// By the characters XON (0x11) and XOFF (0x13), which then are no data.
    #[serde(rename = "xonxoff")]
    XonXoff,
}

/// How a line is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Bits per second, not 0.
    pub(crate) baudrate: u32,
    pub(crate) format: Format,
    pub(crate) flow_control: FlowControl,
    /// Level of DTR while the port is open.
    pub(crate) dtr: bool,
    /// Level of RTS while the port is open; of no meaning under RTS/CTS.
    pub(crate) rts: bool,
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flow = match self.flow_control {
            FlowControl::None => "no flow control",
            FlowControl::RtsCts => "RTS/CTS",
            FlowControl::XonXoff => "XON/XOFF",
        };
        write!(f, "{} baud {}, {flow}", self.baudrate, self.format)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn formats_are_read_as_they_are_written() {
        for text in ["8N1", "7E1", "5O2", "6M1", "8S2"] {
            assert_eq!(Format::parse(text).map(|f| f.to_string()), Ok(text.into()));
        }
        assert_eq!(
            Format::parse("7e2").map(|f| f.to_string()),
            Ok("7E2".into())
        );
    }

    #[test]
    fn a_format_that_json_takes_for_a_number_is_one() {
        for data in 5..=8 {
            for stop in 1..=2 {
                let text = format!("{data}E{stop}");
                let number = serde_json::from_str(&text).unwrap();
                let format = Format::from_json(&number).map(|format| format.to_string());
                assert_eq!(format, Ok(text));
            }
        }
        for value in [json!(8), json!(7.5), json!(90), json!(null), json!("8X1")] {
            let error = Format::from_json(&value).unwrap_err();
            assert!(error.contains("e.g. \"8N1\""), "{error}");
        }
    }

    #[test]
    fn formats_that_do_not_exist_are_told() {
        for (text, wanted) in [
            ("", "e.g. \"8N1\""),
            ("8N", "e.g. \"8N1\""),
            ("8X1", "e.g. \"8N1\""),
            ("8N11", "e.g. \"8N1\""),
            ("\u{661}N1", "e.g. \"8N1\""),
            ("9N1", "9 data bits do not exist; 5 to 8 do"),
            ("8N3", "3 stop bits do not exist; 1 and 2 do"),
        ] {
            let error = Format::parse(text).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
