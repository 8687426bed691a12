//! When a lease begins and ends.
//!
//! | asked for | means |
//! |---|---|
//! | duration | from the moment of assignment |
//! | begin, duration | not before begin; the end counts from begin, also when assigned late |
//! | begin, end | the duration is what lies between |
//! | end, duration | begin is computed |
//! | all three | they must agree |

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Refusal;
use crate::model::Lease;

/// Longest lease: a century. All sums of times stay representable.
pub const MAX_DURATION: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
/// The first second of the year 10000, in which texts of times stop being comparable.
const YEAR_10000: i64 = 253_402_300_800;
const NANOS: u32 = 1_000_000_000;

/// Times as a request gives them; nothing of it is checked.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct WantedTimes {
    /// How long.
    pub duration: Option<prost_types::Duration>,
    /// Not before.
    pub begin: Option<prost_types::Timestamp>,
    /// Not after.
    pub end: Option<prost_types::Timestamp>,
}

/// Checked times of a lease or of a change to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) duration: Option<Duration>,
    pub(super) begin: Option<SystemTime>,
    pub(super) end: Option<SystemTime>,
}

/// What really was, or is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effective {
    /// When the exporter was assigned.
    pub begin: Option<SystemTime>,
    /// When the lease ended, if it had begun.
    pub end: Option<SystemTime>,
    /// From its begin to its end, or to now.
    pub duration: Option<Duration>,
}

impl WantedTimes {
    /// Each for itself.
    pub(super) fn read(&self) -> Result<Times, Refusal> {
        let duration = self.duration.as_ref().map(duration).transpose()?;
        let time = |wanted: &Option<prost_types::Timestamp>, what| {
            wanted
                .as_ref()
                .map(|wanted| timestamp(wanted, what))
                .transpose()
        };
        let (begin, end) = (
            time(&self.begin, "begin_time")?,
            time(&self.end, "end_time")?,
        );
        Ok(Times {
            duration,
            begin,
            end,
        })
    }
}

impl Times {
    /// Fills in what follows from the rest.
    pub(super) fn complete(self) -> Result<Self, Refusal> {
        let Self {
            duration,
            begin,
            end,
        } = self;
        match (duration, begin, end) {
            (None, None, _) | (None, _, None) => Err(Refusal::DurationRequired),
            (None, Some(begin), Some(end)) => {
                let duration = Some(between(begin, end)?);
                Ok(Self { duration, ..self })
            }
            (Some(duration), Some(begin), Some(end)) if between(begin, end)? != duration => {
                Err(Refusal::DurationConflicts)
            }
            (Some(duration), None, Some(end)) => {
                let begin = end
                    .checked_sub(duration)
                    .filter(|begin| *begin >= UNIX_EPOCH);
                let begin = begin.ok_or(Refusal::TimeOutOfRange("begin_time"))?;
                Ok(Self {
                    begin: Some(begin),
                    ..self
                })
            }
            (Some(duration), Some(begin), None) => {
                let end = begin.checked_add(duration).filter(|end| is_sane(*end));
                end.ok_or(Refusal::TimeOutOfRange("end_time")).map(|_| self)
            }
            _ => Ok(self),
        }
    }
}

/// What lies between two times, as the duration of a lease.
pub(super) fn between(begin: SystemTime, end: SystemTime) -> Result<Duration, Refusal> {
    match end.duration_since(begin) {
        Ok(Duration::ZERO) => Err(Refusal::DurationNotPositive("0s".to_owned())),
        Ok(duration) if duration > MAX_DURATION => Err(Refusal::DurationTooLong),
        Ok(duration) => Ok(duration),
        Err(earlier) => {
            let seconds = earlier.duration().as_secs_f64();
            Err(Refusal::DurationNotPositive(format!("-{seconds}s")))
        }
    }
}

fn duration(wanted: &prost_types::Duration) -> Result<Duration, Refusal> {
    let nanos = i128::from(wanted.seconds) * i128::from(NANOS) + i128::from(wanted.nanos);
    if nanos <= 0 {
        let seconds = nanos.unsigned_abs() as f64 / f64::from(NANOS);
        let sign = if nanos < 0 { "-" } else { "" };
        return Err(Refusal::DurationNotPositive(format!("{sign}{seconds}s")));
    }
    if nanos.unsigned_abs() > MAX_DURATION.as_nanos() {
        return Err(Refusal::DurationTooLong);
    }
    // A century has fewer nanoseconds than 64 bits can count.
    u64::try_from(nanos)
        .map(Duration::from_nanos)
        .map_err(|_| Refusal::DurationTooLong)
}

fn timestamp(wanted: &prost_types::Timestamp, what: &'static str) -> Result<SystemTime, Refusal> {
    let wrong = || Refusal::TimeOutOfRange(what);
    let seconds = u64::try_from(wanted.seconds).map_err(|_| wrong())?;
    let nanos = u32::try_from(wanted.nanos)
        .ok()
        .filter(|nanos| *nanos < NANOS);
    if wanted.seconds >= YEAR_10000 {
        return Err(wrong());
    }
    let since = Duration::new(seconds, nanos.ok_or_else(wrong)?);
    UNIX_EPOCH.checked_add(since).ok_or_else(wrong)
}

fn is_sane(time: SystemTime) -> bool {
    let limit = Duration::from_secs(YEAR_10000.unsigned_abs());
    time.duration_since(UNIX_EPOCH)
        .is_ok_and(|since| since < limit)
}

/// When a lease ends by itself: at its end when that was asked for, else its duration after the begin
/// that was asked for, else its duration after its assignment. `None` while that is open, and for
/// leases that are over.
pub fn expiry(lease: &Lease) -> Option<SystemTime> {
    if lease.over.is_some() {
        return None;
    }
    lease.end.or_else(|| {
        let begin = lease.begin.or(lease.held.as_ref().map(|held| held.since))?;
        begin.checked_add(lease.duration?)
    })
}

/// What really was. A clock that was set back makes nothing negative.
pub fn effective(lease: &Lease, now: SystemTime) -> Effective {
    let Some(held) = &lease.held else {
        return Effective::default();
    };
    let end = lease.over.as_ref().map(|over| over.at);
    let duration = end
        .unwrap_or(now)
        .duration_since(held.since)
        .unwrap_or_default();
    Effective {
        begin: Some(held.since),
        end,
        duration: Some(duration),
    }
}
