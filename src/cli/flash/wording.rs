//! What `rigd flash` says, as pure functions: the line of the progress, and the one of the result.

use std::time::Duration;

use rigd_driver::ByteCount;
use rigd_proto::control::v1::{FlashPhase, FlashProgress};
use serde_json::Value;

/// Narrower than this a bar says nothing.
const NARROWEST: usize = 10;
/// Wider than this it says no more.
const WIDEST: usize = 40;

/// One line of at most `width` characters, with a bar where there is room. `read` is the part of the
/// image file that was read, for images whose own size is not known.
pub(super) fn bar(progress: &FlashProgress, read: Option<f64>, width: usize) -> String {
    let (word, rest) = words(progress, read);
    let text = format!("{word}  {rest}");
    let room = width.saturating_sub(text.chars().count() + 2).min(WIDEST);
    let line = match share(progress).or(read.filter(|_| is_writing(progress))) {
        Some(share) if room >= NARROWEST => {
            let full = (share * room as f64) as usize;
            let (full, empty) = ("#".repeat(full), "-".repeat(room - full));
            format!("{word} [{full}{empty}] {rest}")
        }
        _ => text,
    };
    line.chars().take(width).collect()
}

/// The same for a log.
pub(super) fn line(progress: &FlashProgress, read: Option<f64>) -> String {
    let (word, rest) = words(progress, read);
    format!("{word}: {}", rest.trim_start())
}

fn is_writing(progress: &FlashProgress) -> bool {
    progress.phase() == FlashPhase::Write
}

/// How much of the phase is done, from 0 to 1.
fn share(progress: &FlashProgress) -> Option<f64> {
    let total = progress
        .total
        .filter(|_| progress.phase() != FlashPhase::Sync)?;
    Some((progress.done as f64 / total.max(1) as f64).min(1.0))
}

fn words(progress: &FlashProgress, read: Option<f64>) -> (&'static str, String) {
    let spent = progress
        .spent
        .and_then(|spent| Duration::try_from(spent).ok());
    let spent = spent.unwrap_or_default();
    let word = match progress.phase() {
        FlashPhase::Sync => return ("Syncing", format!("since {}", time(spent))),
        FlashPhase::Verify => "Verifying",
        FlashPhase::Write | FlashPhase::Unspecified => "Writing",
    };
    let done = ByteCount(progress.done).rounded();
    let mut text = match (share(progress), progress.total) {
        (Some(share), Some(total)) => {
            let total = ByteCount(total).rounded();
            format!("{:3} %  {done} of {total}", percent(share))
        }
        _ => done.to_string(),
    };
    let seconds = spent.as_secs_f64().max(0.001);
    text += &format!("  {:.1} MB/s", progress.done as f64 / seconds / 1e6);
    // The part that is over took so long; what is left takes its share.
    let part = share(progress).or(read).filter(|part| *part > 0.0);
    if let Some(part) = part.filter(|_| progress.done > 0) {
        let left = seconds * (1.0 - part) / part;
        text += &format!("  {} left", time(Duration::from_secs_f64(left.min(1e9))));
    }
    if let (None, Some(read)) = (share(progress), read) {
        text += &format!("  {} % of the file", percent(read));
    }
    (word, text)
}

/// Not 100 before it is all.
fn percent(share: f64) -> u64 {
    (share * 100.0) as u64
}

fn time(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// What came of it, as the driver reported; some report nothing.
pub(super) fn result(path: &str, report: &Value) -> String {
    let number = |key: &str| report[key].as_u64();
    let Some(size) = number("size") else {
        return format!("Wrote the image to {path}.");
    };
    let mut text = format!("Wrote {} to {path}", ByteCount(size));
    if let Some(mapped) = number("mapped").filter(|mapped| *mapped < size) {
        text += &format!(", {} mapped", ByteCount(mapped).rounded());
    }
    if let Some(unchanged) = number("unchanged").filter(|unchanged| *unchanged > 0) {
        text += &format!(", {} unchanged", ByteCount(unchanged).rounded());
    }
    if let Some(verify) = report["verify"].as_str() {
        text += &format!(", verify {verify}");
        if let Some(verified) = number("verified").filter(|verified| *verified > 0) {
            text += &format!(" ({} read back)", ByteCount(verified).rounded());
        }
    }
    if let Some(sha256) = report["sha256"].as_str() {
        text += &format!(", sha256 {sha256}");
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn progress(phase: FlashPhase, done: u64, total: Option<u64>, seconds: i64) -> FlashProgress {
        FlashProgress {
            phase: phase.into(),
            done,
            total,
            spent: Some(prost_types::Duration { seconds, nanos: 0 }),
        }
    }

    #[test]
    fn the_bar_has_percent_bytes_rate_and_time_left() {
        let quarter = progress(FlashPhase::Write, 1 << 30, Some(4 << 30), 20);
        assert_eq!(
            bar(&quarter, Some(0.9), 80),
            "Writing [#####---------------]  25 %  1 GiB of 4 GiB  53.7 MB/s  1 min 00 s left"
        );
        assert_eq!(
            bar(&quarter, None, 60),
            "Writing   25 %  1 GiB of 4 GiB  53.7 MB/s  1 min 00 s left"
        );
        assert_eq!(bar(&quarter, None, 20), "Writing   25 %  1 Gi");
        let back = progress(FlashPhase::Verify, 3 << 20, Some(4 << 20), 3);
        assert_eq!(
            bar(&back, None, 64),
            "Verifying [#######---]  75 %  3 MiB of 4 MiB  1.0 MB/s  1 s left"
        );
        let sync = progress(FlashPhase::Sync, 4 << 20, Some(4 << 20), 3661);
        assert_eq!(bar(&sync, None, 60), "Syncing  since 1 h 01 min");
    }

    #[test]
    fn a_packed_image_goes_by_its_file() {
        let half = progress(FlashPhase::Write, 64 << 20, None, 2);
        assert_eq!(
            line(&half, Some(0.5)),
            "Writing: 64 MiB  33.6 MB/s  2 s left  50 % of the file"
        );
        assert_eq!(line(&half, None), "Writing: 64 MiB  33.6 MB/s");
        assert!(bar(&half, Some(0.5), 100).contains("####----"));
        let none = progress(FlashPhase::Write, 0, None, 0);
        assert_eq!(
            line(&none, Some(0.0)),
            "Writing: 0 bytes  0.0 MB/s  0 % of the file"
        );
    }

    #[test]
    fn the_result_is_what_the_driver_reported() {
        let report = json!({
            "size": 8 << 20, "mapped": 8 << 20, "unchanged": 0,
            "sha256": "ab", "verify": "none", "verified": 0,
        });
        assert_eq!(
            result("card", &report),
            "Wrote 8388608 bytes (8 MiB) to card, verify none, sha256 ab"
        );
        let report = json!({
            "size": 8 << 20, "mapped": 3 << 20, "unchanged": 1 << 20,
            "sha256": "ab", "verify": "full", "verified": 3 << 20,
        });
        assert_eq!(
            result("card", &report),
            "Wrote 8388608 bytes (8 MiB) to card, 3 MiB mapped, 1 MiB unchanged, \
             verify full (3 MiB read back), sha256 ab"
        );
        assert_eq!(result("card", &Value::Null), "Wrote the image to card.");
    }
}
