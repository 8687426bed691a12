//! Which ended leases are forgotten.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    time::{Duration, SystemTime},
};

use super::Change;
use crate::model::World;

/// How long ended leases are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// After their end.
    pub age: Duration,
    /// How many at most. Too many are taken from the client that has the most, those that ended
    /// first: who asks and releases in a loop leaves others theirs.
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
            let at = lease.over.as_ref()?.at;
            Some((at, lease.number, name, lease.client.as_str()))
        })
        .collect();
    ended.sort_unstable();
    let old = |at: SystemTime| now.duration_since(at).is_ok_and(|age| age > retention.age);
    let young = ended.iter().filter(|(at, ..)| !old(*at));
    let mut surplus = surplus(young.map(|(.., client)| *client), retention.count);
    let forgotten = ended.iter().filter(|(at, _, _, client)| {
        let left = surplus
            .get_mut(client)
            .filter(|left| !old(*at) && **left > 0);
        let taken = left.map(|left| *left -= 1);
        taken.is_some() || old(*at)
    });
    forgotten
        .map(|(_, _, name, _)| Change::Lease((*name).clone(), None))
        .collect()
}

/// How many leases too many each client has, if `count` are to be left in all.
fn surplus<'a>(clients: impl Iterator<Item = &'a str>, count: usize) -> HashMap<&'a str, usize> {
    let mut have: HashMap<&str, usize> = HashMap::new();
    let mut all: usize = 0;
    for client in clients {
        *have.entry(client).or_default() += 1;
        all += 1;
    }
    // Of those that have equally many, the first by name.
    let most = have.into_iter().map(|(client, has)| (has, Reverse(client)));
    let (mut most, mut surplus) = (BinaryHeap::from_iter(most), HashMap::new());
    for _ in count..all {
        if let Some((has, client)) = most.pop() {
            *surplus.entry(client.0).or_default() += 1;
            most.push((has - 1, client));
        }
    }
    surplus
}
