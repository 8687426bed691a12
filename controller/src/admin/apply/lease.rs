//! Leases: asked for, changed and released as their clients do it.

use std::time::SystemTime;

use tonic::Code;
use uuid::Uuid;

use super::{Done, Planned, Status, change, wrong};
use crate::{
    admin::refused::about,
    leases::{self, Limits, Refusal, Request, Update, WantedTimes},
    model::{self, End, World},
    resources::{GoDuration, Lease, LeaseSpec, Timestamp},
    selector::Selector,
    store::Change,
};

#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
pub(super) fn lease(world: &World, object: &Lease, now: SystemTime) -> Planned {
    let selector = Selector::try_from(&object.spec.selector)
        .map_err(|error| about("spec.selector", &wrong(error)))?;
    let name = &object.metadata.name;
    let known = world.leases.get(name);
    let wanted = match known {
        None => create(world, object, &selector, now)?,
        Some(known) => {
            check_fixed(known, &object.spec, &selector)?;
            match configured(world, name, known, &object.spec, now)? {
                Some(wanted) => wanted,
                None => return Ok((Done::Unchanged, None)),
            }
        }
    };
    Ok(change(known, wanted, |wanted| {
        Change::Lease(name.clone(), Some(wanted))
    }))
}

#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
fn create(
    world: &World,
    object: &Lease,
    selector: &Selector,
    now: SystemTime,
) -> Result<model::Lease, Status> {
    let (name, spec) = (&object.metadata.name, &object.spec);
    let ended = object.status.as_ref().is_some_and(|status| status.ended);
    if spec.release || ended {
        return Err(Status::failed_precondition(
            "it is over, and this lab has no lease of its name: to ask for a new one, leave out \
             `status` and `spec.release`",
        ));
    }
    let client = &spec.client_ref.name;
    if !world.clients.contains_key(client) {
        let text = format!("spec.clientRef.name: there is no client {client:?}");
        return Err(Status::failed_precondition(text));
    }
    let request = Request {
        id: name.clone(),
        // An empty one has a text that is none.
        selector: match selector.is_empty() {
            true => String::new(),
            false => selector.to_string(),
        },
        exporter: pinned(spec).map(str::to_owned),
        allow_disabled: spec.allow_disabled,
        times: WantedTimes {
            duration: spec.duration.and_then(duration),
            begin: spec.begin_time.map(timestamp),
            end: spec.end_time.map(timestamp),
        },
        tags: spec.tags.clone(),
        context: spec.context.clone(),
    };
    let limits = Limits::default();
    leases::create(world, &limits, client, &request, Uuid::now_v7(), now)
        .map(|created| created.lease)
        .map_err(|refusal| refused(&refusal, Code::InvalidArgument))
}

/// What is fixed at the creation of a lease must be so in its object too.
#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
fn check_fixed(known: &model::Lease, spec: &LeaseSpec, selector: &Selector) -> Result<(), Status> {
    let differing = [
        ("selector", known.selector != *selector),
        ("exporterRef", known.pinned.as_deref() != pinned(spec)),
        ("allowDisabled", known.allow_disabled != spec.allow_disabled),
        ("tags", known.tags != spec.tags),
        ("context", known.context != spec.context),
    ];
    match differing.iter().find(|(_, differs)| *differs) {
        None => Ok(()),
        Some((field, _)) => Err(Status::failed_precondition(format!(
            "spec.{field}: it is fixed since the lease was created: only `duration`, `beginTime`, \
             `endTime`, `clientRef` and `release` may change"
        ))),
    }
}

/// The lease as it is to be; none when it is so.
#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
fn configured(
    world: &World,
    name: &str,
    known: &model::Lease,
    spec: &LeaseSpec,
    now: SystemTime,
) -> Result<Option<model::Lease>, Status> {
    let precondition = |refusal| refused(&refusal, Code::FailedPrecondition);
    if spec.release {
        return leases::release_as_client(world, &known.client, name, now).map_err(precondition);
    }
    if known.over.as_ref().map(|over| over.how) == Some(End::Released) {
        return Err(Status::failed_precondition(
            "spec.release: it was released, and does not come back: ask for one of another name",
        ));
    }
    let client = &spec.client_ref.name;
    let update = Update {
        times: times(known, spec),
        client: Some(client.clone()).filter(|client| *client != known.client),
    };
    if update == Update::default() {
        return Ok(None);
    }
    let limits = Limits::default();
    let lease = leases::update(world, &limits, &known.client, name, &update);
    lease.map(Some).map_err(precondition)
}

/// The times of an object that is not as the lease is; none when it is. What the object does not say
/// stays; what it says as it is counts to the nanosecond, which its texts do not have.
fn times(known: &model::Lease, spec: &LeaseSpec) -> WantedTimes {
    let begin = spec.begin_time.map(|wanted| same_or(known.begin, wanted));
    let end = spec.end_time.map(|wanted| same_or(known.end, wanted));
    let length = spec.duration.map(|GoDuration(length)| length);
    let same = |wanted: Option<SystemTime>, known| wanted.is_none() || wanted == known;
    if same(begin, known.begin)
        && same(end, known.end)
        && (length.is_none() || length == known.duration)
    {
        return WantedTimes::default();
    }
    WantedTimes {
        duration: spec.duration.and_then(duration),
        begin: begin.map(Into::into),
        end: end.map(Into::into),
    }
}

fn same_or(known: Option<SystemTime>, wanted: Timestamp) -> SystemTime {
    let shown = |known: &SystemTime| Timestamp::from(*known) == wanted;
    known.filter(shown).unwrap_or_else(|| wanted.into())
}

fn pinned(spec: &LeaseSpec) -> Option<&str> {
    let name = spec.exporter_ref.as_ref().map(|to| to.name.as_str());
    name.filter(|name| !name.is_empty())
}

fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    SystemTime::from(time).into()
}

fn duration(GoDuration(length): GoDuration) -> Option<prost_types::Duration> {
    // It fits: the longest is 292 years.
    length.try_into().ok()
}

/// A refusal of the rules. Most of them reach clients of the lab as `UNKNOWN`, which is what their
/// programs know; here `code` is what that means.
fn refused(refusal: &Refusal, code: Code) -> Status {
    let code = match refusal.code() {
        Code::Unknown => code,
        other => other,
    };
    Status::new(code, format!("spec: {refusal}"))
}
