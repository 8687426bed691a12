//! `safeState:` and `interlocks:`, what keeps a board safe.

use serde::Deserialize;

use super::diagnostic::Problem;
use super::node::{Kind, Node};
use super::section::{Section, named};
use super::span::Spanned;

/// One step towards the safe state. Steps follow each other.
#[derive(Clone, Debug, PartialEq)]
pub enum SafeStep {
    /// One call.
    Call(SafeCall),
    /// Calls at the same time; the step is over when all are.
    Parallel(Vec<SafeCall>),
}

/// A call of a method of an instance.
#[derive(Clone, Debug, PartialEq)]
pub struct SafeCall {
    /// `path.of.instance.method`, with its place.
    pub call: Spanned<String>,
    /// Arguments by position.
    pub args: Vec<serde_json::Value>,
}

/// A rule that refuses calls in some states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interlock {
    /// Its name, which the refusal shows, with its place.
    pub name: Spanned<String>,
    /// What is refused: `path.of.instance.method`.
    pub deny: Vec<Spanned<String>>,
    /// Unless all of these instances are in these states.
    pub unless: Vec<(Spanned<String>, Spanned<String>)>,
}

pub(crate) fn read_safe_state(node: &Node, problems: &mut Vec<Problem>) -> Vec<SafeStep> {
    let steps = items(node, "`safeState`: expected a list of steps", problems);
    let read = |step: &Node| match &step.kind {
        Kind::Seq(calls) => Some(SafeStep::Parallel(
            calls
                .iter()
                .filter_map(|step| read_call(step, problems))
                .collect(),
        )),
        _ => read_call(step, problems).map(SafeStep::Call),
    };
    steps.iter().filter_map(read).collect()
}

fn read_call(node: &Node, problems: &mut Vec<Problem>) -> Option<SafeCall> {
    if let Some(text) = node.as_str() {
        let problem = Problem::new("a step is a map with the key `call`", node.head);
        problems.push(problem.help(format!("write `{{call: {text}}}`")));
        return None;
    }
    let mut section = Section::open(node, "a step of `safeState`", problems)?;
    let value = section.value(&["call"]);
    let args = section.value(&["args"]);
    if value.is_none() {
        let problem = Problem::new("missing key `call`", section.place());
        section.problem(problem.help("write `call: path.of.instance.method`"));
    }
    let call = value.and_then(|value| method(value, section.problems()));
    let args = args.map(|args| items(args, "`args`: expected a list", section.problems()).to_vec());
    section.finish();
    let args = args.unwrap_or_default().iter().map(Node::to_json).collect();
    Some(SafeCall { call: call?, args })
}

pub(crate) fn read_interlocks(node: &Node, problems: &mut Vec<Problem>) -> Vec<Interlock> {
    let rules = items(node, "`interlocks`: expected a list of rules", problems);
    let mut read: Vec<Interlock> = Vec::new();
    for rule in rules {
        let Some(rule) = read_interlock(rule, problems) else {
            continue;
        };
        // A refusal names its rule, so that people find it.
        if let Some(first) = read
            .iter()
            .find(|first| first.name.value == rule.name.value)
        {
            let text = format!("two interlocks have the name `{}`", rule.name.value);
            let problem = Problem::new(text, rule.name.span);
            problems.push(problem.related(first.name.span, "the first one"));
        }
        read.push(rule);
    }
    read
}

fn read_interlock(node: &Node, problems: &mut Vec<Problem>) -> Option<Interlock> {
    let mut section = Section::open(node, "a rule of `interlocks`", problems)?;
    let place = section.value(&["name"]).map(|name| name.span);
    let name: Option<String> = section.get(&["name"]);
    let deny = section.value(&["deny"]);
    let unless = section.value(&["unless"]);
    for key in ["name", "deny", "unless"] {
        if !section.has(key) {
            let problem = Problem::new(format!("missing key `{key}`"), section.place());
            section.problem(problem);
        }
    }
    let problems = section.problems();
    let deny = deny.map(|deny| {
        let methods = items(deny, "`deny`: expected a list of methods", problems);
        if matches!(&deny.kind, Kind::Seq(items) if items.is_empty()) {
            problems.push(Problem::new(
                "`deny` is empty: the rule refuses nothing",
                deny.head,
            ));
        }
        methods
            .iter()
            .filter_map(|value| method(value, problems))
            .collect()
    });
    let unless = unless.map(|unless| {
        if unless.entries().is_some_and(|entries| entries.is_empty()) {
            let text = "`unless` is empty: the rule refuses nothing";
            problems.push(Problem::new(text, unless.head));
        }
        named(unless, "`unless`", problems, state)
    });
    section.finish();
    Some(Interlock {
        name: Spanned::new(name?, place?),
        deny: deny?,
        unless: unless?,
    })
}

/// An instance and its state. YAML makes booleans of `on` and `off`, the states most often meant here, so the word
/// is taken as it was written.
fn state(
    name: &str,
    key: &Node,
    value: &Node,
    problems: &mut Vec<Problem>,
) -> Option<(Spanned<String>, Spanned<String>)> {
    let word = match value.kind {
        Kind::Bool(_) => value.written().map(str::to_lowercase),
        _ => value.as_str().map(str::to_owned),
    };
    if word.is_none() {
        let message = format!(
            "`{name}`: expected the name of a state, found {}",
            value.describe()
        );
        problems.push(Problem::new(message, value.head));
    }
    Some((
        Spanned::new(name.to_owned(), key.span),
        Spanned::new(word?, value.span),
    ))
}

fn method(value: &Node, problems: &mut Vec<Problem>) -> Option<Spanned<String>> {
    let found = value
        .as_str()
        .filter(|text| text.split('.').count() > 1 && text.split('.').all(|part| !part.is_empty()));
    if found.is_none() {
        let message = format!(
            "expected path.of.instance.method, found {}",
            value.describe()
        );
        problems.push(Problem::new(message, value.head));
    }
    found.map(|text| Spanned::new(text.to_owned(), value.span))
}

fn items<'a>(node: &'a Node, expected: &str, problems: &mut Vec<Problem>) -> &'a [Node] {
    match &node.kind {
        Kind::Seq(items) => items,
        _ => {
            problems.push(Problem::new(
                format!("{expected}, found {}", node.describe()),
                node.head,
            ));
            &[]
        }
    }
}

/// The shape of a call, for the schema only.
#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub(crate) struct CallShape {
    /// `path.of.instance.method`.
    call: String,
    /// Arguments by position.
    #[serde(default)]
    args: Vec<serde_json::Value>,
}

/// The shape of a rule, for the schema only.
#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub(crate) struct InterlockShape {
    /// Shown when a call is refused.
    name: String,
    /// What is refused.
    deny: Vec<String>,
    /// Instance and state; a boolean is `on` or `off`.
    unless: std::collections::BTreeMap<String, StateShape>,
}

/// The shape of a state, for the schema only.
#[derive(Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
#[allow(dead_code)]
pub(crate) enum StateShape {
    Word(String),
    Switch(bool),
}
