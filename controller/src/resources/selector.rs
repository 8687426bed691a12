//! Selectors as objects write them.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{
    Node, ReadError,
    node::{ToNode, map, unless_empty},
};
use crate::{
    model::Labels,
    selector::{self, Operator, Requirement, Selector},
};

/// Which labels are asked for; nothing asks for none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelSelector {
    /// Labels with these values.
    #[serde(default)]
    pub match_labels: Labels,
    /// Everything else.
    #[serde(default)]
    pub match_expressions: Vec<SelectorRequirement>,
}

/// What is asked of one label.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SelectorRequirement {
    /// Its key.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: SelectorOperator,
    /// For the first two.
    #[serde(default)]
    pub values: Vec<String>,
}

/// What may be asked of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum SelectorOperator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl From<&Selector> for LabelSelector {
    fn from(selector: &Selector) -> Self {
        let mut object = Self::default();
        for requirement in &selector.requirements {
            let key = requirement.key.clone();
            let (operator, values) = match &requirement.operator {
                Operator::Equals(value) => {
                    object.match_labels.insert(key, value.clone());
                    continue;
                }
                Operator::In(values) => (SelectorOperator::In, values.iter().cloned().collect()),
                Operator::NotIn(values) => {
                    (SelectorOperator::NotIn, values.iter().cloned().collect())
                }
                Operator::Exists => (SelectorOperator::Exists, Vec::new()),
                Operator::DoesNotExist => (SelectorOperator::DoesNotExist, Vec::new()),
            };
            object.match_expressions.push(SelectorRequirement {
                key,
                operator,
                values,
            });
        }
        object
    }
}

impl TryFrom<&LabelSelector> for Selector {
    type Error = ReadError;

    fn try_from(object: &LabelSelector) -> Result<Self, ReadError> {
        let labels = super::meta::checked(&object.match_labels);
        let labels = labels.map_err(|error| error.under("matchLabels"))?;
        let mut requirements: Vec<_> = labels
            .into_iter()
            .map(|(key, value)| Requirement {
                key,
                operator: Operator::Equals(value),
            })
            .collect();
        for (at, expression) in object.match_expressions.iter().enumerate() {
            let requirement = expression.requirement();
            requirements.push(requirement.map_err(|error| error.at(at).under("matchExpressions"))?);
        }
        Self::new(requirements).map_err(|error| ReadError::new(error.to_string()))
    }
}

impl SelectorRequirement {
    fn requirement(&self) -> Result<Requirement, ReadError> {
        let wrong = |error: selector::SelectorError| ReadError::new(error.to_string());
        let key = selector::key(&self.key).map_err(|error| wrong(error).under("key"))?;
        let mut values = BTreeSet::new();
        for value in &self.values {
            let value = selector::value(value).map_err(|error| wrong(error).under("values"))?;
            values.insert(value);
        }
        let operator = match (self.operator, values.is_empty()) {
            (SelectorOperator::In, false) => Operator::In(values),
            (SelectorOperator::NotIn, false) => Operator::NotIn(values),
            (SelectorOperator::Exists, true) => Operator::Exists,
            (SelectorOperator::DoesNotExist, true) => Operator::DoesNotExist,
            (operator, empty) => {
                let wrong = if empty {
                    "needs values"
                } else {
                    "takes no values"
                };
                let text = format!("the operator `{}` {wrong}", operator.name());
                return Err(ReadError::new(text).under("values"));
            }
        };
        Ok(Requirement { key, operator })
    }
}

impl SelectorOperator {
    fn name(self) -> &'static str {
        match self {
            Self::In => "In",
            Self::NotIn => "NotIn",
            Self::Exists => "Exists",
            Self::DoesNotExist => "DoesNotExist",
        }
    }
}

impl ToNode for LabelSelector {
    fn to_node(&self) -> Option<Node> {
        Some(map([
            ("matchExpressions", unless_empty(&self.match_expressions)),
            ("matchLabels", unless_empty(&self.match_labels)),
        ]))
    }
}

impl ToNode for SelectorRequirement {
    fn to_node(&self) -> Option<Node> {
        Some(map([
            ("key", self.key.to_node()),
            ("operator", self.operator.name().to_node()),
            ("values", unless_empty(&self.values)),
        ]))
    }
}
