//! Label selectors: their text as users write it, as the controller writes it, and what they match.

use std::collections::BTreeMap;

/// Requirements, in the canonical order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Selector(Vec<(String, Rule)>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    Is(String),
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Missing,
}

impl Selector {
    /// Reads text such as `board=rpi4,zone!=b,!broken,rack in (a, b)`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut rules = Vec::new();
        for part in parts(text) {
            rules.push(rule(part).ok_or_else(|| format!("unable to parse requirement: {part}"))?);
        }
        rules.sort();
        Ok(Self(rules))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|(key, rule)| {
            let value = labels.get(key);
            match rule {
                Rule::Is(wanted) => value == Some(wanted),
                Rule::In(wanted) => value.is_some_and(|it| wanted.contains(it)),
                Rule::NotIn(unwanted) => value.is_none_or(|it| !unwanted.contains(it)),
                Rule::Exists => value.is_some(),
                Rule::Missing => value.is_none(),
            }
        })
    }

    /// The `k=v` requirements: what the labels of a lease are made of.
    pub(super) fn equalities(&self) -> BTreeMap<String, String> {
        let pair = |(key, rule): &(String, Rule)| match rule {
            Rule::Is(value) => Some((key.clone(), value.clone())),
            _ => None,
        };
        self.0.iter().filter_map(pair).collect()
    }

    /// As the controller writes it in a lease.
    pub(super) fn canonical(&self) -> String {
        if self.is_empty() {
            return "<none>".to_owned();
        }
        let text = |(key, rule): &(String, Rule)| match rule {
            Rule::Is(value) => format!("{key}={value}"),
            Rule::In(values) => format!("{key} in ({})", values.join(",")),
            Rule::NotIn(values) => format!("{key} notin ({})", values.join(",")),
            Rule::Exists => key.clone(),
            Rule::Missing => format!("!{key}"),
        };
        self.0.iter().map(text).collect::<Vec<_>>().join(",")
    }
}

/// Splits at commas that are not between parentheses.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    text.split(move |char| {
        match char {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        char == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
}

fn rule(part: &str) -> Option<(String, Rule)> {
    let name = |text: &str| {
        let text = text.trim();
        let fine = |char: char| char.is_ascii_alphanumeric() || "-_./".contains(char);
        (!text.is_empty() && text.chars().all(fine)).then(|| text.to_owned())
    };
    if let Some(key) = part.strip_prefix('!') {
        return Some((name(key)?, Rule::Missing));
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Some((name(key)?, Rule::NotIn(vec![value.trim().to_owned()])));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Some((name(key)?, Rule::Is(value.trim().to_owned())));
    }
    if let Some((left, list)) = part.strip_suffix(')').and_then(|it| it.split_once('(')) {
        let mut values: Vec<_> = list.split(',').map(|it| it.trim().to_owned()).collect();
        values.sort();
        let (key, operator) = left.trim().rsplit_once(char::is_whitespace)?;
        return match operator {
            "in" => Some((name(key)?, Rule::In(values))),
            "notin" => Some((name(key)?, Rule::NotIn(values))),
            _ => None,
        };
    }
    Some((name(part)?, Rule::Exists))
}
