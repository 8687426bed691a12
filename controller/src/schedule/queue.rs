//! The place of a lease in the queue.

use std::time::SystemTime;

use super::plan::{Queue, waits};
use crate::{
    leases::conditions,
    model::{Condition, ConditionKind, World},
};

/// How many leases come before a waiting one on an exporter that it could have: those of a higher
/// priority, and the older ones of the same. `None` for a lease that does not wait, or not yet.
pub fn ahead_of(world: &World, name: &str, now: SystemTime) -> Option<usize> {
    if !waits(world.leases.get(name)?, now) {
        return None;
    }
    let queue = Queue::new(world, now)?;
    let this = queue.leases.iter().find(|lease| lease.name == name)?;
    let own = queue.approved(this)?;
    // Two leases meet in the same way whenever they are of the same kinds.
    let rival = |approved: &super::policy::Approved| {
        let mut ahead_at_all = false;
        let mut ahead_when_older = false;
        for (priority, those) in &own.levels {
            for (other_priority, others) in &approved.levels {
                if those.meets(others) {
                    ahead_at_all |= other_priority > priority;
                    ahead_when_older |= other_priority == priority;
                }
            }
        }
        (ahead_at_all, ahead_when_older)
    };
    let fits = queue.fits.iter();
    let rivals: Vec<_> = fits
        .map(|fit| fit.as_ref().map_or((false, false), rival))
        .collect();
    let before = queue.leases.iter().filter(|other| {
        let (always, older) = rivals.get(other.kind).copied().unwrap_or_default();
        other.name != name && (always || older && other.lease.number < this.lease.number)
    });
    Some(before.count())
}

/// The conditions of a lease as clients are to read them: one that waits is told its place.
pub fn told(world: &World, name: &str, now: SystemTime) -> Vec<Condition> {
    let Some(lease) = world.leases.get(name) else {
        return Vec::new();
    };
    let mut all = lease.conditions.clone();
    let pending = all
        .iter()
        .find(|one| one.kind == ConditionKind::Pending)
        .cloned();
    if let (Some(pending), Some(ahead)) = (pending, ahead_of(world, name, now))
        && ahead > 0
    {
        // The place comes first: it must survive the cut of a long message.
        let message = format!("{ahead} ahead. {}", pending.message);
        let (kind, since) = (ConditionKind::Pending, pending.since);
        conditions::set(
            &mut all,
            kind,
            pending.status,
            &pending.reason,
            &message,
            since,
        );
    }
    all
}
