//! What is in the files, key by key in the order in which Jumpstarter 0.9 saves them.

use crate::{auth::Token, resources::Node};

const API_VERSION: &str = "jumpstarter.dev/v1alpha1";

/// How somebody reaches the controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Of the lab.
    pub namespace: String,
    /// Of the client or exporter.
    pub name: String,
    /// Host and port, without a scheme: clients take one for a host name.
    pub endpoint: String,
    /// What to trust: base64 of PEM.
    pub ca: String,
    /// The proof.
    pub token: Token,
}

/// Which driver clients a client loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drivers {
    /// Globs over the paths of their classes.
    pub allow: Vec<String>,
    /// All, whatever `allow` says, and code from anywhere.
    pub unrestricted: bool,
}

impl Drivers {
    /// Every driver that is installed: what the lab's own client has.
    pub fn installed() -> Self {
        Self {
            allow: vec!["*".to_owned()],
            unrestricted: false,
        }
    }
}

/// A `ClientConfig`.
pub fn client(access: &Access, drivers: &Drivers) -> String {
    let allow = drivers.allow.iter().map(|glob| text(glob)).collect();
    let mut fields = head("ClientConfig", access);
    fields.extend([
        ("grpcOptions", map([])),
        (
            "drivers",
            map([
                ("allow", Node::List(allow)),
                ("unsafe", Node::Bool(drivers.unrestricted)),
            ]),
        ),
        ("shell", map([("use_profiles", Node::Bool(false))])),
    ]);
    document(fields)
}

/// An `ExporterConfig` that exports nothing yet.
pub fn exporter(access: &Access) -> String {
    let mut fields = head("ExporterConfig", access);
    fields.extend([
        ("grpcOptions", map([])),
        ("description", Node::Null),
        ("export", map([])),
        (
            "hooks",
            map([("beforeLease", Node::Null), ("afterLease", Node::Null)]),
        ),
        (
            "failureDetection",
            map([
                ("maxRapidFailures", Node::Int(5)),
                ("rapidFailureWindow", Node::Int(60)),
            ]),
        ),
    ]);
    document(fields)
}

/// A `UserConfig`: which client is the current one.
pub fn user(current: Option<&str>) -> String {
    let current = current.map_or(Node::Null, text);
    document(vec![
        ("apiVersion", text(API_VERSION)),
        ("kind", text("UserConfig")),
        ("config", map([("current-client", current)])),
    ])
}

fn head(kind: &str, access: &Access) -> Vec<(&'static str, Node)> {
    vec![
        ("apiVersion", text(API_VERSION)),
        ("kind", text(kind)),
        (
            "metadata",
            map([
                ("namespace", text(&access.namespace)),
                ("name", text(&access.name)),
            ]),
        ),
        ("endpoint", text(&access.endpoint)),
        (
            "tls",
            map([("ca", text(&access.ca)), ("insecure", Node::Bool(false))]),
        ),
        ("token", text(access.token.reveal())),
    ]
}

fn text(text: &str) -> Node {
    Node::Text(text.to_owned())
}

fn map<const N: usize>(fields: [(&str, Node); N]) -> Node {
    Node::Map(fields.map(|(key, value)| (key.to_owned(), value)).into())
}

fn document(fields: Vec<(&str, Node)>) -> String {
    let mut out = String::new();
    for (key, value) in fields {
        put(&mut out, 0, key, value);
    }
    out
}

/// One key and its value. Objects are written with sorted keys, configuration files are not: so maps
/// are laid out here, and what is in them by the writer of objects.
fn put(out: &mut String, indent: usize, key: &str, value: Node) {
    match value {
        Node::Map(fields) if !fields.is_empty() => {
            out.push_str(&format!("{:indent$}{key}:\n", ""));
            for (key, value) in fields {
                put(out, indent + 2, &key, value);
            }
        }
        other => {
            for line in Node::Map(vec![(key.to_owned(), other)]).to_yaml().lines() {
                out.push_str(&format!("{:indent$}{line}\n", ""));
            }
        }
    }
}
