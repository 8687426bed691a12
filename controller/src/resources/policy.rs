//! The object of an access policy.

use std::time::SystemTime;

use serde::Deserialize;

use super::{
    Detail, GoDuration, Lab, LabelSelector, Node, ObjectMeta, ReadError, Row, age,
    node::{ToNode, map, unless_empty},
    object::Kind,
};
use crate::{
    model::{self, Labels, Rule},
    selector::Selector,
};

/// Which clients may have which exporters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExporterAccessPolicy {
    /// Its name.
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: ExporterAccessPolicySpec,
    /// Nothing is told of it; what a cluster may have said is kept.
    pub status: Option<Node>,
}

/// What an access policy says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExporterAccessPolicySpec {
    /// Whom it is about.
    #[serde(default)]
    pub exporter_selector: LabelSelector,
    /// Who may have them, and how.
    #[serde(default)]
    pub policies: Vec<Policy>,
}

/// One way to be admitted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Clients; one of them must match.
    #[serde(default)]
    pub from: Vec<PolicySource>,
    /// Longer leases are not admitted by it.
    pub maximum_duration: Option<GoDuration>,
    /// Higher first.
    #[serde(default)]
    pub priority: i64,
    /// Comes last, and alone it is refused.
    #[serde(default)]
    pub spot_access: bool,
}

/// Clients that are admitted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicySource {
    /// Their labels.
    #[serde(default)]
    pub client_selector: LabelSelector,
}

impl ExporterAccessPolicy {
    /// The object of a policy of a lab.
    pub fn from_model(name: &str, policy: &model::AccessPolicy, lab: &Lab<'_>) -> Self {
        let rule = |rule: &Rule| Policy {
            description: rule.description.clone(),
            from: rule
                .from
                .iter()
                .map(|clients| PolicySource {
                    client_selector: clients.into(),
                })
                .collect(),
            maximum_duration: rule.maximum_duration.map(GoDuration),
            priority: rule.priority,
            spot_access: rule.spot,
        };
        Self {
            metadata: ObjectMeta::of(name, policy.uid, policy.created, Labels::new(), lab),
            spec: ExporterAccessPolicySpec {
                exporter_selector: (&policy.exporters).into(),
                policies: policy.rules.iter().map(rule).collect(),
            },
            status: None,
        }
    }

    /// The policy of an object.
    ///
    /// # Errors
    /// A selector or the uid makes no sense.
    pub fn to_model(&self, now: SystemTime) -> Result<model::AccessPolicy, ReadError> {
        let in_spec = |error: ReadError| error.under("spec");
        let exporters = Selector::try_from(&self.spec.exporter_selector)
            .map_err(|error| in_spec(error.under("exporterSelector")))?;
        let mut rules = Vec::new();
        for (at, policy) in self.spec.policies.iter().enumerate() {
            let rule = policy.rule();
            rules.push(rule.map_err(|error| in_spec(error.at(at).under("policies")))?);
        }
        Ok(model::AccessPolicy {
            uid: self.metadata.uid()?,
            created: self.metadata.created(now),
            exporters,
            rules,
        })
    }
}

impl Policy {
    fn rule(&self) -> Result<Rule, ReadError> {
        let mut from = Vec::new();
        for (at, source) in self.from.iter().enumerate() {
            let clients = Selector::try_from(&source.client_selector);
            from.push(clients.map_err(|error| error.under("clientSelector").at(at).under("from"))?);
        }
        Ok(Rule {
            description: self.description.clone(),
            priority: self.priority,
            from,
            maximum_duration: self.maximum_duration.map(|duration| duration.0),
            spot: self.spot_access,
        })
    }
}

impl Kind for ExporterAccessPolicy {
    const KIND: &'static str = "ExporterAccessPolicy";

    fn parts(&self) -> [Option<Node>; 3] {
        [
            self.metadata.to_node(),
            self.spec.to_node(),
            self.status.to_node(),
        ]
    }
}

impl ToNode for ExporterAccessPolicySpec {
    fn to_node(&self) -> Option<Node> {
        Some(map([
            ("exporterSelector", self.exporter_selector.to_node()),
            ("policies", self.policies.to_node()),
        ]))
    }
}

impl ToNode for Policy {
    fn to_node(&self) -> Option<Node> {
        let described = Some(&self.description).filter(|text| !text.is_empty());
        Some(map([
            ("description", described.and_then(|text| text.to_node())),
            ("from", unless_empty(&self.from)),
            ("maximumDuration", self.maximum_duration.to_node()),
            ("priority", self.priority.to_node()),
            ("spotAccess", self.spot_access.to_node()),
        ]))
    }
}

impl ToNode for PolicySource {
    fn to_node(&self) -> Option<Node> {
        Some(map([("clientSelector", self.client_selector.to_node())]))
    }
}

impl Row for ExporterAccessPolicy {
    fn full_name(&self) -> String {
        format!(
            "exporteraccesspolicy.jumpstarter.dev/{}",
            self.metadata.name
        )
    }

    fn columns(_: Detail) -> Vec<&'static str> {
        vec!["NAME", "POLICIES", "AGE"]
    }

    fn rows(&self, _: Detail, now: SystemTime) -> Vec<Vec<String>> {
        vec![vec![
            self.metadata.name.clone(),
            self.spec.policies.len().to_string(),
            age::since(self.metadata.creation_timestamp, now),
        ]]
    }
}
