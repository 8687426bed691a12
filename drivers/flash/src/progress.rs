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
        self.log(now, (done, total), spent);
        news
    }

    fn log(&mut self, now: Instant, (done, total): (u64, Option<u64>), spent: Duration) {
        let every = if now - self.begun < AT_FIRST {
            EVERY.0
        } else {
            EVERY.1
        };
        if now - self.told < every {
            return;
        }
        self.told = now;
        match self.phase {
            Phase::Write => tracing::info!("Written {}.", how_far(done, total, spent)),
            Phase::Sync => tracing::info!("Syncing the card since {} s.", spent.as_secs()),
            Phase::Verify => tracing::info!("Read back {}.", how_far(done, total, spent)),
        }
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
    use super::*;

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
