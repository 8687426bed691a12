//! How long ago something was, as `jmp admin get` tells it: the two largest units.

use std::time::{Duration, SystemTime};

use super::Timestamp;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// Of any month, as of 360 days' years.
const MONTH: u64 = 30;
const YEAR: u64 = 365;

/// `45s`, `3m20s`, `1h5m`, `7h`, `2d4h`, `1mo3d`, `2y1mo`.
pub(super) fn text(age: Duration) -> String {
    let seconds = age.as_secs();
    let days = seconds / DAY;
    if seconds < MINUTE {
        return format!("{seconds}s");
    }
    let (large, unit, small, sub) = if seconds < HOUR {
        (seconds / MINUTE, "m", seconds % MINUTE, "s")
    } else if seconds < DAY {
        let hours = seconds / HOUR;
        // From two hours on minutes are left out.
        let minutes = if hours < 2 {
            seconds % HOUR / MINUTE
        } else {
            0
        };
        (hours, "h", minutes, "m")
    } else if days < MONTH {
        (days, "d", seconds % DAY / HOUR, "h")
    } else if days < YEAR {
        (days / MONTH, "mo", days % MONTH, "d")
    } else {
        (days / YEAR, "y", days % YEAR / MONTH, "mo")
    };
    match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit}{small}{sub}"),
    }
}

/// The same for the time of a creation; nothing if that is not known.
pub(super) fn since(created: Option<Timestamp>, now: SystemTime) -> String {
    created.map_or_else(String::new, |created| text(created.age(now)))
}
