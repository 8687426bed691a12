//! Explicit tags: `!!str 10`.

use granit_parser::Tag;

use super::diagnostic::Problem;
use super::node::shorten;
use super::scalar::{self, Scalar};
use super::span::Span;

/// The meaning of a scalar that has one of YAML's own tags, and `None` when its text does not fit.
pub(super) fn tagged(text: &str, wanted: &str) -> Option<Scalar> {
    let meaning = scalar::resolve(text);
    match (wanted, &meaning) {
        ("null", Scalar::Null)
        | ("bool", Scalar::Bool(_))
        | ("int", Scalar::Int(_) | Scalar::TooLarge)
        | ("float", Scalar::Float(_)) => Some(meaning),
        #[allow(clippy::cast_precision_loss)] // The user asked for a float.
        ("float", Scalar::Int(value)) => Some(Scalar::Float(*value as f64)),
        _ => None,
    }
}

/// `!`, which makes a string of any scalar.
pub(super) fn is_non_specific(tag: &Tag) -> bool {
    tag.original_handle().is_empty() && tag.suffix() == "!"
        || tag.handle() == "!" && tag.suffix().is_empty()
}

/// The mistake of a tag that is none of YAML's own.
pub(super) fn unsupported(tag: &Tag, span: Span) -> Problem {
    let name = format!("{}{}", tag.original_handle(), tag.suffix());
    Problem::new(
        format!("the tag `{}` is not supported", shorten(&name)),
        span,
    )
}
