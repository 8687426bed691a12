//! Times for people and file names: UTC, to the millisecond.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SECONDS_A_DAY: u64 = 24 * 60 * 60;

/// A time as RFC 3339 has it, e.g. `2026-11-29T22:40:00.123Z`. Times before 1970 are 1970.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let (year, month, day, rest) = date(time);
    let (hour, minute, second, ms) = clock(rest);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// A time for a file name, which sorts as the times do, e.g. `20261129T224000.123Z`.
pub(crate) fn file_name(time: SystemTime) -> String {
    let (year, month, day, rest) = date(time);
    let (hour, minute, second, ms) = clock(rest);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}.{ms:03}Z")
}

fn clock(rest: Duration) -> (u64, u64, u64, u32) {
    let seconds = rest.as_secs();
    let (hour, minute) = (seconds / 3600, seconds / 60 % 60);
    (hour, minute, seconds % 60, rest.subsec_millis())
}

/// Year, month, day of month, and what is left of the day.
fn date(time: SystemTime) -> (u64, u64, u64, Duration) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut days = since.as_secs() / SECONDS_A_DAY;
    let rest = since - Duration::from_secs(days * SECONDS_A_DAY);
    let mut year = 1970;
    while days >= days_of_year(year) {
        days -= days_of_year(year);
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1, rest)
}

fn days_of_year(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_date() {
        // `date -u -d @SECONDS`.
        for (seconds, wanted) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_399, "2000-02-28T23:59:59.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (1_709_251_199, "2024-02-29T23:59:59.007Z"),
            (1_735_689_599, "2024-12-31T23:59:59.007Z"),
            (1_796_078_400, "2026-11-30T22:40:00.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
        ] {
            let time = UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 7);
            assert_eq!(rfc3339(time), wanted);
            let plain = wanted.replace([':', '-'], "");
            assert_eq!(file_name(time), plain);
        }
    }
}
