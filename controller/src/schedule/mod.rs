//! Who gets which exporter, and whose time is over: one pure function of the world and the clock.
//!
//! ```text
//!   step:  leases whose time is over, or whose client or exporter is gone, end
//!          waiting leases, by priority and age, get what is free and fits
//!          the others are told why they wait, or end because no waiting helps
//! ```
//!
//! It is called after every change and at the time it asked for. It looks at everything each time, so
//! no call can be missed for good; it returns early where nobody waits. A clock that is set back ends
//! nothing twice and keeps no lease for longer than it was asked for.

mod bits;
mod ends;
mod lab;
mod plan;
pub mod policy;
mod queue;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

pub use queue::{ahead_of, told};

use crate::{
    leases::{conditions, expiry, finish},
    model::{ConditionKind, End, Held, Lease, World},
};
use plan::Verdict;

/// What an administrator decides about leases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settings {
    /// Leases that nobody uses end.
    pub idle: Option<Idle>,
}

/// When a lease counts as forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idle {
    /// For so long there was no tunnel to its exporter and nobody asked for one, and the exporter did
    /// not prepare the lease.
    pub limit: Duration,
    /// The start of the controller: what it could not see before is no silence.
    pub from: SystemTime,
}

/// What a step did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// In the order in which it happened.
    pub changed: Vec<Change>,
    /// When the next step is due if nothing changes before.
    pub wake: Option<SystemTime>,
}

/// A lease that is not as before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub lease: String,
    /// The exporter that is concerned, if it holds or held one.
    pub exporter: Option<String>,
    /// How.
    pub what: What,
}

/// What happened to a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// It got an exporter.
    Acquired,
    /// It is over.
    Ended(End),
    /// Its begin was in the future of a clock that was set back, and is now.
    Begun,
    /// It is told another reason for its waiting. Every step tells it anew, so that it need not be
    /// kept on disk.
    Told,
}

/// Brings leases up to date.
pub fn step(world: &mut World, settings: &Settings, now: SystemTime) -> Outcome {
    let mut changed = ends::settle(world, settings, now);
    for (name, verdict) in plan::plan(world, now) {
        let Some(lease) = world.leases.get_mut(&name) else {
            continue;
        };
        if let Some(what) = apply(lease, verdict, now) {
            let exporter = lease.held.as_ref().map(|held| held.exporter.clone());
            let given = exporter.as_ref().filter(|_| what == What::Acquired);
            if let Some(given) = given.and_then(|name| world.exporters.get_mut(name)) {
                // Tunnels that are left are those of the lease before.
                given.presence.tunnels = 0;
                given.presence.used(now);
            }
            changed.push(Change {
                lease: name,
                exporter,
                what,
            });
        }
    }
    let wake = wake(world, settings, now);
    Outcome { changed, wake }
}

fn apply(lease: &mut Lease, verdict: Verdict, now: SystemTime) -> Option<What> {
    match verdict {
        Verdict::Give { exporter, priority } => {
            lease.priority = priority;
            lease.held = Some(Held {
                exporter,
                since: now,
                epoch: 1,
            });
            let message = "An exporter has been acquired for the client";
            let (all, kind) = (&mut lease.conditions, ConditionKind::Ready);
            conditions::set(all, kind, true, "Ready", message, now);
            Some(What::Acquired)
        }
        Verdict::End(reason) => {
            finish(lease, reason.how, reason.word, &reason.message, now);
            Some(What::Ended(reason.how))
        }
        Verdict::Wait { word, message } => {
            let (all, kind) = (&mut lease.conditions, ConditionKind::Pending);
            conditions::set(all, kind, true, word, &message, now).then_some(What::Told)
        }
    }
}

/// The next time at which something happens by itself.
fn wake(world: &World, settings: &Settings, now: SystemTime) -> Option<SystemTime> {
    let mut next: Option<SystemTime> = None;
    let open = world.leases.values().filter(|lease| lease.over.is_none());
    for lease in open {
        let begin = lease.begin.filter(|_| lease.held.is_none());
        let idle = ends::idle_end(world, lease, settings);
        for time in [begin, expiry(lease), idle].into_iter().flatten() {
            if time > now && next.is_none_or(|next| time < next) {
                next = Some(time);
            }
        }
    }
    next
}
