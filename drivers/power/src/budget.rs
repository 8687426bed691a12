//! How often a switch may act in a minute.
//!
//! A script that loops over on and off wears a relay out in an afternoon. Switching on is what is
//! refused: an `off` is counted and always goes through, and an outlet that is off already does
//! not wear.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// What the budget is counted over.
const WINDOW: Duration = Duration::from_secs(60);

/// The switches of the last minute.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Most of them; 0 for no limit.
    most: usize,
    recent: VecDeque<Instant>,
    total: u64,
}

impl Budget {
    pub(crate) fn new(most: u32) -> Self {
        Self {
            most: most as usize,
            recent: VecDeque::new(),
            total: 0,
        }
    }

    /// Counts `count` switches, or says how long it takes until there is room for them.
    pub(crate) fn take(&mut self, count: usize) -> Result<(), Duration> {
        let now = Instant::now();
        self.forget(now);
        let room = self.most.saturating_sub(self.recent.len());
        if self.most > 0 && room < count {
            // The oldest ones have to leave the window.
            let last = self.recent.get(count - room - 1).copied();
            return Err(last.map_or(WINDOW, |last| {
                (last + WINDOW).saturating_duration_since(now)
            }));
        }
        self.add(count, now);
        Ok(())
    }

    /// Counts one that is not refused.
    pub(crate) fn count(&mut self) {
        let now = Instant::now();
        self.forget(now);
        self.add(1, now);
    }

    /// Switches since the device was opened.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    fn add(&mut self, count: usize, now: Instant) {
        self.total += count as u64;
        if self.most == 0 {
            return;
        }
        self.recent.extend(std::iter::repeat_n(now, count));
        // More than the limit says nothing new, and a loop of `off` must not fill the memory.
        while self.recent.len() > self.most {
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
        let mut budget = Budget::new(3);
        budget.take(1).unwrap();
        advance(Duration::from_secs(10)).await;
        budget.take(2).unwrap();
        assert_eq!(budget.take(1), Err(Duration::from_secs(50)));
        assert_eq!(budget.take(2), Err(Duration::from_secs(60)));
        advance(Duration::from_secs(50)).await;
        budget.take(1).unwrap();
        assert_eq!(budget.total(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn an_off_counts_and_is_never_refused() {
        let mut budget = Budget::new(2);
        for _ in 0..5 {
            budget.count();
        }
        assert!(budget.take(1).is_err());
        assert_eq!(budget.recent.len(), 2);
        assert_eq!(budget.total(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_fits_at_all_is_refused() {
        assert_eq!(Budget::new(1).take(2), Err(WINDOW));
        Budget::new(0).take(1000).unwrap();
    }
}
