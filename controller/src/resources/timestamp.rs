//! Times as Kubernetes writes them: RFC 3339, whole seconds, UTC.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Deserializer, de};

use super::{Node, node::ToNode};

/// A moment of the years 1 to 9999, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Since 1970, UTC.
    seconds: i64,
}

/// A text is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time: write it as `2026-03-02T08:15:00Z`")]
pub struct TimeError(String);

const DAY: i64 = 86_400;
/// 0001-01-01 and 10000-01-01, in seconds since 1970.
const RANGE: std::ops::Range<i64> = -62_135_596_800..253_402_300_800;

impl From<SystemTime> for Timestamp {
    /// Parts of seconds are cut; times outside of the range become its ends.
    fn from(time: SystemTime) -> Self {
        let seconds = match time.duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            Err(before) => {
                let before = before.duration();
                let whole = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
                -whole.saturating_add(i64::from(before.subsec_nanos() > 0))
            }
        };
        Self {
            seconds: seconds.clamp(RANGE.start, RANGE.end - 1),
        }
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        let distance = Duration::from_secs(time.seconds.unsigned_abs());
        let moment = if time.seconds < 0 {
            UNIX_EPOCH.checked_sub(distance)
        } else {
            UNIX_EPOCH.checked_add(distance)
        };
        // A 64-bit clock holds the whole range.
        moment.unwrap_or(UNIX_EPOCH)
    }
}

impl Timestamp {
    /// Whole seconds from then until now; nothing if it is yet to come.
    pub fn age(self, now: SystemTime) -> Duration {
        let age = Self::from(now).seconds.saturating_sub(self.seconds);
        Duration::from_secs(u64::try_from(age).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.seconds.div_euclid(DAY), self.seconds.rem_euclid(DAY));
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
        )
    }
}

impl FromStr for Timestamp {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let seconds = seconds(text).filter(|s| RANGE.contains(s));
        seconds
            .map(|seconds| Self { seconds })
            .ok_or_else(|| TimeError(text.to_owned()))
    }
}

/// The first day of a 400 years' cycle of the calendar that starts in March is 0000-03-01.
const CYCLE: i64 = 146_097;
/// From there to 1970-01-01.
const EPOCH: i64 = 719_468;

/// Year, month and day of a day since 1970.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH;
    let (cycle, day) = (days.div_euclid(CYCLE), days.rem_euclid(CYCLE));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march = (5 * day + 2) / 153;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = year + cycle * 400 + i64::from(month <= 2);
    (year, month, day - (153 * march + 2) / 5 + 1)
}

/// The day since 1970 of a date.
fn day_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (cycle, year) = (year.div_euclid(400), year.rem_euclid(400));
    let march = if month > 2 { month - 3 } else { month + 9 };
    let day = (153 * march + 2) / 5 + day - 1;
    cycle * CYCLE + 365 * year + year / 4 - year / 100 + day - EPOCH
}

/// `2026-03-02T08:15:00Z`, with any fraction and any zone.
fn seconds(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| {
        let digits = text.get(from..to)?;
        let all = digits.bytes().all(|b| b.is_ascii_digit());
        all.then(|| digits.parse::<i64>().ok()).flatten()
    };
    let marks = [(4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":")];
    if marks
        .iter()
        .any(|(at, mark)| text.get(*at..*at + 1) != Some(*mark))
    {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let days = day_of(year, month, day);
    // A day that its month does not have comes back as another one.
    let date = (1..=12).contains(&month) && civil(days) == (year, month, day);
    if !date || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut rest = &text[19..];
    if let Some(fraction) = rest.strip_prefix('.') {
        rest = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
        if rest.len() == fraction.len() {
            return None;
        }
    }
    let local = days * DAY + hour * 3600 + minute * 60 + second;
    Some(local - zone(rest)?)
}

/// Seconds east of Greenwich.
fn zone(text: &str) -> Option<i64> {
    let (sign, text) = match text.split_at_checked(1)? {
        ("Z", "") => return Some(0),
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = text.split_once(':')?;
    let two = |part: &str| {
        let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| part.parse::<i64>().ok()).flatten()
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

impl ToNode for Timestamp {
    fn to_node(&self) -> Option<Node> {
        Some(Node::Text(self.to_string()))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?
            .parse()
            .map_err(de::Error::custom)
    }
}
