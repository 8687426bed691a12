//! Leases that end by themselves, whoever waits for what.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use super::{Change, Idle, Settings, What};
use crate::{
    leases::{conditions::name, expiry, finish},
    model::{End, Exporter, Lease, World},
};

/// Ends what is over, and makes sure that no exporter is held twice.
pub(super) fn settle(world: &mut World, settings: &Settings, now: SystemTime) -> Vec<Change> {
    let mut changed = Vec::new();
    let twice = held_twice(world);
    let World {
        clients,
        exporters,
        leases,
        ..
    } = world;
    for (lease_name, lease) in leases.iter_mut().filter(|(_, lease)| lease.over.is_none()) {
        let what = if !clients.contains_key(&lease.client) {
            let message = format!("Client {} is gone", name(&lease.client));
            Some((End::Released, message))
        } else if let Some(gone) = gone(lease, exporters) {
            Some((End::Released, format!("Exporter {} is gone", name(gone))))
        } else if twice.contains(lease_name) {
            Some((End::Released, "Another lease holds the exporter".to_owned()))
        } else {
            None
        };
        let begun = rebase(lease, now);
        if let Some(idle) = settings.idle {
            rebase_use(lease, exporters, idle, now);
        }
        let what = what.or_else(|| {
            let over = expiry(lease).is_some_and(|expiry| expiry <= now);
            over.then(|| (End::Expired, "The lease's time is over".to_owned()))
        });
        let what = what.or_else(|| {
            let end = idle_end_of(lease, exporters, settings)?;
            let limit = settings.idle.map(|idle| idle.limit).unwrap_or_default();
            let message = format!("No connection for {}", in_words(limit));
            (end <= now).then_some((End::Expired, message))
        });
        let what = match what {
            Some((how, message)) => {
                let reason = if how == End::Expired {
                    "Expired"
                } else {
                    "Released"
                };
                finish(lease, how, reason, &message, now);
                What::Ended(how)
            }
            None if begun => What::Begun,
            None => continue,
        };
        let exporter = lease.held.as_ref().map(|held| held.exporter.clone());
        changed.push(Change {
            lease: lease_name.clone(),
            exporter,
            what,
        });
    }
    changed
}

type Exporters = std::collections::BTreeMap<String, Exporter>;

/// The exporter of a lease that is not there any more.
fn gone<'a>(lease: &'a Lease, exporters: &Exporters) -> Option<&'a str> {
    let held = lease.held.as_ref()?;
    (!exporters.contains_key(&held.exporter)).then_some(held.exporter.as_str())
}

/// The younger ones of leases that hold one exporter, which only foreign data can bring about.
fn held_twice(world: &World) -> Vec<String> {
    let mut holders: HashMap<&str, (u64, &str)> = HashMap::new();
    let mut younger = Vec::new();
    for (lease_name, lease) in world
        .leases
        .iter()
        .filter(|(_, lease)| lease.over.is_none())
    {
        let Some(held) = &lease.held else { continue };
        let this = (lease.number, lease_name.as_str());
        match holders.get_mut(held.exporter.as_str()) {
            Some(known) => {
                let loser = this.max(*known);
                *known = this.min(*known);
                younger.push(loser.1.to_owned());
            }
            None => drop(holders.insert(&held.exporter, this)),
        }
    }
    younger
}

/// A lease cannot have begun in the future: the clock was set back, and must not lengthen it.
fn rebase(lease: &mut Lease, now: SystemTime) -> bool {
    let by_duration = lease.begin.is_none() && lease.end.is_none();
    match &mut lease.held {
        Some(held) if by_duration && held.since > now => {
            held.since = now;
            true
        }
        _ => false,
    }
}

/// Nor can its last use be in the future: that must not put off its end. Of one that was held before
/// the controller started nothing was seen, which counts from then.
fn rebase_use(lease: &Lease, exporters: &mut Exporters, idle: Idle, now: SystemTime) {
    let exporter = lease
        .held
        .as_ref()
        .and_then(|held| exporters.get_mut(&held.exporter));
    if let Some(exporter) = exporter {
        let used = exporter.presence.last_used.unwrap_or(idle.from);
        exporter.presence.last_used = Some(used.min(now));
    }
}

/// When a lease ends because nobody uses it.
pub(super) fn idle_end(world: &World, lease: &Lease, settings: &Settings) -> Option<SystemTime> {
    idle_end_of(lease, &world.exporters, settings)
}

fn idle_end_of(lease: &Lease, exporters: &Exporters, settings: &Settings) -> Option<SystemTime> {
    let (idle, held) = (settings.idle?, lease.held.as_ref()?);
    let presence = &exporters.get(&held.exporter)?.presence;
    if presence.tunnels > 0 || presence.prepares() {
        return None;
    }
    // It is there since the last step, or since the lease began.
    let used = presence.last_used.unwrap_or(idle.from);
    used.checked_add(idle.limit)
}

fn in_words(limit: Duration) -> String {
    let seconds = limit.as_secs();
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}
