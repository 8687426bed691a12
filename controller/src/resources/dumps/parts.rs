//! The parts of dumps that are Kubernetes' own: what is not there is left out, keys are in
//! alphabetical order.

use serde::Deserialize;

use super::super::{
    Node, Pairs,
    node::{ToNode, map},
};

/// Name and properties of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "they are those of Kubernetes, and as they came"
)]
pub struct Metadata {
    pub annotations: Option<Pairs>,
    pub creation_timestamp: Option<String>,
    pub deletion_grace_period_seconds: Option<i64>,
    pub deletion_timestamp: Option<String>,
    pub finalizers: Option<Vec<String>>,
    pub generate_name: Option<String>,
    pub generation: Option<i64>,
    pub labels: Option<Pairs>,
    pub managed_fields: Option<Vec<Node>>,
    pub name: Option<String>,
    pub namespace: Option<String>,
    pub owner_references: Option<Vec<Node>>,
    pub resource_version: Option<String>,
    pub self_link: Option<String>,
    pub uid: Option<String>,
}

impl ToNode for Metadata {
    fn to_node(&self) -> Option<Node> {
        Some(map([
            ("annotations", self.annotations.to_node()),
            ("creationTimestamp", self.creation_timestamp.to_node()),
            (
                "deletionGracePeriodSeconds",
                self.deletion_grace_period_seconds.to_node(),
            ),
            ("deletionTimestamp", self.deletion_timestamp.to_node()),
            ("finalizers", self.finalizers.to_node()),
            ("generateName", self.generate_name.to_node()),
            ("generation", self.generation.to_node()),
            ("labels", self.labels.to_node()),
            ("managedFields", self.managed_fields.to_node()),
            ("name", self.name.to_node()),
            ("namespace", self.namespace.to_node()),
            ("ownerReferences", self.owner_references.to_node()),
            ("resourceVersion", self.resource_version.to_node()),
            ("selfLink", self.self_link.to_node()),
            ("uid", self.uid.to_node()),
        ]))
    }
}

/// A reference to another object; in this package's objects it has a name only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "they are those of Kubernetes, and as they came"
)]
pub struct Reference {
    pub api_version: Option<String>,
    pub field_path: Option<String>,
    pub kind: Option<String>,
    pub name: Option<String>,
    pub namespace: Option<String>,
    pub resource_version: Option<String>,
    pub uid: Option<String>,
}

impl Reference {
    /// To the object of this name.
    pub fn to(name: impl Into<String>) -> Self {
        Self {
            name: Some(name.into()),
            ..Self::default()
        }
    }
}

impl ToNode for Reference {
    fn to_node(&self) -> Option<Node> {
        Some(map([
            ("apiVersion", self.api_version.to_node()),
            ("fieldPath", self.field_path.to_node()),
            ("kind", self.kind.to_node()),
            ("name", self.name.to_node()),
            ("namespace", self.namespace.to_node()),
            ("resourceVersion", self.resource_version.to_node()),
            ("uid", self.uid.to_node()),
        ]))
    }
}

/// What is told of a lease.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "they are those of Kubernetes, and as they came"
)]
pub struct DumpCondition {
    pub last_transition_time: String,
    pub message: String,
    pub observed_generation: Option<i64>,
    pub reason: String,
    pub status: String,
    #[serde(rename = "type")]
    pub kind: String,
}

impl ToNode for DumpCondition {
    fn to_node(&self) -> Option<Node> {
        Some(map([
            ("lastTransitionTime", self.last_transition_time.to_node()),
            ("message", self.message.to_node()),
            ("observedGeneration", self.observed_generation.to_node()),
            ("reason", self.reason.to_node()),
            ("status", self.status.to_node()),
            ("type", self.kind.to_node()),
        ]))
    }
}
