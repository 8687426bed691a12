//! Owns the translation between `google.protobuf.Value` on the wire and JSON values in the daemon.
//!
//! The wire has no integers, every number is a double. JSON has no NaN and no infinities, so those
//! are refused as arguments; as results they are already null when they get here.

use prost_types::{ListValue, NullValue, Struct, Value, value::Kind};
use serde_json::Number;

/// How many lists and objects may lie inside each other. Protobuf decoders stop at 100 messages,
/// so nothing deeper than this comes from the wire.
pub const MAX_DEPTH: usize = 100;

/// Largest magnitude up to which a double holds every integer: 2^53.
const EXACT_INTEGERS: f64 = 9_007_199_254_740_992.0;

/// Why a wire value has no JSON form. Clients see the text with INVALID_ARGUMENT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// A number that JSON cannot express; holds its name. The text is what Python peers send.
    #[error("Fail to serialize {0} for Value.number_value, which would parse as string_value")]
    NotFinite(&'static str),
    /// Lists and objects inside each other beyond [`MAX_DEPTH`].
    #[error("value is nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
}

/// Translates an argument from the wire.
///
/// Numbers without a fraction become JSON integers as far as a double holds them exactly (2^53),
/// so that a driver's integer parameters accept them; `-0.0` stays a float to keep its sign. A
/// value without a kind is null.
///
/// # Errors
///
/// [`ValueError`] when a number is NaN or infinite, or the nesting is too deep.
pub fn to_json(v: Value) -> Result<serde_json::Value, ValueError> {
    value_to_json(v, 0)
}

fn value_to_json(v: Value, depth: usize) -> Result<serde_json::Value, ValueError> {
    use serde_json::Value as Json;
    Ok(match v.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(b)) => Json::Bool(b),
        Some(Kind::StringValue(s)) => Json::String(s),
        Some(Kind::NumberValue(n)) => Json::Number(number_to_json(n)?),
        Some(Kind::ListValue(list)) => {
            let depth = deeper(depth)?;
            list.values
                .into_iter()
                .map(|item| value_to_json(item, depth))
                .collect::<Result<_, _>>()
                .map(Json::Array)?
        }
        Some(Kind::StructValue(object)) => {
            let depth = deeper(depth)?;
            object
                .fields
                .into_iter()
                .map(|(key, item)| Ok((key, value_to_json(item, depth)?)))
                .collect::<Result<_, _>>()
                .map(Json::Object)?
        }
    })
}

fn deeper(depth: usize) -> Result<usize, ValueError> {
    if depth < MAX_DEPTH {
        Ok(depth + 1)
    } else {
        Err(ValueError::TooDeep)
    }
}

fn number_to_json(n: f64) -> Result<Number, ValueError> {
    let negative_zero = n == 0.0 && n.is_sign_negative();
    if n.fract() == 0.0 && n.abs() <= EXACT_INTEGERS && !negative_zero {
        return Ok(Number::from(n as i64));
    }
    Number::from_f64(n).ok_or(ValueError::NotFinite(if n.is_nan() {
        "NaN"
    } else {
        // Python peers name negative infinity without its sign.
        "Infinity"
    }))
}

/// Translates a result for the wire.
///
/// Numbers become doubles, so integers beyond 2^53 lose precision, as they do with Python peers.
/// The nesting is not checked: results are built by drivers, not by peers.
pub fn from_json(v: serde_json::Value) -> Value {
    use serde_json::Value as Json;
    let kind = match v {
        Json::Null => null(),
        Json::Bool(b) => Kind::BoolValue(b),
        // `None` is a number beyond the range of a double: not finite, therefore null.
        Json::Number(n) => n.as_f64().map_or_else(null, Kind::NumberValue),
        Json::String(s) => Kind::StringValue(s),
        Json::Array(items) => Kind::ListValue(ListValue {
            values: items.into_iter().map(from_json).collect(),
        }),
        Json::Object(fields) => Kind::StructValue(Struct {
            fields: fields
                .into_iter()
                .map(|(key, item)| (key, from_json(item)))
                .collect(),
        }),
    };
    Value { kind: Some(kind) }
}

fn null() -> Kind {
    Kind::NullValue(NullValue::NullValue.into())
}

#[cfg(test)]
mod tests;
