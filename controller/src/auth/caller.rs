//! What a call says of its caller, and whether the lab knows that caller.

use std::time::SystemTime;

use tonic::{Status, metadata::MetadataMap};
use uuid::Uuid;

use super::{Identity, Kind, Refusal, Token};
use crate::model::World;

/// Longest name of an object (a DNS subdomain); longer ones exist nowhere.
const MAX_NAME: usize = 253;

/// Who a caller says it is, by the four keys that every call carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The proof.
    pub token: Token,
    /// `jumpstarter-kind`.
    pub kind: Kind,
    /// `jumpstarter-namespace`.
    pub namespace: String,
    /// `jumpstarter-name`.
    pub name: String,
}

/// Reads the four keys.
///
/// # Errors
/// The status for the client, when one is missing, there twice, or malformed.
// Callers hand the status on to tonic, whose own handlers return it by value too.
#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
pub fn metadata(map: &MetadataMap) -> Result<Claimed, Status> {
    Ok(read(map)?)
}

/// Reads the only key of a router call.
///
/// # Errors
/// UNAUTHENTICATED, when there is no token.
#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
pub fn stream_token(map: &MetadataMap) -> Result<Token, Status> {
    bearer(map).map_err(|refusal| {
        let what = match refusal {
            Refusal::ManyHeaders => "multiple authorization headers",
            Refusal::MissingHeader => "missing authorization header",
            _ => "malformed authorization header",
        };
        Refusal::NoStreamToken(what).into()
    })
}

fn read(map: &MetadataMap) -> Result<Claimed, Refusal> {
    let token = bearer(map)?;
    let namespace = one(map, "jumpstarter-namespace")?;
    let kind = match one(map, "jumpstarter-kind")?.as_str() {
        "Client" => Kind::Client,
        "Exporter" => Kind::Exporter,
        _ => return Err(Refusal::KindMismatch),
    };
    let name = match one(map, "jumpstarter-name") {
        Err(Refusal::MissingMetadata(_)) => return Err(Refusal::NameRequired),
        Ok(name) if name.is_empty() => return Err(Refusal::NameRequired),
        other => other?,
    };
    Ok(Claimed {
        token,
        kind,
        namespace,
        name,
    })
}

fn bearer(map: &MetadataMap) -> Result<Token, Refusal> {
    let mut all = map.get_all("authorization").iter();
    let value = all.next().ok_or(Refusal::MissingHeader)?;
    if all.next().is_some() {
        return Err(Refusal::ManyHeaders);
    }
    let text = value.to_str().map_err(|_| Refusal::MalformedHeader)?;
    match text.split_once(' ') {
        Some((scheme, token))
            if scheme.eq_ignore_ascii_case("bearer")
                && !token.is_empty()
                && !token.contains(' ') =>
        {
            Ok(Token::new(token))
        }
        _ => Err(Refusal::MalformedHeader),
    }
}

fn one(map: &MetadataMap, key: &'static str) -> Result<String, Refusal> {
    let mut all = map.get_all(key).iter();
    let value = all.next().ok_or(Refusal::MissingMetadata(key))?;
    if all.next().is_some() {
        return Err(Refusal::ManyMetadata(key));
    }
    match value.to_str() {
        Ok(text) if text.len() <= MAX_NAME => Ok(text.to_owned()),
        _ => Err(Refusal::MalformedMetadata(key)),
    }
}

/// [`super::Tokens::verify`] and [`admit`] in one.
#[cfg(test)]
pub(crate) fn authenticate(
    tokens: &super::Tokens,
    world: &World,
    namespace: &str,
    claimed: &Claimed,
    wanted: Kind,
    now: SystemTime,
) -> Result<Identity, Refusal> {
    let identity = tokens.verify(&claimed.token, now)?;
    admit(world, namespace, claimed, &identity, wanted)?;
    Ok(identity)
}

/// Whether the caller is the object that it claims to be, in the lab called `namespace`, for a call
/// that is for `wanted`.
///
/// # Errors
/// A token that was revoked, or whose object is gone, tells only about that object; any other one is
/// told whether the claimed object is missing or somebody else.
pub fn admit(
    world: &World,
    namespace: &str,
    claimed: &Claimed,
    identity: &Identity,
    wanted: Kind,
) -> Result<(), Refusal> {
    let subject = &identity.subject;
    let claims_itself = claimed.kind == subject.kind
        && claimed.namespace == subject.namespace
        && claimed.name == subject.name;
    let own = (subject.namespace == namespace)
        .then(|| find(world, subject.kind, &subject.name))
        .flatten();
    match own {
        Some((uid, from)) if uid == subject.uid && identity.issued >= from => {}
        Some((uid, _)) if uid == subject.uid => {
            return Err(Refusal::Unverified("oidc: token was revoked"));
        }
        Some(_) if claims_itself => return Err(not_yours(claimed)),
        None if claims_itself => return Err(not_found(claimed)),
        _ => return Err(Refusal::Unverified("oidc: token was revoked")),
    }
    if claimed.kind != wanted {
        return Err(Refusal::KindMismatch);
    }
    if claims_itself {
        return Ok(());
    }
    let exists =
        claimed.namespace == namespace && find(world, claimed.kind, &claimed.name).is_some();
    Err(if exists {
        not_yours(claimed)
    } else {
        not_found(claimed)
    })
}

fn find(world: &World, kind: Kind, name: &str) -> Option<(Uuid, SystemTime)> {
    match kind {
        Kind::Client => world
            .clients
            .get(name)
            .map(|one| (one.uid, one.tokens_from)),
        Kind::Exporter => world
            .exporters
            .get(name)
            .map(|one| (one.uid, one.tokens_from)),
    }
}

fn not_found(claimed: &Claimed) -> Refusal {
    Refusal::NotFound {
        kind: claimed.kind,
        namespace: claimed.namespace.clone(),
        name: claimed.name.clone(),
    }
}

fn not_yours(claimed: &Claimed) -> Refusal {
    Refusal::NotYours {
        kind: claimed.kind,
        namespace: claimed.namespace.clone(),
        name: claimed.name.clone(),
    }
}
