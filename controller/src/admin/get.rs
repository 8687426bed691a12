//! What there is, as objects.

use std::{collections::BTreeMap, time::SystemTime};

use super::{Engine, Status, What, refused::not_found};
use crate::{
    api::client::filter,
    engine::serving,
    model::{self, Labels, World},
    resources::{self, Lab, Object},
    schedule,
    selector::Selector,
};

/// The objects of a kind in the order of their names, or those named in the order given, as far as
/// `selector` matches them; an empty one matches all. For leases it looks at the labels that
/// Jumpstarter's controller gives them, and at their tags. `endpoint` is where clients and exporters
/// find the controller, `HOST:PORT`.
///
/// # Errors
/// NOT_FOUND: one of the names, with the nearest one; INVALID_ARGUMENT: the selector is none.
#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
pub fn get(
    engine: &Engine,
    what: What,
    names: &[String],
    selector: &str,
    endpoint: &str,
) -> Result<Vec<Object>, Status> {
    let selector: Selector = selector.parse().map_err(|error| {
        let text = format!("selector: {error}");
        Status::invalid_argument(text)
    })?;
    let wanted = Wanted { names, selector };
    let lab = Lab {
        namespace: engine.namespace(),
        endpoint,
    };
    engine.read(|world| {
        let found = match what {
            What::Client => wanted.of(
                &world.clients,
                |one| one.labels.clone(),
                |name, one| Object::Client(resources::Client::from_model(name, one, &lab)),
            ),
            What::Exporter => {
                let serving = serving(world);
                wanted.of(
                    &world.exporters,
                    |one| one.labels.clone(),
                    |name, one| {
                        let lease = serving.get(name).map(|(lease, _)| *lease);
                        Object::Exporter(resources::Exporter::from_model(name, one, lease, &lab))
                    },
                )
            }
            What::Lease => wanted.of(&world.leases, labels, |name, one| {
                Object::Lease(lease(world, name, one, &lab, names))
            }),
            What::Policy => wanted.of(
                &world.policies,
                // They have none, but for a selector that asks for just that.
                |_| Labels::new(),
                |name, one| {
                    let policy = resources::ExporterAccessPolicy::from_model(name, one, &lab);
                    Object::ExporterAccessPolicy(policy)
                },
            ),
        };
        found.map_err(|missing| not_found(world, lab.namespace, what, missing))
    })
}

/// Which objects are asked for.
struct Wanted<'a> {
    names: &'a [String],
    selector: Selector,
}

impl<'a> Wanted<'a> {
    /// Those of them that there are; else the name that is missing.
    fn of<T>(
        &self,
        all: &BTreeMap<String, T>,
        labels: impl Fn(&T) -> Labels,
        object: impl Fn(&str, &T) -> Object,
    ) -> Result<Vec<Object>, &'a str> {
        let fits = |one: &T| self.selector.is_empty() || self.selector.matches(&labels(one));
        if self.names.is_empty() {
            let fitting = all.iter().filter(|(_, one)| fits(one));
            return Ok(fitting.map(|(name, one)| object(name, one)).collect());
        }
        let mut found = Vec::new();
        for name in self.names {
            let one = all.get(name).ok_or(name.as_str())?;
            if fits(one) {
                found.push(object(name, one));
            }
        }
        Ok(found)
    }
}

/// Those that Jumpstarter's controller gives a lease, and its tags under their own names.
fn labels(lease: &model::Lease) -> Labels {
    let mut all = lease.tags.clone();
    all.extend(filter::labels(lease));
    all
}

/// One that was asked for by name is told its place in the queue; for all of them, each would take a
/// look at the whole queue.
fn lease(
    world: &World,
    name: &str,
    lease: &model::Lease,
    lab: &Lab<'_>,
    names: &[String],
) -> resources::Lease {
    let mut object = resources::Lease::from_model(name, lease, lab);
    if names.len() == 1
        && let Some(status) = &mut object.status
    {
        let told = schedule::told(world, name, SystemTime::now());
        status.conditions = told.iter().map(resources::Condition::from).collect();
    }
    object
}
