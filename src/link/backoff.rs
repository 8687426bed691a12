//! How long to wait before the next attempt.
//!
//! Attempts never end: a controller may be away for a weekend. The wait starts small again only
//! after a connection has lasted, so that one that is cut as soon as it is made does not spin.

use std::{fmt, time::Duration};

/// A connection that lasted for this long was a good one.
const STABLE: Duration = Duration::from_secs(60);

/// What the attempt before ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Goes away by itself: a restart, a network that is down.
    Passing,
    /// Somebody must mend it, and may have done so before the next attempt.
    Refused,
}

impl Trouble {
    /// Shortest and longest wait.
    fn range(self) -> (Duration, Duration) {
        match self {
            Trouble::Passing => (Duration::from_millis(500), Duration::from_secs(30)),
            Trouble::Refused => (Duration::from_secs(30), Duration::from_secs(300)),
        }
    }
}

/// Gives the next random number, at least 0 and below 1.
type Random = Box<dyn FnMut() -> f64 + Send>;

/// Waits that grow and differ, so that the exporters of a lab do not all come back in one moment.
pub(crate) struct Backoff {
    trouble: Trouble,
    attempt: u32,
    random: Random,
}

impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backoff")
            .field("trouble", &self.trouble)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::with_random(Box::new(rand::random::<f64>))
    }
}

impl Backoff {
    /// With a source of random numbers of the caller.
    pub(crate) fn with_random(random: Random) -> Self {
        Backoff {
            trouble: Trouble::Passing,
            attempt: 0,
            random,
        }
    }

    /// How long to wait now: between the shortest wait and a bound that doubles with each attempt.
    pub(crate) fn next(&mut self, trouble: Trouble) -> Duration {
        if self.trouble != trouble {
            self.trouble = trouble;
            self.attempt = 0;
        }
        let (min, max) = trouble.range();
        self.attempt = self.attempt.saturating_add(1);
        let doubled = 1u32.checked_shl(self.attempt).unwrap_or(u32::MAX);
        let bound = min.saturating_mul(doubled).min(max);
        let share = (self.random)().clamp(0.0, 1.0);
        min + (bound - min).mul_f64(share)
    }

    /// A connection has ended that lasted for this long; a stable one makes the next wait short.
    pub(crate) fn lasted(&mut self, time: Duration) {
        if time >= STABLE {
            self.attempt = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(share: f64) -> Backoff {
        Backoff::with_random(Box::new(move || share))
    }

    fn waits(backoff: &mut Backoff, trouble: Trouble, count: usize) -> Vec<f64> {
        let waits = (0..count).map(|_| backoff.next(trouble).as_secs_f64());
        waits.collect()
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut most = fixed(1.0);
        let passing = waits(&mut most, Trouble::Passing, 8);
        assert_eq!(passing, [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]);
        let refused = waits(&mut most, Trouble::Refused, 5);
        assert_eq!(refused, [60.0, 120.0, 240.0, 300.0, 300.0]);
        assert_eq!(waits(&mut fixed(0.0), Trouble::Passing, 3), [0.5; 3]);
    }

    #[test]
    fn attempts_never_run_out() {
        let mut backoff = fixed(0.999);
        for _ in 0..100_000 {
            let wait = backoff.next(Trouble::Passing);
            assert!(wait >= Duration::from_millis(500) && wait <= Duration::from_secs(30));
        }
    }

    #[test]
    fn only_a_stable_connection_starts_anew() {
        let mut backoff = fixed(1.0);
        waits(&mut backoff, Trouble::Passing, 4);
        backoff.lasted(STABLE - Duration::from_millis(1));
        assert_eq!(waits(&mut backoff, Trouble::Passing, 1), [16.0]);
        backoff.lasted(STABLE);
        assert_eq!(waits(&mut backoff, Trouble::Passing, 2), [1.0, 2.0]);
    }

    #[test]
    fn waits_differ() {
        let mut backoff = Backoff::default();
        let mut waits = waits(&mut backoff, Trouble::Passing, 50);
        waits.dedup();
        assert!(waits.len() > 40, "{waits:?}");
    }
}
