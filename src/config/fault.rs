//! What can be wrong when a node is read into a Rust type, and how it is said.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use super::diagnostic::Problem;
use super::node::{Kind, Node, shorten};
use super::secret;
use super::span::Span;
use super::suggest;

/// The error type of [`NodeDeserializer`](super::NodeDeserializer).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(pub(crate) Fault);

/// The kinds of mistakes. The lists come from the types that are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    UnknownField {
        name: String,
        expected: &'static [&'static str],
    },
    MissingField(&'static str),
    DuplicateField(&'static str),
    UnknownVariant {
        name: String,
        expected: &'static [&'static str],
    },
    /// A value of the wrong kind or outside of its range.
    Value {
        expected: String,
    },
    /// A key that is no text where the type wants one.
    KeyNotText,
    /// A list or map with the wrong number of items.
    Length {
        found: usize,
        expected: String,
    },
    /// In the words of the type.
    Custom(String),
}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Error(Fault::Custom(message.to_string()))
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Error(Fault::Value {
            expected: in_words(&expected.to_string()),
        })
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Error(Fault::Value {
            expected: in_words(&expected.to_string()),
        })
    }

    fn invalid_length(found: usize, expected: &dyn Expected) -> Self {
        Error(Fault::Length {
            found,
            expected: in_words(&expected.to_string()),
        })
    }

    fn unknown_variant(name: &str, expected: &'static [&'static str]) -> Self {
        Error(Fault::UnknownVariant {
            name: name.to_owned(),
            expected,
        })
    }

    fn unknown_field(name: &str, expected: &'static [&'static str]) -> Self {
        Error(Fault::UnknownField {
            name: name.to_owned(),
            expected,
        })
    }

    fn missing_field(name: &'static str) -> Self {
        Error(Fault::MissingField(name))
    }

    fn duplicate_field(name: &'static str) -> Self {
        Error(Fault::DuplicateField(name))
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Fault::UnknownField { name, .. } => write!(f, "unknown key `{name}`"),
            Fault::MissingField(name) => write!(f, "missing key `{name}`"),
            Fault::DuplicateField(name) => write!(f, "the key `{name}` is given twice"),
            Fault::UnknownVariant { name, .. } => write!(f, "unknown value `{name}`"),
            Fault::Value { expected } => write!(f, "expected {expected}"),
            Fault::KeyNotText => f.write_str("expected a string as key"),
            Fault::Length { found, expected } => {
                write!(f, "expected {expected}, found {found} items")
            }
            Fault::Custom(message) => f.write_str(message),
        }
    }
}

impl Fault {
    /// The mistake as the user sees it. `node` is the wrong value, or the wrong key for a fault of a key; `name` is
    /// the key that the value belongs to.
    pub(crate) fn problem(&self, node: &Node, name: Option<&str>, place: Span) -> Problem {
        let said = |text: String| match name {
            Some(name) => format!("`{name}`: {text}"),
            None => text,
        };
        match self {
            Fault::UnknownField { name, expected } => {
                Problem::new(format!("unknown key `{}`", shorten(name)), place)
                    .maybe_help(suggest::did_you_mean(name, expected.iter().copied()))
            }
            Fault::MissingField(field) => match name {
                Some(name) => Problem::new(format!("`{name}`: missing key `{field}`"), place),
                None => Problem::new(format!("missing key `{field}`"), place),
            },
            Fault::DuplicateField(field) => Problem::new(
                format!("the key `{field}` is given twice, in two spellings"),
                place,
            ),
            Fault::UnknownVariant { expected, .. } => variant(node, expected, said, place),
            Fault::Value { expected } => Problem::new(
                said(format!("expected {expected}, found {}", node.describe())),
                place,
            )
            .maybe_help(value_help(node, expected)),
            Fault::KeyNotText => key_not_text(node, place),
            Fault::Length { found, expected } => Problem::new(
                said(format!("expected {expected}, found {found} items")),
                place,
            ),
            Fault::Custom(message) => {
                Problem::new(said(secret::redact(message.clone(), node)), place)
            }
        }
    }
}

fn variant(
    node: &Node,
    expected: &[&'static str],
    said: impl Fn(String) -> String,
    place: Span,
) -> Problem {
    let listed: Vec<_> = expected.iter().map(|word| format!("`{word}`")).collect();
    let listed = match listed.as_slice() {
        [] => "no value at all".to_owned(),
        [one] => one.clone(),
        [front @ .., last] => format!("{} or {last}", front.join(", ")),
    };
    let help = match node.as_str() {
        _ if node.secret => None,
        Some(word) => suggest::nearest(word, expected.iter().copied())
            .map(|near| format!("did you mean `{near}`?")),
        None => value_help(node, A_STRING),
    };
    Problem::new(
        said(format!("expected {listed}, found {}", node.describe())),
        place,
    )
    .maybe_help(help)
}

/// A key that is a boolean, a number or nothing where a text belongs.
pub(crate) fn key_not_text(key: &Node, place: Span) -> Problem {
    let written = key.written().unwrap_or_default();
    let what = match key.kind {
        Kind::Null => "nothing",
        Kind::Bool(_) => "a boolean",
        _ => "a number",
    };
    if written.is_empty() {
        return Problem::new("a key is missing before the colon", place);
    }
    Problem::new(
        format!(
            "the key `{}` is {what} to YAML, and a string is needed",
            shorten(written)
        ),
        place,
    )
    .help(format!("write it in quotes: \"{}\"", shorten(written)))
}

const A_STRING: &str = "a string";

fn value_help(node: &Node, expected: &str) -> Option<String> {
    let wants_text = expected == A_STRING;
    let quoted = |why: &str| match node.written() {
        Some(text) if !node.secret && text.chars().count() <= 40 => {
            Some(format!("{why}write it in quotes: \"{text}\""))
        }
        _ => Some(format!("{why}write it in quotes")),
    };
    match &node.kind {
        Kind::Bool(_) if wants_text => quoted("YAML reads this word as a boolean; "),
        Kind::Int(_) | Kind::Float(_) if wants_text => quoted(""),
        Kind::Str(text) if !node.secret && !wants_text => {
            let number = text.parse::<f64>().is_ok() && expected.contains("number");
            let boolean = matches!(
                text.as_str(),
                "true" | "false" | "on" | "off" | "yes" | "no"
            ) && expected.contains("true or false");
            (number || boolean).then(|| format!("remove the quotes: {text}"))
        }
        _ => None,
    }
}

/// What serde and derived code call their types, in words of the file.
fn in_words(expected: &str) -> String {
    let whole = |low: String, high: String| format!("a whole number from {low} to {high}");
    match expected {
        "u8" => whole(u8::MIN.to_string(), u8::MAX.to_string()),
        "u16" => whole(u16::MIN.to_string(), u16::MAX.to_string()),
        "u32" => whole(u32::MIN.to_string(), u32::MAX.to_string()),
        "u64" | "usize" | "u128" => "a whole number, not negative".to_owned(),
        "i8" => whole(i8::MIN.to_string(), i8::MAX.to_string()),
        "i16" => whole(i16::MIN.to_string(), i16::MAX.to_string()),
        "i32" => whole(i32::MIN.to_string(), i32::MAX.to_string()),
        "i64" | "isize" | "i128" => "a whole number".to_owned(),
        "a nonzero u8" => whole("1".to_owned(), u8::MAX.to_string()),
        "a nonzero u16" => whole("1".to_owned(), u16::MAX.to_string()),
        "a nonzero u32" => whole("1".to_owned(), u32::MAX.to_string()),
        "a nonzero u64" | "a nonzero usize" => "a whole number above 0".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a string" | "a borrowed string" | "path string" | "a borrowed path" => A_STRING.to_owned(),
        "a character" => "one character".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "unit" => "nothing".to_owned(),
        _ if expected.starts_with("struct ") || expected.starts_with("internally tagged enum ") => {
            "a map".to_owned()
        }
        _ if expected.starts_with("enum ") => A_STRING.to_owned(),
        _ => expected.to_owned(),
    }
}
