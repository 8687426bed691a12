//! Failed logins, counted: whoever fails often is answered less, and fills no log.
//!
//! A good token is checked before anything is counted, so nobody can lock its owner out. The clock
//! is handed in.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use tokio::time::Instant;

/// Failures that one address may make at once: a rack of exporters with old tokens behind one address.
const PER_ADDRESS: Rate = Rate {
    burst: 30.0,
    every: Duration::from_secs(1),
};
/// Failures that one name may make at once from one address: a client that retries for a minute.
const PER_NAME: Rate = Rate {
    burst: 10.0,
    every: Duration::from_secs(6),
};
/// Keys that are told apart; further ones share one bucket until others have recovered. About 200 KiB.
const MAX_KEYS: usize = 4096;
/// How often a full table is searched for keys that have recovered.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// What to do with a caller whose login failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Log it, and tell the caller why.
    Tell,
    /// Do not log it, and tell the caller only to come back later.
    Quiet {
        /// When the next failure will be answered.
        retry_after: Duration,
    },
}

/// Counts failures for each address, and for each name claimed from there.
#[derive(Debug)]
pub struct FailedLogins {
    buckets: HashMap<Key, Bucket>,
    overflow: Option<Bucket>,
    swept: Option<Instant>,
    hasher: RandomState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Address(IpAddr),
    /// The name is hashed: a caller may claim long ones.
    Name(IpAddr, u64),
}

#[derive(Debug, Clone, Copy)]
struct Rate {
    burst: f64,
    /// One more.
    every: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl FailedLogins {
    /// Nobody has failed yet.
    pub fn new() -> Self {
        Self {
            buckets: HashMap::new(),
            overflow: None,
            swept: None,
            hasher: RandomState::new(),
        }
    }

    /// Counts a failure of a caller at `from` that claimed to be `name`.
    pub fn failed(&mut self, from: IpAddr, name: &str, now: Instant) -> Verdict {
        let network = network(from);
        let name = Key::Name(network, self.hasher.hash_one(name));
        let waits = [self.take(name, now), self.take(Key::Address(network), now)];
        match waits.into_iter().flatten().max() {
            None => Verdict::Tell,
            Some(retry_after) => Verdict::Quiet { retry_after },
        }
    }

    /// How many keys are kept, which is bounded.
    #[cfg(test)]
    fn kept(&self) -> usize {
        self.buckets.len()
    }

    fn take(&mut self, key: Key, now: Instant) -> Option<Duration> {
        let rate = key.rate();
        if !self.buckets.contains_key(&key) && self.buckets.len() >= MAX_KEYS {
            self.sweep(now);
        }
        let full = Bucket {
            left: rate.burst,
            at: now,
        };
        let bucket = if self.buckets.contains_key(&key) || self.buckets.len() < MAX_KEYS {
            self.buckets.entry(key).or_insert(full)
        } else {
            self.overflow.get_or_insert(full)
        };
        bucket.take(rate, now)
    }

    fn sweep(&mut self, now: Instant) {
        let lately = |at: Instant| now.saturating_duration_since(at) < SWEEP_EVERY;
        if self.swept.is_some_and(lately) {
            return;
        }
        self.swept = Some(now);
        self.buckets
            .retain(|key, bucket| bucket.level(key.rate(), now) < key.rate().burst);
    }
}

impl Default for FailedLogins {
    fn default() -> Self {
        Self::new()
    }
}

impl Key {
    fn rate(&self) -> Rate {
        match self {
            Self::Address(_) => PER_ADDRESS,
            Self::Name(..) => PER_NAME,
        }
    }
}

impl Bucket {
    fn level(&self, rate: Rate, now: Instant) -> f64 {
        let gained = now
            .saturating_duration_since(self.at)
            .div_duration_f64(rate.every);
        (self.left + gained).min(rate.burst)
    }

    /// Takes one, or says how long there will be none.
    fn take(&mut self, rate: Rate, now: Instant) -> Option<Duration> {
        self.left = self.level(rate, now);
        self.at = now.max(self.at);
        if self.left >= 1.0 {
            self.left -= 1.0;
            return None;
        }
        Some(rate.every.mul_f64(1.0 - self.left))
    }
}

/// Whom an address counts as: one host has a whole /64 in IPv6, and of a dual-stack port IPv4 peers have
/// addresses of IPv6.
pub(crate) fn network(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(six) => {
            let [a, b, c, d, ..] = six.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn a_name_is_told_ten_times_and_then_once_in_six_seconds() {
        let (mut all, start) = (FailedLogins::new(), Instant::now());
        for _ in 0..10 {
            assert_eq!(all.failed(SOME, "bench", start), Verdict::Tell);
        }
        let Verdict::Quiet { retry_after } = all.failed(SOME, "bench", start) else {
            panic!("told once too often")
        };
        assert!(retry_after <= Duration::from_secs(6) && retry_after > Duration::from_secs(5));
        assert_eq!(
            all.failed(SOME, "other", start),
            Verdict::Tell,
            "another name"
        );
        assert_eq!(
            all.failed(SOME, "bench", start + retry_after),
            Verdict::Tell
        );
    }

    #[test]
    fn an_address_that_tries_many_names_is_stopped_and_others_are_not() {
        let (mut all, start) = (FailedLogins::new(), Instant::now());
        let told = (0..200)
            .filter(|n| all.failed(SOME, &format!("name-{n}"), start) == Verdict::Tell)
            .count();
        assert_eq!(told, 30);
        let other = "192.0.2.2".parse().unwrap();
        assert_eq!(all.failed(other, "name-1", start), Verdict::Tell);
    }

    #[test]
    fn one_ipv6_network_is_one_address_and_mapped_ones_are_their_own() {
        let (mut all, start) = (FailedLogins::new(), Instant::now());
        for n in 0..30 {
            let from = format!("2001:db8::{n:x}").parse().unwrap();
            assert_eq!(all.failed(from, &format!("n{n}"), start), Verdict::Tell);
        }
        let from = "2001:db8::ffff".parse().unwrap();
        assert_ne!(all.failed(from, "x", start), Verdict::Tell);
        for n in 1..=3 {
            let from = format!("::ffff:192.0.2.{n}").parse().unwrap();
            assert_eq!(all.failed(from, "bench", start), Verdict::Tell);
        }
    }

    #[test]
    fn the_table_is_bounded_and_recovers() {
        let (mut all, start) = (FailedLogins::new(), Instant::now());
        for n in 0..20_000_u32 {
            all.failed(IpAddr::V4(n.into()), "bench", start);
        }
        assert_eq!(all.kept(), MAX_KEYS);
        let late: IpAddr = "198.51.100.1".parse().unwrap();
        assert_ne!(
            all.failed(late, "bench", start),
            Verdict::Tell,
            "shares the last bucket"
        );
        let later = start + Duration::from_secs(61);
        assert_eq!(all.failed(late, "bench", later), Verdict::Tell);
        assert!(
            all.kept() < 10,
            "those that recovered are forgotten: {}",
            all.kept()
        );
    }

    #[test]
    fn a_clock_that_stands_or_goes_back_gives_nothing_and_takes_nothing() {
        let mut all = FailedLogins::new();
        let (early, start) = (Instant::now(), Instant::now() + Duration::from_secs(60));
        for _ in 0..10 {
            all.failed(SOME, "bench", start);
        }
        assert_ne!(all.failed(SOME, "bench", early), Verdict::Tell);
        assert_ne!(all.failed(SOME, "bench", start), Verdict::Tell);
    }
}
