//! How often a switch may act in a minute.
//!
//! A script that loops over on and off wears a relay out in an afternoon. Switching on is what is
//! refused: an `off` is counted and always goes through, and an outlet that is off already does
//! not wear.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// What the budget is counted over.
const WINDOW: Duration = Duration::from_secs(60);

/// The switches of the last minute. The most that there may be is given with each of them; 0 is no
/// limit.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    recent: VecDeque<Instant>,
    total: u64,
}

impl Budget {
    /// Counts `count` switches, or says how long it takes until there is room for them.
    pub(crate) fn take(&mut self, most: u32, count: usize) -> Result<(), Duration> {
        let now = Instant::now();
        self.forget(now);
        let room = (most as usize).saturating_sub(self.recent.len());
        if most > 0 && room < count {
            // The oldest ones have to leave the window.
            let last = self.recent.get(count - room - 1).copied();
            return Err(last.map_or(WINDOW, |last| {
                (last + WINDOW).saturating_duration_since(now)
            }));
        }
        self.add(most, count, now);
        Ok(())
    }

    /// Counts one that is not refused.
    pub(crate) fn count(&mut self, most: u32) {
        let now = Instant::now();
        self.forget(now);
        self.add(most, 1, now);
    }

    /// Switches since the daemon started.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    fn add(&mut self, most: u32, count: usize, now: Instant) {
        self.total += count as u64;
        if most == 0 {
            return;
        }
        self.recent.extend(std::iter::repeat_n(now, count));
        // More than the limit says nothing new, and a loop of `off` must not fill the memory.
        while self.recent.len() > most as usize {
            self.recent.pop_front();
        }
    }

    fn forget(&mut self, now: Instant) {
        let old = |at: &Instant| now.saturating_duration_since(*at) >= WINDOW;
        while self.recent.front().is_some_and(old) {
            self.recent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn a_full_minute_refuses_until_the_oldest_is_a_minute_old() {
        let mut budget = Budget::default();
        budget.take(3, 1).unwrap();
        advance(Duration::from_secs(10)).await;
        budget.take(3, 2).unwrap();
        assert_eq!(budget.take(3, 1), Err(Duration::from_secs(50)));
        assert_eq!(budget.take(3, 2), Err(Duration::from_secs(60)));
        advance(Duration::from_secs(50)).await;
        budget.take(3, 1).unwrap();
        assert_eq!(budget.total(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn an_off_counts_and_is_never_refused() {
        let mut budget = Budget::default();
        for _ in 0..5 {
            budget.count(2);
        }
        assert!(budget.take(2, 1).is_err());
        assert_eq!(budget.recent.len(), 2);
        assert_eq!(budget.total(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_fits_at_all_is_refused() {
        assert_eq!(Budget::default().take(1, 2), Err(WINDOW));
        Budget::default().take(0, 1000).unwrap();
    }
}
