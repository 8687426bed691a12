//! What clients and exporters may do with leases: pure functions from the world and a wish to the
//! lease as it is from then on, or a refusal in the codes and texts of Jumpstarter's controller.
//!
//! ```text
//!   create ──> waiting ──schedule──> held ──> over (Released | Expired)
//!                 │                   │ └── update: duration, end, transfer (next epoch)
//!                 └──> over (Unsatisfiable | Invalid | Released | Expired)
//! ```
//!
//! A lease that is over never comes back. Nothing here changes the world: the caller keeps what it
//! gets, on disk first.

pub mod conditions;
mod create;
mod refusal;
mod release;
mod tags;
#[cfg(test)]
mod tests;
mod times;
mod update;

pub use create::{Created, Limits, Request, create};
pub use refusal::Refusal;
pub use release::{delete, release_as_client, release_as_exporter, release_current};
pub(crate) use tags::TAG_PREFIX;
pub use times::{Effective, MAX_DURATION, WantedTimes, effective, expiry};
pub use update::{Update, update};

use std::time::SystemTime;

use crate::model::{ConditionKind, End, Lease, Over, World};

/// The lease that an exporter serves now.
pub fn current<'a>(world: &'a World, exporter: &str) -> Option<(&'a str, &'a Lease)> {
    let serves = |lease: &Lease| {
        lease
            .held
            .as_ref()
            .is_some_and(|held| held.exporter == exporter)
    };
    let mut leases = world.leases.iter();
    let found = leases.find(|(_, lease)| lease.over.is_none() && serves(lease));
    found.map(|(name, lease)| (name.as_str(), lease))
}

/// Leases of a client that are not over.
pub(crate) fn open_of(world: &World, client: &str) -> usize {
    let leases = world.leases.values();
    leases
        .filter(|lease| lease.over.is_none() && lease.client == client)
        .count()
}

/// Ends a lease that is not over. Clients that wait for it read the condition.
pub(crate) fn finish(lease: &mut Lease, how: End, reason: &str, message: &str, now: SystemTime) {
    if lease.over.is_some() {
        return;
    }
    lease.over = Some(Over { at: now, how });
    let (kind, status) = match how {
        End::Released | End::Expired => (ConditionKind::Ready, false),
        End::Unsatisfiable => (ConditionKind::Unsatisfiable, true),
        End::Invalid => (ConditionKind::Invalid, true),
    };
    conditions::set(&mut lease.conditions, kind, status, reason, message, now);
}
