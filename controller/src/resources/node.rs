//! The tree between objects and their texts: what JSON and YAML have in common, keys in their order.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};

use super::{ReadError, yaml};
use crate::model::Labels;

/// A value of a document. No field of these objects takes a number with a fraction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// Nothing.
    Null,
    /// A flag.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A text.
    Text(String),
    /// Values in a row.
    List(Vec<Node>),
    /// Values by key, each key once.
    Map(Vec<(String, Node)>),
}

/// Texts by key in the order in which they were given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pairs(pub Vec<(String, String)>);

impl Node {
    /// Reads JSON.
    ///
    /// # Errors
    /// It is no JSON, has a key twice, or a number that is no whole one of 64 bits.
    pub fn from_json(text: &str) -> Result<Self, ReadError> {
        serde_json::from_str(text)
            .map_err(|error| ReadError::new(format!("this is no JSON: {error}")))
    }

    /// Reads one YAML document.
    ///
    /// # Errors
    /// It is no YAML, there is no document or more than one, or it uses what these objects have no
    /// use for: aliases, tags, merge keys, numbers that are no whole ones of 64 bits.
    pub fn from_yaml(text: &str) -> Result<Self, ReadError> {
        let mut documents = yaml::read(text)?;
        match (documents.pop(), documents.is_empty()) {
            (Some(only), true) => Ok(only),
            (None, _) => Err(ReadError::new("there is no document")),
            (Some(_), false) => Err(ReadError::new("more than one document where one is wanted")),
        }
    }

    /// JSON as Python writes it with an indent of 4: keys in their order, no newline at the end.
    pub fn to_json(&self) -> String {
        let mut out = Vec::new();
        let four = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        let mut writer = serde_json::Serializer::with_formatter(&mut out, four);
        // A tree of these kinds is always JSON, and memory takes all of it.
        self.serialize(&mut writer).ok();
        String::from_utf8_lossy(&out).into_owned()
    }

    /// YAML as PyYAML's safe dump in block style: keys sorted, wrapped at 80 columns, ASCII only.
    pub fn to_yaml(&self) -> String {
        yaml::write(self)
    }

    /// The value under a key of a map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match self {
            Node::Map(entries) => entries.iter().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// What it is, for messages.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Node::Null => "null",
            Node::Bool(_) => "a flag",
            Node::Int(_) => "a number",
            Node::Text(_) => "a text",
            Node::List(_) => "a list",
            Node::Map(_) => "a map",
        }
    }
}

impl From<&Labels> for Pairs {
    fn from(labels: &Labels) -> Self {
        let pairs = labels.iter().map(|(k, v)| (k.clone(), v.clone()));
        Self(pairs.collect())
    }
}

/// A map of the fields that are there.
pub(super) fn map<const N: usize>(fields: [(&str, Option<Node>); N]) -> Node {
    let there = fields
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Node::Map(there.collect())
}

/// A list or map that has something in it.
pub(super) fn unless_empty(value: &impl ToNode) -> Option<Node> {
    value.to_node().filter(|node| match node {
        Node::List(items) => !items.is_empty(),
        Node::Map(entries) => !entries.is_empty(),
        _ => true,
    })
}

/// Says `null` where nothing is.
pub(super) fn or_null(value: &impl ToNode) -> Option<Node> {
    Some(value.to_node().unwrap_or(Node::Null))
}

/// What can stand in a tree.
pub(super) trait ToNode {
    /// The value, or nothing where its key is to be left out.
    fn to_node(&self) -> Option<Node>;
}

impl ToNode for Node {
    fn to_node(&self) -> Option<Node> {
        Some(self.clone())
    }
}

impl ToNode for str {
    fn to_node(&self) -> Option<Node> {
        Some(Node::Text(self.to_owned()))
    }
}

impl ToNode for String {
    fn to_node(&self) -> Option<Node> {
        self.as_str().to_node()
    }
}

impl ToNode for bool {
    fn to_node(&self) -> Option<Node> {
        Some(Node::Bool(*self))
    }
}

impl ToNode for i64 {
    fn to_node(&self) -> Option<Node> {
        Some(Node::Int(*self))
    }
}

impl<T: ToNode> ToNode for Option<T> {
    fn to_node(&self) -> Option<Node> {
        self.as_ref().and_then(ToNode::to_node)
    }
}

impl<T: ToNode> ToNode for Vec<T> {
    fn to_node(&self) -> Option<Node> {
        Some(Node::List(
            self.iter().filter_map(ToNode::to_node).collect(),
        ))
    }
}

impl ToNode for Pairs {
    fn to_node(&self) -> Option<Node> {
        let entries = self
            .0
            .iter()
            .map(|(k, v)| (k.clone(), Node::Text(v.clone())));
        Some(Node::Map(entries.collect()))
    }
}

impl ToNode for Labels {
    fn to_node(&self) -> Option<Node> {
        Pairs::from(self).to_node()
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Node::Null => to.serialize_unit(),
            Node::Bool(value) => to.serialize_bool(*value),
            Node::Int(value) => to.serialize_i64(*value),
            Node::Text(value) => to.serialize_str(value),
            Node::List(items) => to.collect_seq(items),
            Node::Map(entries) => to.collect_map(entries.iter().map(|(k, v)| (k, v))),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(NodeVisitor)
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(PairsVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, whole number, flag, list or map")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Int(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        let fits = i64::try_from(value).map(Node::Int);
        fits.map_err(|_| E::custom(format_args!("the number {value} has more than 64 bits")))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, from: A) -> Result<Node, A::Error> {
        entries(from).map(Node::Map)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, from: A) -> Result<Pairs, A::Error> {
        entries(from).map(Pairs)
    }
}

fn entries<'de, A: MapAccess<'de>, V: Deserialize<'de>>(
    mut from: A,
) -> Result<Vec<(String, V)>, A::Error> {
    let mut entries = Vec::new();
    let mut seen = std::collections::HashSet::new();
    while let Some((key, value)) = from.next_entry::<String, V>()? {
        if !seen.insert(key.clone()) {
            return Err(de::Error::custom(format_args!(
                "the key `{key}` is there twice"
            )));
        }
        entries.push((key, value));
    }
    Ok(entries)
}
