//! Merge keys: `<<: *base`, as PyYAML applies them.

use std::collections::HashMap;

use super::diagnostic::Problem;
use super::node::{Kind, Node, Style};
use super::span::Span;

/// What `<<` brings in. Of several maps the first one wins, and the keys of the last one come first.
pub(super) fn base(value: Node, key: Span) -> (Vec<(Node, Node)>, Option<Problem>) {
    let sources = match value.kind {
        Kind::Map(entries) => return (entries, None),
        Kind::Seq(items) => items,
        _ => Vec::from([value]),
    };
    let mut base = Vec::new();
    for source in sources.into_iter().rev() {
        match source.kind {
            Kind::Map(entries) => base = overlay(base, entries),
            _ => {
                let problem = Problem::new("`<<` takes a map or a list of maps", key)
                    .help("write `<<: *name` with the name of an anchor on a map");
                return (base, Some(problem));
            }
        }
    }
    (base, None)
}

/// `over` on top of `base`: a key that both have keeps its position and gets the new value.
pub(super) fn overlay(mut base: Vec<(Node, Node)>, over: Vec<(Node, Node)>) -> Vec<(Node, Node)> {
    let mut index: HashMap<String, usize> = HashMap::new();
    for (at, (key, _)) in base.iter().enumerate() {
        index.extend(identity(key).map(|identity| (identity, at)));
    }
    for (key, value) in over {
        match identity(&key).and_then(|identity| index.get(&identity)) {
            Some(at) => base[*at] = (key, value),
            None => base.push((key, value)),
        }
    }
    base
}

/// A text that is equal for equal keys, and `None` for what cannot be one.
pub(super) fn identity(key: &Node) -> Option<String> {
    match &key.kind {
        Kind::Null => Some("n".to_owned()),
        Kind::Bool(value) => Some(format!("b{value}")),
        Kind::Int(value) => Some(format!("i{value}")),
        Kind::Float(value) => Some(format!("f{value}")),
        Kind::Str(text) if is_merge(key) => Some(format!("m{text}")),
        Kind::Str(text) => Some(format!("s{text}")),
        Kind::Seq(_) | Kind::Map(_) => None,
    }
}

/// Quoted, `<<` is a key like others.
pub(super) fn is_merge(key: &Node) -> bool {
    matches!(&key.style, Style::Plain(text) if &**text == "<<") && key.as_str().is_some()
}
