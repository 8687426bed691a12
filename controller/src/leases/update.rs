//! A change of a lease by its owner.

use super::{
    Limits, Refusal, WantedTimes,
    create::check_open,
    release::own,
    times::{Times, between},
};
use crate::{
    model::{Lease, World},
    schedule::policy,
};

/// What is to change; what is not given stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Update {
    /// Duration, begin, end.
    pub times: WantedTimes,
    /// Name of the client that is to have it; an empty one counts as none.
    pub client: Option<String>,
}

/// A lease as its owner wants it from now on. The caller ends the tunnels of the former holder when
/// the epoch changed.
///
/// # Errors
/// There is no such lease, it is somebody else's, or the change is against the rules.
pub fn update(
    world: &World,
    limits: &Limits,
    client: &str,
    name: &str,
    update: &Update,
) -> Result<Lease, Refusal> {
    let known = own(world, client, name, "UpdateLease")?;
    let mut lease = known.clone();
    let target = update.client.as_deref().filter(|target| !target.is_empty());
    if update.times != WantedTimes::default() {
        if known.over.is_some() {
            return Err(Refusal::AlreadyEnded(name.to_owned()));
        }
        retime(&mut lease, update.times.read()?)?;
        check_length(world, known, &lease)?;
    }
    if let Some(target) = target {
        transfer(world, limits, &mut lease, target)?;
    }
    Ok(lease)
}

/// Of duration, begin and end, what is given counts, and what is not given follows.
fn retime(lease: &mut Lease, wanted: Times) -> Result<(), Refusal> {
    if let Some(begin) = wanted.begin {
        // A begin alone would leave open whether it moves the end or the length.
        wanted.complete()?;
        if lease.held.is_some() && lease.begin != Some(begin) {
            return Err(Refusal::AlreadyStarted);
        }
    }
    let begin = wanted.begin.or(lease.begin);
    let counted_from = begin.or(lease.held.as_ref().map(|held| held.since));
    let duration = match (wanted.duration, wanted.end, counted_from) {
        (Some(duration), ..) => Some(duration),
        (None, Some(end), Some(from)) => Some(between(from, end)?),
        (None, ..) => lease.duration,
    };
    let end = match (wanted.end, lease.end) {
        (Some(end), _) => Some(end),
        // The end follows from the new length.
        (None, Some(_)) if wanted.duration.is_some() => None,
        (None, end) => end,
    };
    let mut times = Times {
        duration,
        begin,
        end,
    };
    if lease.held.is_some() && begin.is_none() {
        // It began when it was assigned, which is no wish.
        if let (Some(end), Some(from), Some(duration)) = (end, counted_from, duration)
            && between(from, end)? != duration
        {
            return Err(Refusal::DurationConflicts);
        }
    } else {
        times = times.complete()?;
    }
    (lease.duration, lease.begin, lease.end) = (times.duration, times.begin, times.end);
    Ok(())
}

/// A lease must not grow beyond what its holder could have asked for. One that waits is looked at
/// when its turn comes.
fn check_length(world: &World, known: &Lease, lease: &Lease) -> Result<(), Refusal> {
    let Some(held) = lease
        .held
        .as_ref()
        .filter(|_| lease.duration > known.duration)
    else {
        return Ok(());
    };
    if policy::admits(world, &lease.client, &held.exporter, lease.duration) {
        return Ok(());
    }
    let (client, exporter) = (lease.client.clone(), held.exporter.clone());
    Err(Refusal::TooLongForPolicy { client, exporter })
}

fn transfer(
    world: &World,
    limits: &Limits,
    lease: &mut Lease,
    target: &str,
) -> Result<(), Refusal> {
    let duration = lease.duration;
    let held = lease.held.as_mut().ok_or(Refusal::TransferBeforeStart)?;
    if lease.over.is_some() {
        return Err(Refusal::TransferAfterEnd);
    }
    if !world.clients.contains_key(target) {
        return Err(Refusal::TargetNotFound(target.to_owned()));
    }
    if lease.client == target {
        return Ok(());
    }
    if !policy::admits(world, target, &held.exporter, duration) {
        let (client, exporter) = (target.to_owned(), held.exporter.clone());
        return Err(Refusal::TargetNotAdmitted { client, exporter });
    }
    check_open(world, limits, target)?;
    held.epoch = held.epoch.saturating_add(1);
    target.clone_into(&mut lease.client);
    Ok(())
}
