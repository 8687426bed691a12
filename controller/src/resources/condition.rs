//! What is told of an object beside its fields.

use serde::Deserialize;

use super::{
    Node, ReadError, Timestamp,
    node::{ToNode, map},
};
use crate::model::{self, ConditionKind};

/// One thing that is so, or is not.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Condition {
    /// Since when.
    pub last_transition_time: Timestamp,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// Of which generation of the object.
    pub observed_generation: Option<i64>,
    /// One word.
    #[serde(default)]
    pub reason: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: String,
}

impl From<&model::Condition> for Condition {
    fn from(condition: &model::Condition) -> Self {
        Self {
            last_transition_time: condition.since.into(),
            message: condition.message.clone(),
            observed_generation: None,
            reason: condition.reason.clone(),
            status: status(condition.status).to_owned(),
            kind: kind(condition.kind).to_owned(),
        }
    }
}

impl TryFrom<&Condition> for model::Condition {
    type Error = ReadError;

    fn try_from(condition: &Condition) -> Result<Self, ReadError> {
        let kinds = [
            ConditionKind::Pending,
            ConditionKind::Ready,
            ConditionKind::Unsatisfiable,
            ConditionKind::Invalid,
        ];
        let known = kinds
            .into_iter()
            .find(|known| kind(*known) == condition.kind);
        let known = known.ok_or_else(|| {
            let names = kinds.map(kind);
            let hint = super::de::hint(&condition.kind, &names);
            ReadError::new(format!("unknown value `{}`: {hint}", condition.kind)).under("type")
        })?;
        Ok(Self {
            kind: known,
            status: condition.status == status(true),
            reason: condition.reason.clone(),
            message: condition.message.clone(),
            since: condition.last_transition_time.into(),
        })
    }
}

/// A flag in the words of conditions.
pub(super) fn status(is: bool) -> &'static str {
    if is { "True" } else { "False" }
}

fn kind(kind: ConditionKind) -> &'static str {
    match kind {
        ConditionKind::Pending => "Pending",
        ConditionKind::Ready => "Ready",
        ConditionKind::Unsatisfiable => "Unsatisfiable",
        ConditionKind::Invalid => "Invalid",
    }
}

impl ToNode for Condition {
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
