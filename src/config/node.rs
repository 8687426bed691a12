//! The spanned tree of a YAML document.

use super::span::Span;

/// A value with its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// All of its text. For a value that came through an alias: where the anchor stands.
    pub span: Span,
    /// Where to point when the value as a whole is wrong: for nothing, and for an indented map or list, the key
    /// that it belongs to.
    pub head: Span,
    /// How it was written.
    pub style: Style,
    /// Whether it must not be shown, since its key or one above it names a secret.
    pub secret: bool,
}

/// The kinds of values.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Nothing, `~` or `null`.
    Null,
    /// A boolean, in any spelling of YAML 1.1.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// A number with a point, or infinity, or not a number.
    Float(f64),
    /// A text.
    Str(String),
    /// A list.
    Seq(Vec<Node>),
    /// A map in the order of the file. Keys are scalars and differ from each other.
    Map(Vec<(Node, Node)>),
}

/// How a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without quotes, as the text given.
    Plain(Box<str>),
    /// In single or double quotes.
    Quoted,
    /// As a block that `|` or `>` opens.
    Block,
    /// A list or map in brackets.
    Flow,
    /// An indented list or map.
    Indented,
}

impl Node {
    /// An empty map that stands at `span`; for a section that the file does not have.
    pub fn empty_map(span: Span) -> Node {
        Node::new(Kind::Map(Vec::new()), span, Style::Flow)
    }

    pub(crate) fn new(kind: Kind, span: Span, style: Style) -> Node {
        Node {
            kind,
            span,
            head: span,
            style,
            secret: false,
        }
    }

    /// The text, if the value is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::Str(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is nothing.
    pub fn is_null(&self) -> bool {
        matches!(self.kind, Kind::Null)
    }

    /// The entries, if it is a map.
    pub fn entries(&self) -> Option<&[(Node, Node)]> {
        match &self.kind {
            Kind::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of a key, if it is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let (_, value) = self
            .entries()?
            .iter()
            .find(|(k, _)| k.as_str() == Some(key))?;
        Some(value)
    }

    /// The text as it stands in the file, for a scalar: the words that the user wrote.
    pub fn written(&self) -> Option<&str> {
        match (&self.style, &self.kind) {
            (Style::Plain(text), _) => Some(text),
            (_, Kind::Str(text)) => Some(text),
            _ => None,
        }
    }

    /// The value in words, for "found …"; without the value itself when it is secret.
    pub fn describe(&self) -> String {
        let with = |what: &str| match self.written() {
            Some(text) if !self.secret => format!("{what} `{}`", shorten(text)),
            _ => what.to_owned(),
        };
        match &self.kind {
            Kind::Null => "nothing".to_owned(),
            Kind::Bool(_) => with("the boolean"),
            Kind::Int(value) => {
                let text = with("the number");
                // `1:30` and `010` surprise whoever wrote them.
                match self.written() {
                    Some(raw) if !self.secret && raw.replace('_', "") != value.to_string() => {
                        format!("{text}, which YAML reads as {value}")
                    }
                    _ => text,
                }
            }
            Kind::Float(_) => with("the number"),
            Kind::Str(_) => with("the string"),
            Kind::Seq(_) => "a list".to_owned(),
            Kind::Map(_) => "a map".to_owned(),
        }
    }

    /// The same values as JSON, for drivers that take their configuration so. Numbers that JSON cannot hold
    /// become null; keys that are no texts are written as they stand in the file.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value;
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Int(value) => match (i64::try_from(*value), u64::try_from(*value)) {
                (Ok(value), _) => value.into(),
                (_, Ok(value)) => value.into(),
                _ => Value::Null,
            },
            Kind::Float(value) => (*value).into(),
            Kind::Str(text) => text.as_str().into(),
            Kind::Seq(items) => items.iter().map(Node::to_json).collect(),
            Kind::Map(entries) => entries
                .iter()
                .map(|(key, value)| {
                    (
                        key.written().unwrap_or_default().to_owned(),
                        value.to_json(),
                    )
                })
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }

    /// Identifies the node inside a tree that is borrowed, and so does not move.
    pub(crate) fn address(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    /// Calls `visit` for the node and everything below it.
    pub(crate) fn walk<'a>(&'a self, visit: &mut impl FnMut(&'a Node)) {
        visit(self);
        match &self.kind {
            Kind::Seq(items) => items.iter().for_each(|item| item.walk(visit)),
            Kind::Map(entries) => {
                for (key, value) in entries {
                    key.walk(visit);
                    value.walk(visit);
                }
            }
            _ => {}
        }
    }
}

/// The longest piece of a value that a message shows; longer ones hide the message.
const SHOWN_CHARS: usize = 40;

/// The beginning of a text, on one line.
pub(crate) fn shorten(text: &str) -> String {
    let mut short: String = text
        .chars()
        .take(SHOWN_CHARS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().count() > SHOWN_CHARS {
        short.push('…');
    }
    short
}
