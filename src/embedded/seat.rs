//! How an exporter of this process registers with the controller of this process: as with any other,
//! with a token that is made when it is needed.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use rigd_controller::{
    auth::{Issued, Kind, Subject},
    engine::Engine,
    names, selector,
};

use super::Lab;
use crate::{
    config::{CaError, Endpoint, ExporterConfig, Problem, Secret},
    link::{Dialer, Identity},
};

/// How old a token gets: far below its lifetime, so that a daemon may run for years.
const RENEWED_AFTER: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What a link needs to register here.
pub(crate) struct Seat {
    /// The controller.
    pub(crate) endpoint: Endpoint,
    /// How it and its router are reached.
    pub(crate) dialer: Dialer,
    /// As whom.
    pub(crate) identity: Identity,
}

/// An exporter cannot register here, by a mistake of ours: what can be wrong with a file is found by
/// [`check`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum SeatError {
    /// The controller's own certificate.
    #[error("the certificate of the embedded controller cannot be trusted: {0}")]
    Ca(#[from] CaError),
    /// Its address.
    #[error("the embedded controller has no address: {0}")]
    Endpoint(#[from] crate::config::EndpointError),
    /// Name or namespace.
    #[error("the embedded controller cannot know the exporter: {0}")]
    Identity(#[from] crate::link::IdentityError),
}

/// What of a file does not go with the embedded controller of a namespace.
pub(crate) fn check(config: &ExporterConfig, namespace: &str) -> Vec<Problem> {
    let metadata = &config.metadata;
    let mut problems = Vec::new();
    let mut wrong = |text: String, help: Option<String>| {
        problems.push(Problem::new(text, metadata.span).maybe_help(help));
    };
    if let Err(error) = names::check(&metadata.name) {
        wrong(format!("metadata.name: {error}"), None);
    }
    if let Some(other) = metadata
        .namespace
        .as_deref()
        .filter(|own| *own != namespace)
    {
        wrong(
            format!(
                "metadata.namespace is `{other}`, and the embedded controller, with which an \
                 exporter without `endpoint` registers, has the namespace `{namespace}`"
            ),
            Some(format!(
                "leave `namespace` out, write `namespace: {namespace}`, or start rigd with \
                 --namespace {other}"
            )),
        );
    }
    for (key, value) in &config.labels {
        let label = selector::key(key).and_then(|_| selector::value(value));
        if let Err(error) = label {
            wrong(format!("labels: `{key}: {value}`: {error}"), None);
        }
    }
    problems
}

impl Lab {
    /// The place of an exporter that the controller hosts.
    ///
    /// # Errors
    /// See [`SeatError`].
    pub(crate) fn seat(&self, config: &ExporterConfig) -> Result<Seat, SeatError> {
        let endpoint = self.endpoint.parse()?;
        let dialer = Dialer::to_own(config, &self.ca_pem, self.near)?;
        let (engine, name) = (self.engine.clone(), config.metadata.name.clone());
        let kept = Mutex::new(None);
        let token = move || {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            token(&engine, &name, &mut kept)
        };
        let identity = Identity::issued(self.engine.namespace(), &config.metadata.name, token)?;
        Ok(Seat {
            endpoint,
            dialer,
            identity,
        })
    }
}

/// A token that the controller made, and for whom.
struct Kept {
    subject: Subject,
    tokens_from: SystemTime,
    made: SystemTime,
    token: Secret,
}

/// The token of this moment: a new one when the exporter was rotated or made anew, or the old one has
/// its age. None while there is no such exporter.
fn token(engine: &Engine, name: &str, kept: &mut Option<Kept>) -> Option<Secret> {
    let found = engine.read(|world| {
        let exporter = world.exporters.get(name)?;
        Some((exporter.uid, exporter.tokens_from))
    });
    let (uid, tokens_from) = found?;
    let subject = Subject {
        kind: Kind::Exporter,
        namespace: engine.namespace().to_owned(),
        name: name.to_owned(),
        uid,
    };
    let now = SystemTime::now();
    if let Some(kept) = kept {
        let age = now.duration_since(kept.made).unwrap_or_default();
        let same = kept.subject == subject && kept.tokens_from == tokens_from;
        if same && age < RENEWED_AFTER {
            return Some(kept.token.clone());
        }
    }
    let Issued { token, .. } = engine.tokens().issue(&subject, tokens_from, now).ok()?;
    let token = Secret::new(token.reveal());
    *kept = Some(Kept {
        subject,
        tokens_from,
        made: now,
        token: token.clone(),
    });
    Some(token)
}
