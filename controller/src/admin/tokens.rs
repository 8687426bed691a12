//! Clients and exporters come to be, and get their tokens.

use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::{
    Engine, Issued, Kind, Status,
    refused::{check_labels, not_found},
};
use crate::{
    auth::Subject,
    model::{Client, Exporter, Labels, Presence, World},
    names,
    store::Change,
};

/// Whose tokens are good: those of this uid that were not issued before this moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Good {
    uid: Uuid,
    from: SystemTime,
}

/// A new client or exporter, and its first token. Exporters need at least one label, as with
/// Jumpstarter's own administration; clients need none.
///
/// # Errors
/// INVALID_ARGUMENT: the name or a label is none; ALREADY_EXISTS; INTERNAL: it cannot be kept.
pub async fn create(
    engine: &Engine,
    kind: Kind,
    name: &str,
    labels: Labels,
) -> Result<Issued, Status> {
    check_name(name)?;
    check_labels(&labels)?;
    if kind == Kind::Exporter && labels.is_empty() {
        return Err(Status::invalid_argument(
            "an exporter needs at least one label, by which leases ask for it, such as `board=rpi4`",
        ));
    }
    let plan = engine.change(|world, now| {
        if good(world, kind, name).is_some() {
            let namespace = engine.namespace();
            let text = format!("{kind} {namespace}/{name} already exists");
            return Err(Status::already_exists(text));
        }
        let (good, change) = fresh(kind, name, labels, now);
        Ok((good, vec![change]))
    });
    let good = plan.await?;
    sign(engine, kind, name, good)
}

/// A new token; those of before are no good from now on.
///
/// # Errors
/// NOT_FOUND, with the nearest name; INTERNAL: it cannot be kept.
pub async fn rotate(engine: &Engine, kind: Kind, name: &str) -> Result<Issued, Status> {
    let plan = engine.change(|world, now| {
        // A clock that went back must not leave the tokens good that were issued before it did.
        let next = |from: SystemTime| now.max(from + Duration::from_nanos(1));
        let client = world.clients.get(name).filter(|_| kind == Kind::Client);
        let exporter = world.exporters.get(name);
        let exporter = exporter.filter(|_| kind == Kind::Exporter);
        let (uid, from, change) = match (client.cloned(), exporter.cloned()) {
            (Some(mut one), _) => {
                one.tokens_from = next(one.tokens_from);
                let (uid, from) = (one.uid, one.tokens_from);
                (uid, from, Change::Client(name.to_owned(), Some(one)))
            }
            (_, Some(mut one)) => {
                one.tokens_from = next(one.tokens_from);
                let (uid, from) = (one.uid, one.tokens_from);
                (uid, from, Change::Exporter(name.to_owned(), Some(one)))
            }
            _ => return Err(not_found(world, engine.namespace(), kind.into(), name)),
        };
        Ok((Good { uid, from }, vec![change]))
    });
    let good = plan.await?;
    sign(engine, kind, name, good)
}

/// One more token; those of before stay good until their end. It has the shape of all that gives tokens.
#[cfg(test)]
pub(crate) async fn issue(engine: &Engine, kind: Kind, name: &str) -> Result<Issued, Status> {
    let good = engine.read(|world| {
        let missing = || not_found(world, engine.namespace(), kind.into(), name);
        good(world, kind, name).ok_or_else(missing)
    })?;
    sign(engine, kind, name, good)
}

/// A token for the lab's own client, which is made when it is missing.
///
/// # Errors
/// INVALID_ARGUMENT: the name is none; INTERNAL: it cannot be kept.
pub async fn own_client(engine: &Engine, name: &str) -> Result<Issued, Status> {
    check_name(name)?;
    let kind = Kind::Client;
    let plan = engine.change(|world, now| match good(world, kind, name) {
        Some(good) => Ok((good, Vec::new())),
        None => {
            let (good, change) = fresh(kind, name, Labels::new(), now);
            Ok((good, vec![change]))
        }
    });
    let good = plan.await?;
    sign(engine, kind, name, good)
}

/// An exporter that nobody has seen yet.
pub(super) fn new_exporter(labels: Labels, now: SystemTime) -> Exporter {
    Exporter {
        uid: Uuid::now_v7(),
        labels,
        created: now,
        tokens_from: now,
        enabled: true,
        held: None,
        hosted: false,
        devices: Vec::new(),
        presence: Presence::default(),
    }
}

/// A client without leases.
pub(super) fn new_client(labels: Labels, now: SystemTime) -> Client {
    Client {
        uid: Uuid::now_v7(),
        labels,
        created: now,
        tokens_from: now,
    }
}

#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
pub(super) fn check_name(name: &str) -> Result<(), Status> {
    names::check(name).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// Makes a token.
#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
pub(super) fn sign(engine: &Engine, kind: Kind, name: &str, good: Good) -> Result<Issued, Status> {
    let namespace = engine.namespace().to_owned();
    let subject = Subject {
        kind,
        namespace: namespace.clone(),
        name: name.to_owned(),
        uid: good.uid,
    };
    let issued = engine
        .tokens()
        .issue(&subject, good.from, SystemTime::now());
    let issued = issued.map_err(|error| {
        tracing::error!(%error, "A token cannot be made.");
        Status::internal("the controller cannot make tokens; its log has the reason")
    })?;
    Ok(Issued {
        kind,
        namespace,
        name: subject.name,
        token: issued.token,
        expires: issued.expires,
    })
}

impl From<&Client> for Good {
    fn from(one: &Client) -> Self {
        Self {
            uid: one.uid,
            from: one.tokens_from,
        }
    }
}

impl From<&Exporter> for Good {
    fn from(one: &Exporter) -> Self {
        Self {
            uid: one.uid,
            from: one.tokens_from,
        }
    }
}

fn good(world: &World, kind: Kind, name: &str) -> Option<Good> {
    match kind {
        Kind::Client => world.clients.get(name).map(Good::from),
        Kind::Exporter => world.exporters.get(name).map(Good::from),
    }
}

fn fresh(kind: Kind, name: &str, labels: Labels, now: SystemTime) -> (Good, Change) {
    let name = name.to_owned();
    match kind {
        Kind::Client => {
            let one = new_client(labels, now);
            ((&one).into(), Change::Client(name, Some(one)))
        }
        Kind::Exporter => {
            let one = new_exporter(labels, now);
            ((&one).into(), Change::Exporter(name, Some(one)))
        }
    }
}
