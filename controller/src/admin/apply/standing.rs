//! Objects that stay until they are deleted: clients, exporters and policies.
//!
//! What a text says of status, uid and creation is that of another lab or another time. It is not
//! taken over: tokens of a former client must not be good again because its object comes back.

use std::time::SystemTime;

use super::{Planned, Status, change, wrong};
use crate::{
    admin::tokens::{new_client, new_exporter},
    model::World,
    presence,
    resources::{Client, Exporter, ExporterAccessPolicy, ObjectMeta},
    store::Change,
};

#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
pub(super) fn client(world: &World, object: &Client, now: SystemTime) -> Planned {
    no_username(object.spec.username.as_deref())?;
    let read = Client {
        metadata: bare(&object.metadata),
        spec: object.spec.clone(),
        status: None,
    };
    let labels = read.to_model(now).map_err(wrong)?.labels;
    let name = &object.metadata.name;
    let known = world.clients.get(name);
    let mut wanted = match known {
        Some(known) => known.clone(),
        None => new_client(labels.clone(), now),
    };
    wanted.labels = labels;
    Ok(change(known, wanted, |wanted| {
        Change::Client(name.clone(), Some(wanted))
    }))
}

#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
pub(super) fn exporter(world: &World, object: &Exporter, now: SystemTime) -> Planned {
    no_username(object.spec.username.as_deref())?;
    let read = Exporter {
        metadata: bare(&object.metadata),
        spec: object.spec.clone(),
        status: None,
    };
    let read = read.to_model(now).map_err(wrong)?;
    let name = &object.metadata.name;
    let known = world.exporters.get(name);
    let mut wanted = match known {
        Some(known) => known.clone(),
        None => new_exporter(read.labels.clone(), now),
    };
    wanted.labels = presence::labelled(&wanted.labels, &read.labels);
    wanted.enabled = read.enabled;
    Ok(change(known, wanted, |wanted| {
        Change::Exporter(name.clone(), Some(wanted))
    }))
}

#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
pub(super) fn policy(world: &World, object: &ExporterAccessPolicy, now: SystemTime) -> Planned {
    let read = ExporterAccessPolicy {
        metadata: bare(&object.metadata),
        spec: object.spec.clone(),
        status: None,
    };
    let mut wanted = read.to_model(now).map_err(wrong)?;
    let name = &object.metadata.name;
    let known = world.policies.get(name);
    if let Some(known) = known {
        (wanted.uid, wanted.created) = (known.uid, known.created);
    }
    Ok(change(known, wanted, |wanted| {
        Change::Policy(name.clone(), Some(wanted))
    }))
}

/// Name and labels alone.
fn bare(meta: &ObjectMeta) -> ObjectMeta {
    ObjectMeta {
        name: meta.name.clone(),
        labels: meta.labels.clone(),
        ..ObjectMeta::default()
    }
}

#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
fn no_username(username: Option<&str>) -> Result<(), Status> {
    match username {
        None | Some("") => Ok(()),
        // Taken silently, it would look as if that user could log in.
        Some(_) => Err(Status::invalid_argument(
            "spec.username: this lab makes the tokens itself and asks no identity provider: leave \
             the field out",
        )),
    }
}
