//! Which ended leases are forgotten.

use std::time::{Duration, SystemTime};

use super::Change;
use crate::model::World;

/// How long ended leases are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// After their end.
    pub age: Duration,
    /// How many at most; those that ended first go first.
    pub count: usize,
}

impl Default for Retention {
    /// A month, and as many as `get leases -A` can reasonably show.
    fn default() -> Self {
        Self {
            age: Duration::from_secs(30 * 24 * 60 * 60),
            count: 1000,
        }
    }
}

/// What to forget now. A clock that went back forgets nothing early.
pub fn trim(world: &World, retention: Retention, now: SystemTime) -> Vec<Change> {
    let mut ended: Vec<_> = world
        .leases
        .iter()
        .filter_map(|(name, lease)| {
            lease
                .over
                .as_ref()
                .map(|over| (over.at, lease.number, name))
        })
        .collect();
    ended.sort_unstable();
    let surplus = ended.len().saturating_sub(retention.count);
    let old = |at: SystemTime| now.duration_since(at).is_ok_and(|age| age > retention.age);
    ended
        .iter()
        .enumerate()
        .filter(|(place, (at, _, _))| *place < surplus || old(*at))
        .map(|(_, (_, _, name))| Change::Lease((*name).clone(), None))
        .collect()
}
