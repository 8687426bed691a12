//! Reads the keys of maps.

use serde::de::value::StrDeserializer;
use serde::de::{Deserializer, Error as _, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use super::de::visit_int;
use super::fault::{Error, Fault};
use super::node::{Kind, Node};

/// A key: a text, unless the type that is read asks for a number or a boolean.
pub(super) struct KeyDeserializer<'a> {
    pub(super) key: &'a Node,
}

impl KeyDeserializer<'_> {
    fn number<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.key.kind {
            Kind::Int(value) => visit_int(*value, visitor),
            _ => Err(Error::invalid_type(Unexpected::Other(""), &visitor)),
        }
    }
}

/// Methods of [`Deserializer`] that take a number.
macro_rules! number_key {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.number(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for KeyDeserializer<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.key.kind {
            Kind::Str(text) => visitor.visit_str(text),
            _ => Err(Error(Fault::KeyNotText)),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.key.kind {
            Kind::Bool(value) => visitor.visit_bool(*value),
            _ => Err(Error::invalid_type(Unexpected::Other(""), &visitor)),
        }
    }

    number_key!(deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128);

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.key.kind {
            Kind::Str(text) => {
                let text: StrDeserializer<'_, Error> = text.as_str().into_deserializer();
                visitor.visit_enum(text)
            }
            _ => Err(Error(Fault::KeyNotText)),
        }
    }

    forward_to_deserialize_any! {
        f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple tuple_struct map struct identifier
        ignored_any
    }
}
