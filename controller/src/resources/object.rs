//! What all objects have in common: a kind, and texts that are written and read.

use serde::de::DeserializeOwned;

use super::{
    Client, Exporter, ExporterAccessPolicy, Lease, Node, ReadError,
    de::{self, hint},
    node::{self, ToNode},
    yaml,
};

/// The version of all objects here.
pub(super) const API_VERSION: &str = "jumpstarter.dev/v1alpha1";

/// An object that has a text in JSON and in YAML.
pub trait Resource: Sized {
    /// Its kind, such as `Lease`.
    fn kind() -> String;

    /// Its tree, `apiVersion` and `kind` included.
    fn to_node(&self) -> Node;

    /// Reads what [`Resource::to_node`] gives.
    ///
    /// # Errors
    /// It is of another kind or version, a field is unknown, missing or of another type.
    fn from_node(node: Node) -> Result<Self, ReadError>;

    /// Its JSON: indent 4, no newline at the end.
    fn dump_json(&self) -> String {
        self.to_node().to_json()
    }

    /// Its YAML: keys sorted, wrapped at 80 columns.
    fn dump_yaml(&self) -> String {
        self.to_node().to_yaml()
    }

    /// Reads its JSON.
    ///
    /// # Errors
    /// As [`Node::from_json`] and [`Resource::from_node`].
    fn from_json(text: &str) -> Result<Self, ReadError> {
        Self::from_node(Node::from_json(text)?)
    }

    /// Reads its YAML.
    ///
    /// # Errors
    /// As [`Node::from_yaml`] and [`Resource::from_node`].
    fn from_yaml(text: &str) -> Result<Self, ReadError> {
        Self::from_node(Node::from_yaml(text)?)
    }
}

/// Objects of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List<T> {
    /// In their order.
    pub items: Vec<T>,
}

impl<T: Resource> Resource for List<T> {
    fn kind() -> String {
        format!("{}List", T::kind())
    }

    fn to_node(&self) -> Node {
        let items = self.items.iter().map(Resource::to_node);
        node::map([
            ("apiVersion", API_VERSION.to_node()),
            ("items", Some(Node::List(items.collect()))),
            ("kind", Self::kind().to_node()),
        ])
    }

    fn from_node(node: Node) -> Result<Self, ReadError> {
        let items = items(untyped(node, &Self::kind())?)?;
        let items = items.into_iter().enumerate();
        let items =
            items.map(|(at, item)| T::from_node(item).map_err(|error| error.at(at).under("items")));
        Ok(Self {
            items: items.collect::<Result<_, _>>()?,
        })
    }
}

/// An object of one kind: it has the same parts as all others.
pub(super) trait Kind: DeserializeOwned {
    const KIND: &'static str;

    /// Metadata, spec and status; what is `None` is left out.
    fn parts(&self) -> [Option<Node>; 3];
}

impl<T: Kind> Resource for T {
    fn kind() -> String {
        T::KIND.to_owned()
    }

    fn to_node(&self) -> Node {
        let [metadata, spec, status] = self.parts();
        node::map([
            ("apiVersion", API_VERSION.to_node()),
            ("kind", T::KIND.to_node()),
            ("metadata", metadata),
            ("spec", spec),
            ("status", status),
        ])
    }

    fn from_node(node: Node) -> Result<Self, ReadError> {
        de::read(untyped(node, T::KIND)?)
    }
}

/// A tree without its version and kind, which must be these.
fn untyped(node: Node, kind: &str) -> Result<Node, ReadError> {
    let (version, found, rest) = header(node)?;
    if version != API_VERSION {
        let text = format!("`{version}` is not known here, only `{API_VERSION}`");
        return Err(ReadError::new(text).under("apiVersion"));
    }
    if found != kind {
        let text = format!("this is `{found}`, not `{kind}`");
        return Err(ReadError::new(text).under("kind"));
    }
    Ok(rest)
}

/// Version, kind, and the rest.
fn header(node: Node) -> Result<(String, String, Node), ReadError> {
    let Node::Map(mut entries) = node else {
        let text = format!(
            "an object is a map with `apiVersion` and `kind`, not {}",
            node.what()
        );
        return Err(ReadError::new(text));
    };
    let mut take = |key: &str| {
        let at = entries.iter().position(|(k, _)| k == key);
        match at.map(|at| entries.remove(at).1) {
            Some(Node::Text(text)) => Ok(text),
            Some(other) => {
                let text = format!("expected a text, found {}", other.what());
                Err(ReadError::new(text).under(key))
            }
            None => Err(ReadError::new(format!("the field `{key}` is missing"))),
        }
    };
    let (version, kind) = (take("apiVersion")?, take("kind")?);
    Ok((version, kind, Node::Map(entries)))
}

/// Those of a list, whose own metadata says nothing.
fn items(list: Node) -> Result<Vec<Node>, ReadError> {
    let Node::Map(entries) = list else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for (key, value) in entries {
        match (key.as_str(), value) {
            ("items", Node::List(items)) => found = items,
            ("items" | "metadata", Node::Null) | ("metadata", Node::Map(_)) => {}
            ("items" | "metadata", other) => {
                let text = format!("found {}", other.what());
                return Err(ReadError::new(text).under(&key));
            }
            _ => {
                let hint = hint(&key, &["items", "metadata"]);
                return Err(ReadError::new(format!("unknown field `{key}`: {hint}")));
            }
        }
    }
    Ok(found)
}

/// An object of any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Object {
    Exporter(Exporter),
    Lease(Lease),
    Client(Client),
    ExporterAccessPolicy(ExporterAccessPolicy),
}

impl Object {
    fn from_node(node: Node) -> Result<Self, ReadError> {
        let kind = match node.get("kind") {
            Some(Node::Text(kind)) => kind.clone(),
            _ => {
                return Err(header(node)
                    .err()
                    .unwrap_or_else(|| ReadError::new("no kind")));
            }
        };
        match kind.as_str() {
            "Exporter" => Resource::from_node(node).map(Self::Exporter),
            "Lease" => Resource::from_node(node).map(Self::Lease),
            "Client" => Resource::from_node(node).map(Self::Client),
            "ExporterAccessPolicy" => Resource::from_node(node).map(Self::ExporterAccessPolicy),
            _ => {
                let kinds = [
                    "Exporter",
                    "Lease",
                    "Client",
                    "ExporterAccessPolicy",
                    "List",
                ];
                let text = format!("unknown kind `{kind}`: {}", hint(&kind, &kinds));
                Err(ReadError::new(text).under("kind"))
            }
        }
    }
}

/// Reads what `kubectl` reads and writes: YAML documents or JSON, each an object or a list of any.
///
/// # Errors
/// As [`Node::from_json`], [`Node::from_yaml`] (documents may be many) and
/// [`Resource::from_node`]; the message says which object it is.
pub fn read_objects(text: &str) -> Result<Vec<Object>, ReadError> {
    let documents = if text.trim_start().starts_with('{') {
        vec![Node::from_json(text)?]
    } else {
        yaml::read(text)?
    };
    let many = documents.len() > 1;
    let mut objects = Vec::new();
    for (at, document) in documents.into_iter().enumerate() {
        let read = read_document(document);
        let place = |error: ReadError| error.under(&format!("document {}", at + 1));
        objects.extend(if many { read.map_err(place)? } else { read? });
    }
    Ok(objects)
}

fn read_document(document: Node) -> Result<Vec<Object>, ReadError> {
    let list = matches!(document.get("kind"), Some(Node::Text(kind)) if kind.ends_with("List"));
    if !list {
        return Ok(vec![Object::from_node(document)?]);
    }
    let (_, _, rest) = header(document)?;
    let items = items(rest)?.into_iter().enumerate();
    let items = items
        .map(|(at, item)| Object::from_node(item).map_err(|error| error.at(at).under("items")));
    items.collect()
}
