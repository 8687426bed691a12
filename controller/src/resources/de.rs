//! From a tree to a typed object: what is wrong is named with its place and, for a wrong word, with
//! the nearest right one.

use std::fmt;

use serde::{
    Deserialize,
    de::{
        self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor,
        value::StringDeserializer,
    },
};

use super::Node;

/// A text is no such object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadError {
    /// From the inside outwards.
    path: Vec<Step>,
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    At(usize),
}

impl ReadError {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self {
            path: Vec::new(),
            text: text.into(),
        }
    }

    /// The same, of the value under this key.
    pub(super) fn under(mut self, key: &str) -> Self {
        self.path.push(Step::Key(key.to_owned()));
        self
    }

    /// The same, of the value at this place of a list.
    pub(super) fn at(mut self, index: usize) -> Self {
        self.path.push(Step::At(index));
        self
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, step) in self.path.iter().rev().enumerate() {
            match step {
                Step::Key(key) if count == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::At(index) => write!(f, "[{index}]")?,
            }
        }
        if !self.path.is_empty() {
            f.write_str(": ")?;
        }
        f.write_str(&self.text)
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::new(text.to_string())
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!(
            "unknown field `{field}`: {}",
            hint(field, expected)
        ))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!(
            "unknown value `{variant}`: {}",
            hint(variant, expected)
        ))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("the field `{field}` is missing"))
    }
}

/// The nearest valid word, else all of them.
pub(super) fn hint(word: &str, valid: &[&str]) -> String {
    let folded = word.to_lowercase();
    let nearest = valid
        .iter()
        .map(|other| {
            (
                strsim::damerau_levenshtein(&folded, &other.to_lowercase()),
                other,
            )
        })
        .min_by_key(|(distance, _)| *distance);
    match nearest {
        // A third of the letters may be wrong.
        Some((distance, other)) if distance <= (other.len() / 3).max(1) => {
            format!("did you mean `{other}`?")
        }
        Some(_) => format!("valid are `{}`", valid.join("`, `")),
        None => "nothing is valid here".into(),
    }
}

/// Reads an object from its tree. `null` is the same as a field that is not there.
pub(super) fn read<'de, T: Deserialize<'de>>(node: Node) -> Result<T, ReadError> {
    T::deserialize(Tree(node))
}

struct Tree(Node);

impl<'de> IntoDeserializer<'de, ReadError> for Tree {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Tree {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.0 {
            Node::Null => visitor.visit_unit(),
            Node::Bool(value) => visitor.visit_bool(value),
            Node::Int(value) => visitor.visit_i64(value),
            Node::Text(value) => visitor.visit_string(value),
            Node::List(items) => visitor.visit_seq(Items {
                rest: items.into_iter().enumerate(),
            }),
            Node::Map(entries) => visitor.visit_map(Entries::new(entries)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.0 {
            Node::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let Node::Map(mut entries) = self.0 else {
            return Err(ReadError::new(format!(
                "expected a map of `{}`, found {}",
                fields.join("`, `"),
                self.0.what()
            )));
        };
        // An unknown field is reported also without a value.
        entries.retain(|(key, value)| *value != Node::Null || !fields.contains(&key.as_str()));
        visitor.visit_map(Entries::new(entries))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match self.0 {
            Node::Text(text) => {
                StringDeserializer::new(text).deserialize_enum(name, variants, visitor)
            }
            other => Err(ReadError::new(format!(
                "expected one of `{}`, found {}",
                variants.join("`, `"),
                other.what()
            ))),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string
        bytes byte_buf unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

struct Items {
    rest: std::iter::Enumerate<std::vec::IntoIter<Node>>,
}

impl<'de> SeqAccess<'de> for Items {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ReadError> {
        let Some((index, node)) = self.rest.next() else {
            return Ok(None);
        };
        let item = seed.deserialize(Tree(node));
        item.map(Some).map_err(|error| error.at(index))
    }
}

struct Entries {
    rest: std::vec::IntoIter<(String, Node)>,
    /// What belongs to the key that was given last.
    value: Option<(String, Node)>,
}

impl Entries {
    fn new(entries: Vec<(String, Node)>) -> Self {
        Self {
            rest: entries.into_iter(),
            value: None,
        }
    }
}

impl<'de> MapAccess<'de> for Entries {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ReadError> {
        let Some((key, node)) = self.rest.next() else {
            return Ok(None);
        };
        self.value = Some((key.clone(), node));
        seed.deserialize(StringDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let Some((key, node)) = self.value.take() else {
            return Err(ReadError::new("a value without a key"));
        };
        let value = seed.deserialize(Tree(node));
        value.map_err(|error| error.under(&key))
    }
}
