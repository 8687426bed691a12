//! Durations as Go writes them: `30m0s`, `1h0m0s`, `1.5s`, `250ms`.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, de};

use super::{Node, node::ToNode};

/// A duration in an object, at most that of Go: 2^63 - 1 nanoseconds, 292 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(pub Duration);

/// What Go's type holds, in nanoseconds.
const LONGEST: u128 = i64::MAX as u128;

/// A text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no duration: {why}")]
pub struct DurationError {
    text: String,
    why: &'static str,
}

impl fmt::Display for GoDuration {
    /// The text of Go's `Duration.String`; longer durations than Go's are cut to its longest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos().min(LONGEST);
        let unit = match nanos {
            0 => return f.write_str("0s"),
            1..1_000 => return write!(f, "{nanos}ns"),
            1_000..1_000_000 => Some((1_000, 3, "µs")),
            1_000_000..1_000_000_000 => Some((1_000_000, 6, "ms")),
            _ => None,
        };
        if let Some((size, digits, name)) = unit {
            return write!(
                f,
                "{}{}{name}",
                nanos / size,
                Fraction(nanos % size, digits)
            );
        }
        let seconds = nanos / 1_000_000_000;
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if seconds >= 60 {
            write!(f, "{minutes}m")?;
        }
        write!(f, "{}{}s", seconds % 60, Fraction(nanos % 1_000_000_000, 9))
    }
}

/// So many digits after the point, the last ones without zeros.
struct Fraction(u128, usize);

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return Ok(());
        }
        let digits = format!("{:0width$}", self.0, width = self.1);
        write!(f, ".{}", digits.trim_end_matches('0'))
    }
}

impl FromStr for GoDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let wrong = |why| DurationError {
            text: text.to_owned(),
            why,
        };
        let form = "write numbers with units, such as `30m` or `1h30m0s`";
        let mut rest = text.strip_prefix('+').unwrap_or(text);
        match rest {
            "0" | "-0" => return Ok(Self(Duration::ZERO)),
            "" => return Err(wrong(form)),
            _ if rest.starts_with('-') => return Err(wrong("it must not be negative")),
            _ => {}
        }
        let mut nanos: u128 = 0;
        while !rest.is_empty() {
            let number = end_of(rest, |c| c.is_ascii_digit() || c == '.');
            let unit = end_of(&rest[number..], |c| !c.is_ascii_digit() && c != '.');
            let (digits, after) = rest.split_at(number);
            let (name, after) = after.split_at(unit);
            let size = size(name).ok_or_else(|| {
                wrong("units are `h`, `m`, `s`, `ms`, `us` and `ns`, one after each number")
            })?;
            let part = part(digits, size).ok_or_else(|| wrong(form))?;
            nanos = nanos.saturating_add(part);
            if nanos > LONGEST {
                return Err(wrong("it is longer than 292 years"));
            }
            rest = after;
        }
        let (seconds, nanos) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        // Both fit: the longest is below 2^63 nanoseconds.
        let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
        Ok(Self(Duration::new(
            seconds,
            u32::try_from(nanos).unwrap_or(0),
        )))
    }
}

fn end_of(text: &str, fits: impl Fn(char) -> bool) -> usize {
    text.find(|c| !fits(c)).unwrap_or(text.len())
}

/// In nanoseconds.
fn size(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// So many units in nanoseconds; what is less than one is cut, as are digits beyond any use.
fn part(digits: &str, size: u128) -> Option<u128> {
    /// More digits after the point change no nanosecond of an hour.
    const FRACTION: usize = 18;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: u128 = match whole {
        "" => 0,
        // Too many digits are too long a duration.
        _ => whole.parse().unwrap_or(u128::MAX),
    };
    let fraction = &fraction[..fraction.len().min(FRACTION)];
    let fraction = format!("{fraction:0<FRACTION$}").parse::<u128>().ok()?;
    let fraction = fraction * size / 10_u128.pow(FRACTION as u32);
    Some(whole.saturating_mul(size).saturating_add(fraction))
}

impl ToNode for GoDuration {
    fn to_node(&self) -> Option<Node> {
        Some(Node::Text(self.to_string()))
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?
            .parse()
            .map_err(de::Error::custom)
    }
}
