//! What tags and context of a lease may be.

use crate::{model::Labels, selector};

/// Prefix under which Kubernetes objects carry tags as labels.
pub(crate) const TAG_PREFIX: &str = "metadata.jumpstarter.dev/";
/// Of labels that are not the users'.
const RESERVED_PREFIX: &str = "jumpstarter.dev/";
/// Entries, and characters of a key and a value: what Jumpstarter's controller admits.
const MAX_CONTEXT: (usize, usize, usize) = (8, 32, 64);
/// As much of a wrong text as an answer quotes.
const QUOTED: usize = 80;
const RULE: &str = "at most 63 letters, digits, '-', '_' or '.', the outer ones letters or digits";

/// What is wrong with tags or context.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// There are too many.
    #[error("too many tags: {0} (maximum {1})")]
    Many(usize, usize),
    /// Such keys are not the users'.
    #[error("tag key {0:?} must not use reserved prefix")]
    Reserved(String),
    /// A key has a prefix.
    #[error("tag key {0:?} must not contain '/' (use simple names without prefix)")]
    Prefixed(String),
    /// A key cannot be that of a label.
    #[error("tag key {0:?} is not a valid label key: it must have {RULE}")]
    Key(String),
    /// A value cannot be that of a label.
    #[error("tag value for key {0:?} is not a valid label value: it must have {RULE}")]
    Value(String),
    /// There are too many.
    #[error("too many entries: {0} (maximum {max})", max = MAX_CONTEXT.0)]
    ManyEntries(usize),
    /// A key is empty or too long.
    #[error("key {0:?} must have 1 to {max} characters", max = MAX_CONTEXT.1)]
    EntryKey(String),
    /// A value is too long.
    #[error("value for key {0:?} must have at most {max} characters", max = MAX_CONTEXT.2)]
    EntryValue(String),
}

/// Checks tags; `max` is how many there may be.
pub(super) fn check_tags(tags: &Labels, max: usize) -> Result<(), TagError> {
    if tags.len() > max {
        return Err(TagError::Many(tags.len(), max));
    }
    for (key, value) in tags {
        let wrong = if key.starts_with(TAG_PREFIX) || key.starts_with(RESERVED_PREFIX) {
            TagError::Reserved
        } else if key.contains('/') {
            TagError::Prefixed
        } else if selector::key(key).is_err() {
            TagError::Key
        } else if selector::value(value).is_err() {
            TagError::Value
        } else {
            continue;
        };
        return Err(wrong(quoted(key)));
    }
    Ok(())
}

/// Checks context.
pub(super) fn check_context(context: &Labels) -> Result<(), TagError> {
    let (entries, key_length, value_length) = MAX_CONTEXT;
    if context.len() > entries {
        return Err(TagError::ManyEntries(context.len()));
    }
    for (key, value) in context {
        if key.is_empty() || key.chars().count() > key_length {
            return Err(TagError::EntryKey(quoted(key)));
        }
        if value.chars().count() > value_length {
            return Err(TagError::EntryValue(quoted(key)));
        }
    }
    Ok(())
}

fn quoted(text: &str) -> String {
    text.chars().take(QUOTED).collect()
}
