//! Objects that are to be as a text says.
//!
//! ```text
//!   text ── read ──> objects ── each for itself: name, namespace ──┐
//!                                                                  v  under the engine's lock
//!                    policies, clients, exporters, then leases: each in the lab as those before it
//!                    would have it ──> one commit, or the first refusal and no change at all
//! ```

mod lease;
mod standing;

use std::{borrow::Cow, collections::HashSet, time::SystemTime};

use super::{Engine, QUOTED, Status, What, refused::about, tokens::check_name};
use crate::{
    model::World,
    resources::{Object, ObjectMeta, ReadError, read_objects},
    store::Change,
};

/// Longest text, in bytes: that of thousands of objects, and what a gRPC message holds.
pub const MAX_TEXT: usize = 4 * 1024 * 1024;

/// What became of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its kind.
    pub what: What,
    /// Its name.
    pub name: String,
    /// What was done.
    pub done: Done,
}

/// What was done with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// It was not there before.
    Created,
    /// It was otherwise before.
    Configured,
    /// It was so before.
    Unchanged,
}

/// Brings objects to what a text says: YAML documents or JSON, each an Exporter, Client, Lease or
/// ExporterAccessPolicy, or a List of such. All is checked before anything changes, and changed in one
/// commit. Objects that the text does not mention stay as they are, and so do the status, the uid and
/// the time of creation of those that it mentions: those of new objects are new. The answers are in the
/// order of the text.
///
/// A lease that is new is asked for as its `clientRef` would; one that is there may only change its
/// times and its client, by the rules of clients, and ends with `release: true`.
///
/// # Errors
/// INVALID_ARGUMENT or FAILED_PRECONDITION, with the object and the field, and nothing changed;
/// INTERNAL: it cannot be kept.
pub async fn apply(engine: &Engine, text: &str) -> Result<Vec<Applied>, Status> {
    if text.len() > MAX_TEXT {
        let text = format!("the text has more than {MAX_TEXT} bytes: apply it in parts");
        return Err(Status::invalid_argument(text));
    }
    let objects = read_objects(text).map_err(wrong)?;
    if objects.is_empty() {
        return Err(Status::invalid_argument("there is no object in the text"));
    }
    let namespace = engine.namespace();
    let mut seen = HashSet::new();
    for object in &objects {
        let (what, meta) = head(object);
        check(meta, namespace).map_err(|status| about(&place(object), &status))?;
        if !seen.insert((what, meta.name.as_str())) {
            let text = format!("{} is in the text twice", place(object));
            return Err(Status::invalid_argument(text));
        }
    }
    let plan = engine.change(|world, now| plan(world, &objects, now));
    plan.await
}

/// What is to change for objects that are in order each for itself.
#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
fn plan(
    world: &World,
    objects: &[Object],
    now: SystemTime,
) -> Result<(Vec<Applied>, Vec<Change>), Status> {
    // Everybody waits meanwhile: there is a lab of its own only for an object that comes after a change.
    let mut next = Cow::Borrowed(world);
    let (mut done, mut changes) = (Vec::new(), Vec::new());
    // Leases name clients, which may come later in the text.
    let mut order: Vec<_> = objects.iter().enumerate().collect();
    order.sort_by_key(|(_, object)| matches!(object, Object::Lease(_)));
    let mut applied = 0;
    for (at, object) in order {
        for change in changes.get(applied..).unwrap_or_default() {
            Change::clone(change).apply(next.to_mut());
        }
        applied = changes.len();
        let (what, meta) = head(object);
        let wanted = match object {
            Object::Client(client) => standing::client(&next, client, now),
            Object::Exporter(exporter) => standing::exporter(&next, exporter, now),
            Object::ExporterAccessPolicy(policy) => standing::policy(&next, policy, now),
            Object::Lease(lease) => lease::lease(&next, lease, now),
        };
        let (is, change) = wanted.map_err(|status| about(&place(object), &status))?;
        let name = meta.name.clone();
        done.push((
            at,
            Applied {
                what,
                name,
                done: is,
            },
        ));
        changes.extend(change);
    }
    done.sort_by_key(|(at, _)| *at);
    let done = done.into_iter().map(|(_, applied)| applied);
    Ok((done.collect(), changes))
}

/// What becomes of an object, and the change for it.
type Planned = Result<(Done, Option<Change>), Status>;

/// From what there is, if anything, to what is wanted.
fn change<T: PartialEq>(
    known: Option<&T>,
    wanted: T,
    change: impl FnOnce(T) -> Change,
) -> (Done, Option<Change>) {
    match known {
        Some(known) if *known == wanted => (Done::Unchanged, None),
        Some(_) => (Done::Configured, Some(change(wanted))),
        None => (Done::Created, Some(change(wanted))),
    }
}

fn head(object: &Object) -> (What, &ObjectMeta) {
    match object {
        Object::Client(one) => (What::Client, &one.metadata),
        Object::Exporter(one) => (What::Exporter, &one.metadata),
        Object::Lease(one) => (What::Lease, &one.metadata),
        Object::ExporterAccessPolicy(one) => (What::Policy, &one.metadata),
    }
}

/// Kind and name, by which people find it in their text.
fn place(object: &Object) -> String {
    let (what, meta) = head(object);
    let name: String = meta.name.chars().take(QUOTED).collect();
    format!("{} {name:?}", what.object())
}

#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
fn check(meta: &ObjectMeta, namespace: &str) -> Result<(), Status> {
    check_name(&meta.name).map_err(|status| about("metadata.name", &status))?;
    let other = meta.namespace.as_deref().filter(|own| *own != namespace);
    match other {
        None => Ok(()),
        Some(other) => {
            let other: String = other.chars().take(QUOTED).collect();
            Err(Status::invalid_argument(format!(
                "metadata.namespace: it is {other:?}, and this lab has the one namespace \
                 {namespace:?}: write that, or leave the field out"
            )))
        }
    }
}

fn wrong(error: ReadError) -> Status {
    Status::invalid_argument(error.to_string())
}
