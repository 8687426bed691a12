//! What stands in every object: its metadata, and references to others.

use std::time::SystemTime;

use serde::Deserialize;
use uuid::Uuid;

use super::{
    Node, ReadError, Timestamp,
    node::{ToNode, map, unless_empty},
};
use crate::{model::Labels, selector};

/// Where objects come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lab<'a> {
    /// The one namespace.
    pub namespace: &'a str,
    /// Where clients and exporters find the controller, `HOST:PORT`.
    pub endpoint: &'a str,
}

/// Name and properties of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectMeta {
    /// For tools.
    #[serde(default)]
    pub annotations: Labels,
    /// When it was created.
    pub creation_timestamp: Option<Timestamp>,
    /// How long its deletion may take.
    pub deletion_grace_period_seconds: Option<i64>,
    /// When it is to be gone.
    pub deletion_timestamp: Option<Timestamp>,
    /// Who has to agree to its deletion.
    #[serde(default)]
    pub finalizers: Vec<String>,
    /// Its version, of what is wanted.
    pub generation: Option<i64>,
    /// For selectors.
    #[serde(default)]
    pub labels: Labels,
    /// Which tool wrote which field.
    #[serde(default)]
    pub managed_fields: Vec<Node>,
    /// Unique in its kind.
    pub name: String,
    /// That of the lab when there is none.
    pub namespace: Option<String>,
    /// Objects with which it goes.
    #[serde(default)]
    pub owner_references: Vec<Node>,
    /// Its version, of everything.
    pub resource_version: Option<String>,
    /// Where it was once served.
    pub self_link: Option<String>,
    /// Unique for ever.
    pub uid: Option<String>,
}

impl ObjectMeta {
    /// That of an object of a lab.
    pub(super) fn of(
        name: &str,
        uid: Uuid,
        created: SystemTime,
        labels: Labels,
        lab: &Lab<'_>,
    ) -> Self {
        Self {
            creation_timestamp: Some(created.into()),
            labels,
            name: name.to_owned(),
            namespace: Some(lab.namespace.to_owned()),
            uid: Some(uid.to_string()),
            ..Self::default()
        }
    }

    /// The id, a new one when there is none.
    pub(super) fn uid(&self) -> Result<Uuid, ReadError> {
        let Some(uid) = &self.uid else {
            return Ok(Uuid::now_v7());
        };
        Uuid::parse_str(uid).map_err(|error| {
            let text = format!("`{uid}` is no UUID: {error}");
            ReadError::new(text).under("uid").under("metadata")
        })
    }

    /// When it was created: now, when it was not yet.
    pub(super) fn created(&self, now: SystemTime) -> SystemTime {
        self.creation_timestamp.map_or(now, SystemTime::from)
    }

    /// The labels, if Kubernetes would take them.
    pub(super) fn labels(&self) -> Result<Labels, ReadError> {
        checked(&self.labels).map_err(|error| error.under("labels").under("metadata"))
    }
}

/// Labels or tags that Kubernetes would take.
pub(crate) fn checked(labels: &Labels) -> Result<Labels, ReadError> {
    let wrong =
        |key: &str, error: selector::SelectorError| ReadError::new(error.to_string()).under(key);
    for (key, value) in labels {
        selector::key(key).map_err(|error| wrong(key, error))?;
        selector::value(value).map_err(|error| wrong(key, error))?;
    }
    Ok(labels.clone())
}

impl ToNode for ObjectMeta {
    fn to_node(&self) -> Option<Node> {
        Some(map([
            ("annotations", unless_empty(&self.annotations)),
            ("creationTimestamp", self.creation_timestamp.to_node()),
            (
                "deletionGracePeriodSeconds",
                self.deletion_grace_period_seconds.to_node(),
            ),
            ("deletionTimestamp", self.deletion_timestamp.to_node()),
            ("finalizers", unless_empty(&self.finalizers)),
            ("generation", self.generation.to_node()),
            ("labels", unless_empty(&self.labels)),
            ("managedFields", unless_empty(&self.managed_fields)),
            ("name", self.name.to_node()),
            ("namespace", self.namespace.to_node()),
            ("ownerReferences", unless_empty(&self.owner_references)),
            ("resourceVersion", self.resource_version.to_node()),
            ("selfLink", self.self_link.to_node()),
            ("uid", self.uid.to_node()),
        ]))
    }
}

/// The name of another object.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectReference {
    /// Its name.
    pub name: String,
}

impl ObjectReference {
    /// To the object of this name.
    pub fn to(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}

impl ToNode for ObjectReference {
    fn to_node(&self) -> Option<Node> {
        Some(map([("name", self.name.to_node())]))
    }
}
