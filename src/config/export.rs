//! `export:`, the tree of instances as it is written; types are not resolved here.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::diagnostic::Problem;
use super::node::{Kind, Node, shorten};
use super::read::from_value;
use super::section::named;
use super::span::{Span, Spanned};
use super::suggest;

/// Levels of `children` that the tree may have. Clients walk it by recursion.
pub const MAX_EXPORT_DEPTH: usize = 32;

/// One named entry of the tree.
#[derive(Clone, Debug)]
pub struct ExportEntry {
    /// Its name, with its place.
    pub name: Spanned<String>,
    /// What it is.
    pub kind: EntryKind,
}

/// The three shapes of an entry.
#[derive(Clone, Debug)]
pub enum EntryKind {
    /// An instance of a driver.
    Driver(Box<DriverEntry>),
    /// A group without a driver of its own.
    Composite {
        /// Shown in the report.
        description: Option<String>,
        /// What it holds.
        children: Vec<ExportEntry>,
    },
    /// Another name for an instance.
    Ref {
        /// Dotted path from the root, with its place.
        target: Spanned<String>,
    },
}

/// An instance of a driver.
#[derive(Clone, Debug)]
pub struct DriverEntry {
    /// Name of the driver as written, with its place.
    pub type_name: Spanned<String>,
    /// What every driver accepts, from the entry and from its `config`; the entry wins.
    pub generic: GenericConfig,
    /// The driver's own configuration: always a map.
    pub config: Node,
    /// Instances below it.
    pub children: Vec<ExportEntry>,
}

/// What every driver accepts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GenericConfig {
    /// A fixed identity.
    pub uuid: Option<Uuid>,
    /// Labels of the report.
    pub labels: BTreeMap<String, String>,
    /// Description of the report.
    pub description: Option<String>,
    /// Descriptions of single methods.
    pub methods_description: BTreeMap<String, String>,
    /// Least level of the instance's log lines.
    pub log_level: Option<LogLevel>,
}

/// Levels by the names that upstream's files use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// `DEBUG`, `NOTSET`.
    Debug,
    /// `INFO`.
    Info,
    /// `WARNING`, `WARN`.
    Warning,
    /// `ERROR`.
    Error,
    /// `CRITICAL`, `FATAL`.
    Critical,
}

const LEVELS: [&str; 8] = [
    "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "WARN", "FATAL", "NOTSET",
];

const KEYS: [&str; 6] = [
    "type",
    "config",
    "children",
    "ref",
    "description",
    "methods_description",
];

impl ExportEntry {
    /// The entries below it.
    pub fn children(&self) -> &[ExportEntry] {
        match &self.kind {
            EntryKind::Driver(driver) => &driver.children,
            EntryKind::Composite { children, .. } => children,
            EntryKind::Ref { .. } => &[],
        }
    }
}

pub(crate) fn read(node: &Node, problems: &mut Vec<Problem>) -> Vec<ExportEntry> {
    read_children(node, "`export`", 0, problems)
}

fn read_children(
    node: &Node,
    what: &str,
    depth: usize,
    problems: &mut Vec<Problem>,
) -> Vec<ExportEntry> {
    if depth == MAX_EXPORT_DEPTH {
        let message = format!("instances are nested deeper than {MAX_EXPORT_DEPTH} levels");
        problems.push(Problem::new(message, node.head));
        return Vec::new();
    }
    named(node, what, problems, |name, key, value, problems| {
        let kind = read_kind(name, key, value, depth, problems).unwrap_or_else(|| unreadable(key));
        Some(ExportEntry {
            name: Spanned::new(name.to_owned(), key.span),
            kind,
        })
    })
}

/// What stands for an entry that was reported, so that a reference to it or below it is not called wrong too.
fn unreadable(key: &Node) -> EntryKind {
    EntryKind::Driver(Box::new(DriverEntry {
        type_name: Spanned::new(String::new(), key.span),
        generic: GenericConfig::default(),
        config: Node::empty_map(key.span),
        children: Vec::new(),
    }))
}

/// The parts of an entry, sorted by their keys.
#[derive(Default)]
struct Parts<'a> {
    found: BTreeMap<&'static str, (&'a Node, &'a Node)>,
    unknown: Vec<(&'a Node, &'a str)>,
}

impl<'a> Parts<'a> {
    fn value(&self, key: &str) -> Option<&'a Node> {
        self.found.get(key).map(|(_, value)| *value)
    }
}

fn read_kind(
    name: &str,
    key: &Node,
    value: &Node,
    depth: usize,
    problems: &mut Vec<Problem>,
) -> Option<EntryKind> {
    let shown = shorten(name);
    let Some(entries) = value.entries() else {
        let message = format!("`{shown}`: expected a map, found {}", value.describe());
        let help = match value.as_str() {
            Some(text) => format!("write `{shown}: {{type: {}}}`", shorten(text)),
            None => "an entry has `type`, `children` or `ref`".to_owned(),
        };
        problems.push(Problem::new(message, value.head).help(help));
        return None;
    };
    let mut parts = Parts::default();
    for (key, value) in entries {
        match key.as_str() {
            Some(text) => match KEYS.iter().find(|known| **known == text) {
                Some(known) => _ = parts.found.insert(known, (key, value)),
                None => parts.unknown.push((key, text)),
            },
            None => problems.push(super::fault::key_not_text(key, key.span)),
        }
    }
    let misspelt = report_unknown(&parts, problems);
    if let Some((ref_key, target)) = parts.found.get("ref") {
        return read_ref(&parts, ref_key, target, problems);
    }
    match parts.value("type") {
        Some(type_name) => read_driver(&parts, type_name, depth, problems),
        None => read_composite(&shown, key, &parts, depth, misspelt, problems),
    }
}

/// Reports unknown keys; true when one of them was meant to say what the entry is.
fn report_unknown(parts: &Parts<'_>, problems: &mut Vec<Problem>) -> bool {
    let mut misspelt = false;
    for (key, text) in &parts.unknown {
        let absent = KEYS
            .into_iter()
            .filter(|known| !parts.found.contains_key(known));
        let near = suggest::nearest(text, absent);
        misspelt |= matches!(near, Some("type" | "children" | "ref"));
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None if parts.found.contains_key("type") => {
                "settings of the driver go below `config`; an entry takes `type`, `config`, `children`, \
                 `description`, `methods_description`"
                    .to_owned()
            }
            None => "an entry has `type`, `children` or `ref`".to_owned(),
        };
        problems
            .push(Problem::new(format!("unknown key `{}`", shorten(text)), key.span).help(help));
    }
    misspelt
}

fn read_ref(
    parts: &Parts<'_>,
    key: &Node,
    target: &Node,
    problems: &mut Vec<Problem>,
) -> Option<EntryKind> {
    for (other, (at, _)) in &parts.found {
        if *other != "ref" {
            let problem = Problem::new(format!("`{other}` cannot stand beside `ref`"), at.span);
            problems.push(
                problem.related(key.span, "this makes it a second name for another instance"),
            );
        }
    }
    let target: Spanned<String> = text(target, "ref", problems)?;
    Some(EntryKind::Ref { target })
}

fn read_composite(
    name: &str,
    key: &Node,
    parts: &Parts<'_>,
    depth: usize,
    misspelt: bool,
    problems: &mut Vec<Problem>,
) -> Option<EntryKind> {
    for driver_key in ["config", "methods_description"] {
        if let (Some((at, _)), false) = (parts.found.get(driver_key), misspelt) {
            problems.push(Problem::new(
                format!("`{driver_key}` needs a `type` beside it"),
                at.span,
            ));
        }
    }
    let children = parts.value("children");
    let nothing_else = parts.unknown.is_empty() && !parts.found.contains_key("config");
    if children.is_none() && parts.found.contains_key("description") && nothing_else {
        let message =
            format!("`{name}` has a description but neither `type`, `children` nor `ref`");
        problems.push(Problem::new(message, key.span));
    }
    let description = optional("description", parts.value("description"), problems);
    let children = below(children, depth, problems);
    (!misspelt).then_some(EntryKind::Composite {
        description,
        children,
    })
}

fn read_driver(
    parts: &Parts<'_>,
    type_name: &Node,
    depth: usize,
    problems: &mut Vec<Problem>,
) -> Option<EntryKind> {
    let type_name = text(type_name, "type", problems);
    let (mut generic, config) =
        read_config(parts, type_name.as_ref().map(|found| found.span), problems);
    if let Some(description) =
        optional::<String>("description", parts.value("description"), problems)
    {
        generic.description = Some(description);
    }
    let methods: Option<BTreeMap<String, String>> = optional(
        "methods_description",
        parts.value("methods_description"),
        problems,
    );
    generic
        .methods_description
        .extend(methods.unwrap_or_default());
    let children = below(parts.value("children"), depth, problems);
    Some(EntryKind::Driver(Box::new(DriverEntry {
        type_name: type_name?,
        generic,
        config,
        children,
    })))
}

/// Splits what every driver accepts from the driver's own keys.
fn read_config(
    parts: &Parts<'_>,
    place: Option<Span>,
    problems: &mut Vec<Problem>,
) -> (GenericConfig, Node) {
    let mut generic = GenericConfig::default();
    let Some((key, config)) = parts
        .found
        .get("config")
        .filter(|(_, config)| !config.is_null())
    else {
        return (generic, Node::empty_map(place.unwrap_or_default()));
    };
    let Some(entries) = config.entries() else {
        let message = format!("`config`: expected a map, found {}", config.describe());
        problems.push(Problem::new(message, config.head));
        return (generic, Node::empty_map(key.span));
    };
    let mut own = Vec::new();
    for (key, value) in entries {
        match key.as_str() {
            Some("uuid") => generic.uuid = optional("uuid", Some(value), problems),
            Some("labels") => {
                generic.labels = optional("labels", Some(value), problems).unwrap_or_default()
            }
            Some("description") => {
                generic.description = optional("description", Some(value), problems)
            }
            Some("methods_description") => {
                generic.methods_description =
                    optional("methods_description", Some(value), problems).unwrap_or_default();
            }
            Some("log_level") => generic.log_level = log_level(value, problems),
            _ => own.push((key.clone(), value.clone())),
        }
    }
    let rest = Node {
        kind: Kind::Map(own),
        ..(*config).clone()
    };
    (generic, rest)
}

fn log_level(value: &Node, problems: &mut Vec<Problem>) -> Option<LogLevel> {
    let word: Option<String> = optional("log_level", Some(value), problems);
    let word = word?;
    match word.to_ascii_uppercase().as_str() {
        "DEBUG" | "NOTSET" => Some(LogLevel::Debug),
        "INFO" => Some(LogLevel::Info),
        "WARNING" | "WARN" => Some(LogLevel::Warning),
        "ERROR" => Some(LogLevel::Error),
        "CRITICAL" | "FATAL" => Some(LogLevel::Critical),
        _ => {
            let problem = Problem::new(
                format!("`log_level`: unknown level `{}`", shorten(&word)),
                value.head,
            );
            problems.push(problem.maybe_help(suggest::did_you_mean(&word, LEVELS)));
            None
        }
    }
}

fn below(children: Option<&Node>, depth: usize, problems: &mut Vec<Problem>) -> Vec<ExportEntry> {
    match children.filter(|node| !node.is_null()) {
        Some(node) => read_children(node, "`children`", depth + 1, problems),
        None => Vec::new(),
    }
}

/// A value that may be absent or null.
fn optional<T: DeserializeOwned>(
    key: &str,
    node: Option<&Node>,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    match from_value::<Option<T>>(key, node?) {
        Ok(value) => value,
        Err(found) => {
            problems.extend(found);
            None
        }
    }
}

fn text(node: &Node, key: &str, problems: &mut Vec<Problem>) -> Option<Spanned<String>> {
    match node.as_str() {
        Some("") => problems.push(Problem::new(format!("`{key}` is empty"), node.head)),
        Some(text) => return Some(Spanned::new(text.to_owned(), node.span)),
        None => {
            let message = format!("`{key}`: expected a string, found {}", node.describe());
            problems.push(Problem::new(message, node.head));
        }
    }
    None
}
