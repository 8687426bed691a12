//! Label selectors: what a text or an object asks of labels.
//!
//! ```text
//!   a=1, b!=2, c in (x,y), d notin (z), e, !f
//! ```

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::model::Labels;

/// Longest name of a key and longest value, as Kubernetes has it.
const MAX_PART: usize = 63;
/// Longest prefix of a key: a DNS name.
const MAX_PREFIX: usize = 253;
/// Longest text that is read. A selector names a handful of labels.
const MAX_TEXT: usize = 16 * 1024;
/// As much of a wrong selector, key or value as an answer quotes.
const QUOTED: usize = 80;

/// Requirements that all must hold; none at all match everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Selector {
    /// In the order of their keys.
    pub requirements: Vec<Requirement>,
}

/// What is asked of one key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// What is asked of it.
    pub operator: Operator,
}

/// What may be asked of a label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Operator {
    /// It is there with this value: `matchLabels` of an object.
    Equals(String),
    /// It is there with one of these values.
    In(BTreeSet<String>),
    /// It is not there, or with none of these values.
    NotIn(BTreeSet<String>),
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

/// A text is no selector, or no part of a label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// It is no selector.
    #[error("unable to parse requirement: {0}")]
    Requirement(String),
    /// It is no key or no value of a label.
    #[error("{0}")]
    Label(String),
}

impl Selector {
    /// Requirements in their canonical order.
    ///
    /// # Errors
    /// A key is asked to have two values at once.
    pub fn new(requirements: impl IntoIterator<Item = Requirement>) -> Result<Self, SelectorError> {
        let mut all: Vec<Requirement> = Vec::new();
        for requirement in requirements {
            let same_key = all.iter_mut().filter(|known| known.key == requirement.key);
            let mut merged = false;
            for known in same_key {
                match (&mut known.operator, &requirement.operator) {
                    (Operator::Equals(one), Operator::Equals(other)) if one != other => {
                        let key = quoted(&requirement.key);
                        let text = format!("label '{key}' cannot be both '{one}' and '{other}'");
                        return Err(SelectorError::Requirement(text));
                    }
                    (Operator::NotIn(values), Operator::NotIn(more)) => {
                        values.extend(more.iter().cloned());
                        merged = true;
                    }
                    (one, other) if one == other => merged = true,
                    _ => {}
                }
            }
            if !merged {
                all.push(requirement);
            }
        }
        all.sort();
        Ok(Self { requirements: all })
    }

    /// Whether labels are as asked.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|r| r.matches(labels))
    }

    /// Asks for nothing.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The part that names one value for a key.
    pub fn equalities(&self) -> impl Iterator<Item = (&str, &str)> {
        self.requirements.iter().filter_map(|r| match &r.operator {
            Operator::Equals(value) => Some((r.key.as_str(), value.as_str())),
            _ => None,
        })
    }
}

impl Requirement {
    fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match &self.operator {
            Operator::Equals(wanted) => value == Some(wanted),
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

impl fmt::Display for Selector {
    /// The canonical text. That of the empty selector is `<none>`, as clients of the Kubernetes
    /// controller see it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("<none>");
        }
        for (at, requirement) in self.requirements.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let join = |values: &BTreeSet<String>| {
            let values: Vec<_> = values.iter().map(String::as_str).collect();
            values.join(",")
        };
        match &self.operator {
            Operator::Equals(value) => write!(f, "{key}={value}"),
            Operator::In(values) => write!(f, "{key} in ({})", join(values)),
            Operator::NotIn(values) => write!(f, "{key} notin ({})", join(values)),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
        }
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        if text.len() > MAX_TEXT {
            return Err(SelectorError::Requirement(format!(
                "more than {MAX_TEXT} bytes"
            )));
        }
        let text = text.trim();
        if text.is_empty() || text == "<none>" {
            return Ok(Self::default());
        }
        let parts = split(text)?.into_iter().map(requirement);
        Self::new(parts.collect::<Result<Vec<_>, _>>()?)
    }
}

/// At the commas outside of parentheses.
fn split(text: &str) -> Result<Vec<&str>, SelectorError> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_u32);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => {
                let less = depth.checked_sub(1);
                depth = less.ok_or_else(|| wrong("found ')' without '(' in", text))?;
            }
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if depth > 0 {
        return Err(wrong("missing ')' in", text));
    }
    parts.push(&text[start..]);
    Ok(parts)
}

fn wrong(what: &str, text: &str) -> SelectorError {
    SelectorError::Requirement(format!("{what} '{}'", quoted(text)))
}

fn requirement(text: &str) -> Result<Requirement, SelectorError> {
    let text = text.trim();
    let build = |key: &str, operator| {
        Ok(Requirement {
            key: self::key(key.trim()).map_err(in_selector)?,
            operator,
        })
    };
    if let Some(absent) = text.strip_prefix('!') {
        return build(absent, Operator::DoesNotExist);
    }
    if let Some((key, rest)) = text.split_once('(') {
        let values = rest
            .strip_suffix(')')
            .ok_or_else(|| wrong("text after ')' in", text))?;
        let values = values.split(',').map(wanted_value);
        let values = values.collect::<Result<BTreeSet<_>, _>>()?;
        let words: Vec<_> = key.split_whitespace().collect();
        return match words[..] {
            [key, "in"] => build(key, Operator::In(values)),
            [key, "notin"] => build(key, Operator::NotIn(values)),
            _ => Err(wrong(
                "values in parentheses follow `in` or `notin`, and not in",
                text,
            )),
        };
    }
    if let Some((key, unwanted)) = text.split_once("!=") {
        let unwanted = BTreeSet::from([wanted_value(unwanted)?]);
        return build(key, Operator::NotIn(unwanted));
    }
    if let Some((key, wanted)) = text.split_once('=') {
        let wanted = wanted.strip_prefix('=').unwrap_or(wanted);
        return build(key, Operator::Equals(wanted_value(wanted)?));
    }
    build(text, Operator::Exists)
}

fn wanted_value(text: &str) -> Result<String, SelectorError> {
    value(text.trim()).map_err(in_selector)
}

/// What is wrong with a label, of a selector that asks for it.
fn in_selector(error: SelectorError) -> SelectorError {
    match error {
        SelectorError::Label(text) => SelectorError::Requirement(text),
        other => other,
    }
}

/// A label's key: `[prefix/]name`.
///
/// # Errors
/// Kubernetes would refuse it.
pub fn key(text: &str) -> Result<String, SelectorError> {
    let wrong =
        |why: &str| SelectorError::Label(format!("invalid label key '{}': {why}", quoted(text)));
    let name = match text.split_once('/') {
        Some((prefix, name)) => {
            let dns = |part: &str| {
                part.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                    && part.starts_with(|c: char| c.is_ascii_alphanumeric())
                    && part.ends_with(|c: char| c.is_ascii_alphanumeric())
            };
            if prefix.len() > MAX_PREFIX || !prefix.split('.').all(dns) {
                return Err(wrong("the part before '/' must be a DNS name"));
            }
            name
        }
        None => text,
    };
    if name.is_empty() || !part(name) {
        return Err(wrong(
            "it must have 1 to 63 letters, digits, '-', '_' or '.', the outer ones letters or digits",
        ));
    }
    Ok(text.to_owned())
}

/// A label's value; it may be empty.
///
/// # Errors
/// Kubernetes would refuse it.
pub fn value(text: &str) -> Result<String, SelectorError> {
    if part(text) {
        return Ok(text.to_owned());
    }
    Err(SelectorError::Label(format!(
        "invalid label value '{}': it must have at most 63 letters, digits, '-', '_' or '.', the outer ones letters or digits",
        quoted(text)
    )))
}

fn quoted(text: &str) -> String {
    text.chars().take(QUOTED).collect()
}

fn part(text: &str) -> bool {
    let outer = |c: char| c.is_ascii_alphanumeric();
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    text.is_empty()
        || text.len() <= MAX_PART
            && text.starts_with(outer)
            && text.ends_with(outer)
            && text.bytes().all(inner)
}
