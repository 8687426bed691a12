//! How far a write has come: for whoever waits for it, and in the log with rate and time left.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use rigd_driver::{ByteCount, TransferPhase as Phase, TransferProgress};
use tokio::time::Instant;

use crate::{
    settings::{Report, Verify},
    writer::Shared,
};

/// Between two times that whoever waits is told.
const SHOWN_EVERY: Duration = Duration::from_millis(100);
/// Between two lines, at first and later on.
const EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// For how long the first of these holds.
const AT_FIRST: Duration = Duration::from_secs(10);

/// The progress of one write.
#[derive(Debug)]
pub(crate) struct Progress {
    shared: Arc<Shared>,
    begun: Instant,
    shown: Option<Instant>,
    told: Instant,
    phase: Phase,
    phase_begun: Instant,
}

impl Progress {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        Self {
            shared,
            begun: now,
            shown: None,
            told: now,
            phase: Phase::Write,
            phase_begun: now,
        }
    }

    /// How far it is, when that is to be told again; the log is told at most once a second. `size` is
    /// that of the image, if it is known.
    pub(crate) fn tick(&mut self, size: Option<u64>) -> Option<TransferProgress> {
        let (news, line) = self.look(size);
        if let Some(line) = line {
            tracing::info!("{line}");
        }
        news
    }

    fn look(&mut self, size: Option<u64>) -> (Option<TransferProgress>, Option<String>) {
        let now = Instant::now();
        let phase = self.now();
        if phase != self.phase {
            (self.phase, self.phase_begun) = (phase, now);
        }
        let (done, total) = self.how_much(size);
        let spent = now - self.phase_begun;
        let due = |shown: Instant| now - shown >= SHOWN_EVERY;
        let news = self.shown.is_none_or(due).then(|| {
            self.shown = Some(now);
            TransferProgress {
                phase,
                done,
                total,
                spent,
            }
        });
        (news, self.line(now, (done, total), spent))
    }

    fn line(
        &mut self,
        now: Instant,
        (done, total): (u64, Option<u64>),
        spent: Duration,
    ) -> Option<String> {
        let every = if now - self.begun < AT_FIRST {
            EVERY.0
        } else {
            EVERY.1
        };
        if now - self.told < every {
            return None;
        }
        self.told = now;
        Some(match self.phase {
            Phase::Write => format!("Written {}.", how_far(done, total, spent)),
            Phase::Sync => format!("Syncing the card since {} s.", spent.as_secs()),
            Phase::Verify => format!("Read back {}.", how_far(done, total, spent)),
        })
    }

    /// Bytes that the phase is done with, and that it has to do.
    fn how_much(&self, size: Option<u64>) -> (u64, Option<u64>) {
        let shared = &self.shared;
        match self.phase {
            Phase::Write | Phase::Sync => (shared.reached.load(Relaxed), size),
            Phase::Verify => {
                let total = shared.to_verify.load(Relaxed);
                (shared.verified.load(Relaxed), Some(total))
            }
        }
    }

    fn now(&self) -> Phase {
        if self.shared.to_verify.load(Relaxed) > 0 {
            Phase::Verify
        } else if self.shared.syncing.load(Relaxed) {
            Phase::Sync
        } else {
            Phase::Write
        }
    }

    /// The write is done.
    pub(crate) fn done(&self, report: &Report) {
        let size = ByteCount(report.size).rounded();
        let seconds = self.begun.elapsed().as_secs_f64();
        let mut parts = String::new();
        if report.mapped < report.size {
            parts += &format!(" ({} mapped)", ByteCount(report.mapped).rounded());
        }
        if report.unchanged > 0 {
            parts += &format!(" ({} unchanged)", ByteCount(report.unchanged).rounded());
        }
        let verified = match report.verify {
            Verify::None => "not verified".to_owned(),
            Verify::Sampled | Verify::Full => {
                format!("verified {}", ByteCount(report.verified).rounded())
            }
        };
        let sha256 = &report.sha256;
        tracing::info!("Wrote {size}{parts} in {seconds:.1} s, {verified}, sha256 {sha256}.");
    }
}

fn how_far(done: u64, total: Option<u64>, spent: Duration) -> String {
    let rate = done as f64 / spent.as_secs_f64().max(0.001);
    let mut text = ByteCount(done).rounded().to_string();
    if let Some(total) = total {
        text += &format!(" of {}", ByteCount(total).rounded());
    }
    text += &format!(", {:.1} MB/s", rate / 1e6);
    if let Some(total) = total.filter(|_| rate >= 1.0) {
        text += &format!(", {:.0} s left", total.saturating_sub(done) as f64 / rate);
    }
    text
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_log_is_told_once_a_second_at_first_and_every_five_later_on() {
        let shared = Arc::new(Shared::default());
        let mut progress = Progress::new(shared.clone());
        let size = Some(400_000_000);
        let (mut told, mut lines, mut news) = (Vec::new(), Vec::new(), 0);
        // 10 MB/s, looked at a hundred times a second for 30 s.
        for look in 0..=3000 {
            shared.reached.store(look * 100_000, Relaxed);
            let (new, line) = progress.look(size);
            news += usize::from(new.is_some());
            if let Some(line) = line {
                told.push(look / 100);
                lines.push(line);
            }
            advance(Duration::from_millis(10)).await;
        }
        assert_eq!(told, [1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 19, 24, 29]);
        assert_eq!(news, 301, "whoever waits is told ten times a second");
        assert_eq!(
            lines[1],
            "Written 19 MiB of 381.4 MiB, 10.0 MB/s, 38 s left."
        );
        // The next phases: no line comes earlier for them.
        shared.syncing.store(true, Relaxed);
        assert_eq!(progress.look(size).1, None);
        advance(Duration::from_secs(5)).await;
        let line = progress.look(size).1;
        assert_eq!(line.as_deref(), Some("Syncing the card since 5 s."));
        shared.to_verify.store(400_000_000, Relaxed);
        assert_eq!(progress.look(size).1, None);
        advance(Duration::from_secs(10)).await;
        shared.verified.store(200_000_000, Relaxed);
        let line = progress.look(size).1;
        assert_eq!(
            line.as_deref(),
            Some("Read back 190.7 MiB of 381.4 MiB, 20.0 MB/s, 10 s left.")
        );
    }

    #[test]
    fn progress_has_bytes_rate_and_time_left() {
        let ten = Duration::from_secs(10);
        assert_eq!(
            how_far(400_000_000, Some(1_200_000_000), ten),
            "381.4 MiB of 1.1 GiB, 40.0 MB/s, 20 s left"
        );
        assert_eq!(how_far(400_000_000, None, ten), "381.4 MiB, 40.0 MB/s");
        assert_eq!(how_far(0, Some(5), ten), "0 bytes of 5 bytes, 0.0 MB/s");
    }
}
