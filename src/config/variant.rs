//! Reads enums that are written as a map with one key.

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, Unexpected, VariantAccess, Visitor,
};

use super::de::NodeDeserializer;
use super::fault::Error;
use super::key::KeyDeserializer;
use super::node::Node;

/// An enum variant with content: `variant: content`.
pub(super) struct Tagged<'a> {
    pub(super) key: &'a Node,
    pub(super) value: &'a Node,
    pub(super) owner: NodeDeserializer<'a>,
}

impl<'a> Tagged<'a> {
    fn content(&self) -> NodeDeserializer<'a> {
        self.owner.below(self.key, self.value)
    }
}

impl<'de, 'a> EnumAccess<'de> for Tagged<'a> {
    type Error = Error;
    type Variant = Tagged<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self::Variant), Error> {
        let result = seed.deserialize(KeyDeserializer { key: self.key });
        if let Err(error) = &result {
            self.owner.note_key(error, self.key);
        }
        Ok((result?, self))
    }
}

impl<'de> VariantAccess<'de> for Tagged<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        let content = self.content();
        if content.is_null() {
            return Ok(());
        }
        content.noted(Err(Error::invalid_type(Unexpected::Other(""), &"nothing")))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        let content = self.content();
        content.noted(seed.deserialize(content))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.content().deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.content().deserialize_map(visitor)
    }
}
