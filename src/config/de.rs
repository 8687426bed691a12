//! Reads a node into any type that serde knows, with the place of each mistake.
//!
//! Values do not change their kind: a number is no text and a text is no number. Only a number such as `3.0` may be
//! read as a whole number. The first mistake of an attempt is kept with its place in the [`Attempt`], not in the
//! error, so that it survives layers that turn errors into strings.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};

use super::attempt::{Added, Attempt};
use super::fault::{Error, Fault};
use super::key::KeyDeserializer;
use super::node::{Kind, Node};
use super::variant::Tagged;

/// A serde deserializer over a node.
#[derive(Clone, Copy)]
pub struct NodeDeserializer<'a> {
    node: &'a Node,
    name: Option<&'a str>,
    attempt: &'a Attempt,
}

impl<'a> NodeDeserializer<'a> {
    pub(crate) fn new(node: &'a Node, name: Option<&'a str>, attempt: &'a Attempt) -> Self {
        NodeDeserializer {
            node,
            name,
            attempt,
        }
    }

    /// Notes a mistake of this value as a whole.
    pub(crate) fn note(&self, error: &Error) {
        self.attempt
            .meet(error, self.node, self.node, self.name, self.node.head);
    }

    /// Notes a mistake in the key of this value, an enum's variant.
    pub(super) fn note_key(&self, error: &Error, key: &Node) {
        self.attempt
            .meet(error, self.node, key, self.name, key.span);
    }

    /// For a value below this one, with its key.
    pub(super) fn below(self, key: &'a Node, node: &'a Node) -> Self {
        NodeDeserializer {
            node,
            name: key.written(),
            ..self
        }
    }

    pub(super) fn is_null(&self) -> bool {
        self.node.is_null()
    }

    pub(super) fn noted<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        result.inspect_err(|error| self.note(error))
    }

    fn wrong_kind(&self, expected: &dyn de::Expected) -> Error {
        Error::invalid_type(Unexpected::Other(""), expected)
    }

    fn any<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.kind {
            Kind::Null => visitor.visit_unit(),
            Kind::Bool(value) => visitor.visit_bool(*value),
            Kind::Int(value) => visit_int(*value, visitor),
            Kind::Float(value) => visitor.visit_f64(*value),
            Kind::Str(text) => visitor.visit_str(text),
            Kind::Seq(items) => visitor.visit_seq(Items {
                owner: self,
                items: items.iter(),
            }),
            Kind::Map(entries) => visitor.visit_map(Entries::new(self, entries)),
        }
    }

    fn whole<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.kind {
            Kind::Int(value) => visit_int(*value, visitor),
            // Below 2^53 the number is exact.
            #[allow(clippy::cast_possible_truncation)]
            Kind::Float(value)
                if value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 =>
            {
                visitor.visit_i64(*value as i64)
            }
            _ => Err(self.wrong_kind(&visitor)),
        }
    }
}

pub(super) fn visit_int<'de, V: Visitor<'de>>(value: i128, visitor: V) -> Result<V::Value, Error> {
    match (i64::try_from(value), u64::try_from(value)) {
        (Ok(value), _) => visitor.visit_i64(value),
        (_, Ok(value)) => visitor.visit_u64(value),
        _ => visitor.visit_i128(value),
    }
}

/// Methods of [`Deserializer`] that read one kind through `$read` and note the mistake.
macro_rules! read_with {
    ($read:ident: $($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.noted(self.$read(visitor))
        })*
    };
}

impl<'a> NodeDeserializer<'a> {
    fn only<'de, V: Visitor<'de>>(self, fits: bool, visitor: V) -> Result<V::Value, Error> {
        if fits {
            self.any(visitor)
        } else {
            Err(self.wrong_kind(&visitor))
        }
    }

    fn boolean<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.only(matches!(self.node.kind, Kind::Bool(_)), visitor)
    }

    fn number<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.only(
            matches!(self.node.kind, Kind::Int(_) | Kind::Float(_)),
            visitor,
        )
    }

    fn text<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.only(matches!(self.node.kind, Kind::Str(_)), visitor)
    }

    fn list<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.only(matches!(self.node.kind, Kind::Seq(_)), visitor)
    }

    fn map<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.only(matches!(self.node.kind, Kind::Map(_)), visitor)
    }

    fn nothing<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.only(self.node.is_null(), visitor)
    }

    fn bytes<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.kind {
            Kind::Str(text) => visitor.visit_bytes(text.as_bytes()),
            Kind::Seq(_) => self.any(visitor),
            _ => Err(self.wrong_kind(&visitor)),
        }
    }

    fn variant<'de, V: Visitor<'de>>(
        self,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.node.kind {
            Kind::Str(text) => {
                let text: StrDeserializer<'_, Error> = text.as_str().into_deserializer();
                visitor.visit_enum(text)
            }
            Kind::Map(entries) => match entries.as_slice() {
                [(key, value)] if key.as_str().is_some() => visitor.visit_enum(Tagged {
                    key,
                    value,
                    owner: self,
                }),
                _ => Err(Error::custom("expected a string, or a map with one key")),
            },
            // The list of variants says more than `expected a string`.
            _ => Err(Error(Fault::UnknownVariant {
                name: String::new(),
                expected: variants,
            })),
        }
    }
}

impl<'de> Deserializer<'de> for NodeDeserializer<'_> {
    type Error = Error;

    read_with!(any: deserialize_any);
    read_with!(boolean: deserialize_bool);
    read_with!(whole: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128);
    read_with!(number: deserialize_f32 deserialize_f64);
    read_with!(text: deserialize_char deserialize_str deserialize_string deserialize_identifier);
    read_with!(bytes: deserialize_bytes deserialize_byte_buf);
    read_with!(nothing: deserialize_unit);
    read_with!(list: deserialize_seq);
    read_with!(map: deserialize_map);

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.noted(if self.node.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        })
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.noted(self.nothing(visitor))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.noted(visitor.visit_newtype_struct(self))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.noted(self.list(visitor))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.noted(self.list(visitor))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.noted(self.map(visitor))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.noted(self.variant(variants, visitor))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }
}

struct Items<'a> {
    owner: NodeDeserializer<'a>,
    items: std::slice::Iter<'a, Node>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let owner = self.owner;
        let Some(node) = self
            .items
            .find(|item| !owner.attempt.skipped.contains(&item.address()))
        else {
            return Ok(None);
        };
        let item = NodeDeserializer { node, ..owner };
        item.noted(seed.deserialize(item)).map(Some)
    }
}

struct Entries<'a> {
    owner: NodeDeserializer<'a>,
    entries: std::slice::Iter<'a, (Node, Node)>,
    added: std::slice::Iter<'a, Added>,
    current: Option<(&'a Node, &'a Node)>,
}

impl<'a> Entries<'a> {
    fn new(owner: NodeDeserializer<'a>, entries: &'a [(Node, Node)]) -> Self {
        let added = owner
            .attempt
            .added
            .get(&owner.node.address())
            .map_or([].iter(), |added| added.iter());
        Entries {
            owner,
            entries: entries.iter(),
            added,
            current: None,
        }
    }

    fn advance(&mut self) -> Option<(&'a Node, &'a Node)> {
        let skipped = &self.owner.attempt.skipped;
        let own = self
            .entries
            .find(|(_, value)| !skipped.contains(&value.address()));
        match own {
            Some((key, value)) => Some((key, value)),
            None => self.added.next().map(|(key, value)| (&**key, &**value)),
        }
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        self.current = self.advance();
        let Some((key, value)) = self.current else {
            return Ok(None);
        };
        let result = seed.deserialize(KeyDeserializer { key });
        if let Err(error) = &result {
            self.owner.attempt.meet(error, value, key, None, key.span);
        }
        result.map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some((key, node)) = self.current else {
            return Err(Error::custom("a value was asked for before its key"));
        };
        let value = self.owner.below(key, node);
        value.noted(seed.deserialize(value))
    }
}

impl fmt::Debug for NodeDeserializer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeDeserializer")
            .field("span", &self.node.span)
            .finish_non_exhaustive()
    }
}
