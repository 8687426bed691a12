//! Sizes and times as users write them in a configuration: `64MiB`, `300ms`, or plain numbers.

use std::{borrow::Cow, fmt, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Suffixes of sizes. Binary and decimal ones are told apart, as on the package of a card.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

/// A number of bytes: an integer, or a string such as `64MiB` or `4 GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteCount(pub u64);

impl ByteCount {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().ok()?;
        let unit = unit.trim();
        let factor = match unit {
            "" => 1,
            _ => SIZE_UNITS.iter().find(|(name, _)| *name == unit)?.1,
        };
        number.checked_mul(factor).map(Self)
    }
}

impl ByteCount {
    /// About how much it is, for people: `1.2 GiB`, `4 GiB`, `17 bytes`.
    pub fn rounded(self) -> impl fmt::Display {
        let unit = SIZE_UNITS[..4].iter().rev().find(|(_, f)| self.0 >= *f);
        match unit {
            Some((name, factor)) => {
                let tenths = (u128::from(self.0) * 10 / u128::from(*factor)) as u64;
                match (tenths / 10, tenths % 10) {
                    (whole, 0) => format!("{whole} {name}"),
                    (whole, tenth) => format!("{whole}.{tenth} {name}"),
                }
            }
            None => format!("{} bytes", self.0),
        }
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bytes) = *self;
        let whole = SIZE_UNITS[..4]
            .iter()
            .rev()
            .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
        match whole {
            Some((unit, factor)) => write!(f, "{bytes} bytes ({} {unit})", bytes / factor),
            None => write!(f, "{bytes} bytes"),
        }
    }
}

impl Serialize for ByteCount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for ByteCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = ByteCount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size: bytes as an integer, or a string such as \"64MiB\"")
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<ByteCount, E> {
                Ok(ByteCount(value))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<ByteCount, E> {
                let bytes = u64::try_from(value);
                bytes
                    .map(ByteCount)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(value), &self))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<ByteCount, E> {
                ByteCount::parse(value)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(value), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for ByteCount {
    fn schema_name() -> Cow<'static, str> {
        "ByteCount".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of bytes, or a string such as `64MiB` or `4 GB`.",
            "anyOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "string", "pattern": "^\\s*[0-9]+\\s*([KMGT]iB|[kMGT]B|B)?\\s*$" },
            ],
        })
    }
}

/// A length of time: seconds as a number, or a string such as `300ms`, `2s` or `1m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delay(pub Duration);

impl Delay {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let end = text
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let number: f64 = number.parse().ok()?;
        let factor = match unit.trim() {
            "ms" => 1e-3,
            "s" | "" => 1.0,
            "m" => 60.0,
            _ => return None,
        };
        Self::seconds(number * factor)
    }

    fn seconds(seconds: f64) -> Option<Self> {
        Duration::try_from_secs_f64(seconds).ok().map(Self)
    }
}

impl<'de> Deserialize<'de> for Delay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Delay;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time: seconds as a number, or a string such as \"300ms\"")
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Delay, E> {
                Ok(Delay(Duration::from_secs(value)))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Delay, E> {
                let seconds = u64::try_from(value);
                seconds
                    .map(|s| Delay(Duration::from_secs(s)))
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(value), &self))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Delay, E> {
                Delay::seconds(value)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Float(value), &self))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Delay, E> {
                Delay::parse(value)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(value), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Delay {
    fn schema_name() -> Cow<'static, str> {
        "Delay".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Seconds, or a string such as `300ms`, `2s` or `1m`.",
            "anyOf": [
                { "type": "number", "minimum": 0 },
                { "type": "string", "pattern": "^\\s*[0-9]+(\\.[0-9]+)?\\s*(ms|s|m)?\\s*$" },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let size = |v| from_value::<ByteCount>(v).map(|b| b.0).ok();
        assert_eq!(size(json!(4096)), Some(4096));
        assert_eq!(size(json!("64MiB")), Some(64 << 20));
        assert_eq!(size(json!(" 4 GB ")), Some(4_000_000_000));
        assert_eq!(size(json!("12")), Some(12));
        for wrong in [
            json!(-1),
            json!(1.5),
            json!("64 mib"),
            json!("MiB"),
            json!(true),
        ] {
            assert_eq!(size(wrong.clone()), None, "{wrong}");
        }
        assert_eq!(size(json!("99999999999TiB")), None);
        let error = from_value::<ByteCount>(json!("64 mb"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("such as \"64MiB\""), "{error}");
    }

    #[test]
    fn sizes_are_shown_in_bytes_and_in_the_largest_whole_unit() {
        assert_eq!(ByteCount(64 << 20).to_string(), "67108864 bytes (64 MiB)");
        assert_eq!(ByteCount(1000).to_string(), "1000 bytes");
        assert_eq!(ByteCount(0).to_string(), "0 bytes");
    }

    #[test]
    fn rounded_sizes_are_short_and_never_too_large() {
        let rounded = |bytes| ByteCount(bytes).rounded().to_string();
        assert_eq!(rounded(17), "17 bytes");
        assert_eq!(rounded(4 << 30), "4 GiB");
        assert_eq!(rounded((4 << 30) - 1), "3.9 GiB");
        assert_eq!(rounded(1_288_490_189), "1.2 GiB");
    }

    #[test]
    fn delays_are_read_as_people_write_them() {
        let delay = |v| from_value::<Delay>(v).map(|d| d.0.as_millis()).ok();
        assert_eq!(delay(json!("300ms")), Some(300));
        assert_eq!(delay(json!("1.5s")), Some(1500));
        assert_eq!(delay(json!("1m")), Some(60_000));
        assert_eq!(delay(json!(2)), Some(2000));
        assert_eq!(delay(json!(0.25)), Some(250));
        for wrong in [json!(-1), json!("3 h"), json!("ms"), json!(-0.5)] {
            assert_eq!(delay(wrong.clone()), None, "{wrong}");
        }
    }
}
