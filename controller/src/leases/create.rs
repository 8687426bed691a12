//! A new wish.

use std::time::SystemTime;

use uuid::Uuid;

use super::{Refusal, WantedTimes, open_of, tags};
use crate::{
    model::{Labels, Lease, World},
    names,
};

/// How much clients may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Leases of one client that are not over. One that asks in a loop must not fill the lab's queue.
    pub open_per_client: usize,
    /// Tags of one lease.
    pub tags: usize,
}

impl Default for Limits {
    /// A hundred boards is more than any one client uses at once; ten tags are what Jumpstarter's
    /// controller admits.
    fn default() -> Self {
        Self {
            open_per_client: 100,
            tags: 10,
        }
    }
}

/// What a client asks for; nothing of it is checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    /// The name that the lease is to have; empty for any.
    pub id: String,
    /// What the exporter must be like, as text; empty for anything.
    pub selector: String,
    /// The one exporter that is wanted; an empty name counts as none.
    pub exporter: Option<String>,
    /// A disabled exporter will do, if it is wanted by name.
    pub allow_disabled: bool,
    /// When and how long.
    pub times: WantedTimes,
    /// For people.
    pub tags: Labels,
    /// For the exporter.
    pub context: Labels,
}

/// A lease that was admitted.
#[derive(Debug, Clone, PartialEq)]
pub struct Created {
    /// Its name.
    pub name: String,
    /// It waits; the next step of the schedule may serve it.
    pub lease: Lease,
}

/// The lease for a client's wish. `fresh` is a new UUIDv7: the lease's uid, and its name where the
/// client gives none. Checked in the order of Jumpstarter's controller.
///
/// # Errors
/// Something of it is against the rules, or the client has too many open leases.
pub fn create(
    world: &World,
    limits: &Limits,
    client: &str,
    request: &Request,
    fresh: Uuid,
    now: SystemTime,
) -> Result<Created, Refusal> {
    let pinned = request.exporter.clone().filter(|name| !name.is_empty());
    if request.selector.is_empty() && pinned.is_none() {
        return Err(Refusal::NoTarget);
    }
    tags::check_tags(&request.tags, limits.tags).map_err(Refusal::Tags)?;
    tags::check_context(&request.context).map_err(Refusal::Context)?;
    let selector = request.selector.parse()?;
    let times = request.times.read()?.complete()?;
    let name = match request.id.as_str() {
        "" => fresh.to_string(),
        id => id.to_owned(),
    };
    names::check(&name).map_err(Refusal::Name)?;
    if world.leases.contains_key(&name) {
        return Err(Refusal::Exists(name));
    }
    check_open(world, limits, client)?;
    let lease = Lease {
        uid: fresh,
        number: world.last_number.saturating_add(1),
        client: client.to_owned(),
        selector,
        pinned,
        allow_disabled: request.allow_disabled,
        duration: times.duration,
        begin: times.begin,
        end: times.end,
        tags: request.tags.clone(),
        context: request.context.clone(),
        created: now,
        priority: 0,
        held: None,
        over: None,
        conditions: Vec::new(),
    };
    Ok(Created { name, lease })
}

/// Whether a client may have one more lease.
pub(super) fn check_open(world: &World, limits: &Limits, client: &str) -> Result<(), Refusal> {
    let limit = limits.open_per_client;
    if open_of(world, client) < limit {
        return Ok(());
    }
    Err(Refusal::TooMany {
        client: client.to_owned(),
        limit,
    })
}
