//! The object of a lease.

use std::time::SystemTime;

use serde::Deserialize;

use super::{
    Condition, Detail, GoDuration, LabelSelector, Node, ObjectMeta, ObjectReference, Row,
    Timestamp, age,
    node::{ToNode, map, unless_empty},
    object::Kind,
    table,
};
use crate::model::Labels;

/// The exclusive right of a client to an exporter for a time.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Lease {
    /// Its name.
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: LeaseSpec,
    /// What is.
    pub status: Option<LeaseStatus>,
}

/// What is wanted of a lease.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeaseSpec {
    /// A disabled exporter will do.
    #[serde(default)]
    pub allow_disabled: bool,
    /// Not before.
    pub begin_time: Option<Timestamp>,
    /// Who holds or wants it.
    pub client_ref: ObjectReference,
    /// For the exporter.
    #[serde(default)]
    pub context: Labels,
    /// How long.
    pub duration: Option<GoDuration>,
    /// Not after.
    pub end_time: Option<Timestamp>,
    /// The one exporter that is wanted.
    pub exporter_ref: Option<ObjectReference>,
    /// It is to end now.
    #[serde(default)]
    pub release: bool,
    /// What the exporter must be like.
    #[serde(default)]
    pub selector: LabelSelector,
    /// For people.
    #[serde(default)]
    pub tags: Labels,
}

/// How a lease is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeaseStatus {
    /// Since when it is held.
    pub begin_time: Option<Timestamp>,
    /// What is told of it; the last one counts.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// When it ended.
    pub end_time: Option<Timestamp>,
    /// It is over.
    #[serde(default)]
    pub ended: bool,
    /// The exporter that it holds or held.
    pub exporter_ref: Option<ObjectReference>,
    /// What the policy gave, higher first.
    #[serde(default)]
    pub priority: i64,
    /// It gives way to others.
    #[serde(default)]
    pub spot_access: bool,
}

impl Kind for Lease {
    const KIND: &'static str = "Lease";

    fn parts(&self) -> [Option<Node>; 3] {
        [
            self.metadata.to_node(),
            self.spec.to_node(),
            self.status.to_node(),
        ]
    }
}

/// A flag that is only written when it is set.
fn flag(is: bool) -> Option<Node> {
    is.then_some(Node::Bool(true))
}

impl ToNode for LeaseSpec {
    fn to_node(&self) -> Option<Node> {
        Some(map([
            ("allowDisabled", flag(self.allow_disabled)),
            ("beginTime", self.begin_time.to_node()),
            ("clientRef", self.client_ref.to_node()),
            ("context", unless_empty(&self.context)),
            ("duration", self.duration.to_node()),
            ("endTime", self.end_time.to_node()),
            ("exporterRef", self.exporter_ref.to_node()),
            ("release", flag(self.release)),
            ("selector", self.selector.to_node()),
            ("tags", unless_empty(&self.tags)),
        ]))
    }
}

impl ToNode for LeaseStatus {
    fn to_node(&self) -> Option<Node> {
        let priority = Some(self.priority).filter(|priority| *priority != 0);
        Some(map([
            ("beginTime", self.begin_time.to_node()),
            // The Python package needs them, also when there are none.
            ("conditions", self.conditions.to_node()),
            ("endTime", self.end_time.to_node()),
            ("ended", self.ended.to_node()),
            ("exporterRef", self.exporter_ref.to_node()),
            ("priority", priority.to_node()),
            ("spotAccess", flag(self.spot_access)),
        ]))
    }
}

impl Row for Lease {
    fn full_name(&self) -> String {
        format!("lease.jumpstarter.dev/{}", self.metadata.name)
    }

    fn columns(_: Detail) -> Vec<&'static str> {
        vec![
            "NAME", "CLIENT", "SELECTOR", "EXPORTER", "DURATION", "STATUS", "REASON", "BEGIN",
            "END", "AGE",
        ]
    }

    fn rows(&self, _: Detail, now: SystemTime) -> Vec<Vec<String>> {
        let text = |time: Option<Timestamp>| time.map_or_else(String::new, |t| t.to_string());
        let status = self.status.clone().unwrap_or_default();
        let selector = match table::labels(&self.spec.selector.match_labels) {
            none if none.is_empty() => "*".into(),
            labels => labels,
        };
        let duration = self.spec.duration.map(|duration| duration.to_string());
        let state = if status.ended { "Ended" } else { "InProgress" };
        vec![vec![
            self.metadata.name.clone(),
            self.spec.client_ref.name.clone(),
            selector,
            status
                .exporter_ref
                .as_ref()
                .map(|to| to.name.clone())
                .unwrap_or_default(),
            duration.unwrap_or_default(),
            state.into(),
            reason(status.conditions.last()),
            text(status.begin_time),
            text(status.end_time),
            age::since(self.metadata.creation_timestamp, now),
        ]]
    }
}

/// The last condition in one word.
fn reason(last: Option<&Condition>) -> String {
    let Some(last) = last else {
        return "Unknown".into();
    };
    match (last.reason.as_str(), last.status.as_str()) {
        ("Ready", "True") | ("Expired", "True") => last.reason.clone(),
        ("Ready", _) => "Waiting".into(),
        ("Expired", _) => "Complete".into(),
        (other, _) => other.into(),
    }
}
