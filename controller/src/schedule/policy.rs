//! Which policies admit a client to which exporters, and with what priority.
//!
//! Without any policy everybody may have everything. Otherwise a rule admits when its policy is about
//! the exporter, one of its selectors matches the client, and the lease is no longer than it allows.

use std::time::Duration;

use super::{bits::Bits, lab::Lab};
use crate::model::{Labels, Rule, World};

/// What the policies make of one client's wish.
#[derive(Debug)]
pub(super) struct Approved {
    /// By priority, highest first; each exporter at its best. Without those of spot access.
    pub(super) levels: Vec<(i64, Bits)>,
    /// All of them.
    pub(super) all: Bits,
    /// There are some, but only by spot access.
    pub(super) only_spot: bool,
}

/// The exporters that each policy is about.
pub(super) fn covers<'a>(world: &'a World, lab: &Lab<'a>) -> Vec<Bits> {
    let policies = world.policies.values();
    policies
        .map(|policy| lab.matching(&policy.exporters))
        .collect()
}

/// Of the candidates, those that a client may have for so long.
pub(super) fn approve(
    world: &World,
    lab: &Lab<'_>,
    covers: &[Bits],
    candidates: &Bits,
    client: &str,
    duration: Option<Duration>,
) -> Approved {
    if world.policies.is_empty() {
        let (all, levels) = (candidates.clone(), vec![(0, candidates.clone())]);
        return Approved {
            levels,
            all,
            only_spot: false,
        };
    }
    let nobody = Labels::new();
    let labels = world
        .clients
        .get(client)
        .map_or(&nobody, |client| &client.labels);
    let mut admitted: Vec<(i64, Bits)> = Vec::new();
    let mut spot = false;
    for (policy, covered) in world.policies.values().zip(covers) {
        let rules = policy
            .rules
            .iter()
            .filter(|rule| admits_for(rule, labels, duration));
        for rule in rules {
            let those = candidates.and(covered);
            if rule.spot {
                spot |= !those.is_empty();
            } else if !those.is_empty() {
                admitted.push((rule.priority, those));
            }
        }
    }
    admitted.sort_by_key(|(priority, _)| std::cmp::Reverse(*priority));
    let mut all = lab.none();
    let mut levels: Vec<(i64, Bits)> = Vec::new();
    for (priority, mut those) in admitted {
        those.drop(&all);
        all.add(&those);
        match levels.last_mut() {
            Some((last, known)) if *last == priority => known.add(&those),
            _ => levels.push((priority, those)),
        }
    }
    let only_spot = spot && all.is_empty();
    Approved {
        levels,
        all,
        only_spot,
    }
}

fn admits_for(rule: &Rule, client: &Labels, duration: Option<Duration>) -> bool {
    let short = match (rule.maximum_duration, duration) {
        (None, _) => true,
        (Some(limit), Some(duration)) => duration <= limit,
        (Some(_), None) => false,
    };
    short && rule.from.iter().any(|from| from.matches(client))
}

/// Whether a client may have one exporter for so long.
pub fn admits(world: &World, client: &str, exporter: &str, duration: Option<Duration>) -> bool {
    let nobody = Labels::new();
    let client = world
        .clients
        .get(client)
        .map_or(&nobody, |client| &client.labels);
    let exporter = world
        .exporters
        .get(exporter)
        .map_or(&nobody, |exporter| &exporter.labels);
    let mut policies = world
        .policies
        .values()
        .filter(|policy| policy.exporters.matches(exporter));
    let admits = |rule: &Rule| !rule.spot && admits_for(rule, client, duration);
    world.policies.is_empty() || policies.any(|policy| policy.rules.iter().any(admits))
}
