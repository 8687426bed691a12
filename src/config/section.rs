//! Reads a map key by key, in any of the spellings of a key, and reports what is left over.

use std::collections::HashSet;

use serde::de::DeserializeOwned;

use super::diagnostic::Problem;
use super::fault::key_not_text;
use super::node::{Node, shorten};
use super::read::from_value;
use super::span::Span;
use super::suggest;

/// A map that is being read. Mistakes are collected; reading goes on.
pub(crate) struct Section<'a, 'p> {
    node: &'a Node,
    entries: &'a [(Node, Node)],
    known: Vec<&'static str>,
    taken: HashSet<&'static str>,
    problems: &'p mut Vec<Problem>,
}

impl<'a, 'p> Section<'a, 'p> {
    /// Opens a map. `what` names it in the error for anything else.
    pub(crate) fn open(node: &'a Node, what: &str, problems: &'p mut Vec<Problem>) -> Option<Self> {
        let Some(entries) = node.entries() else {
            let problem = Problem::new(
                format!("{what}: expected a map, found {}", node.describe()),
                node.head,
            );
            let help = node
                .is_null()
                .then(|| "remove the key, or write `{}`".to_owned());
            problems.push(problem.maybe_help(help));
            return None;
        };
        Some(Section {
            node,
            entries,
            known: Vec::new(),
            taken: HashSet::new(),
            problems,
        })
    }

    /// Where problems of the section as a whole point.
    pub(crate) fn place(&self) -> Span {
        self.node.head
    }

    pub(crate) fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    pub(crate) fn problems(&mut self) -> &mut Vec<Problem> {
        self.problems
    }

    /// The entry of a key; `names` are its spellings, the preferred one first.
    pub(crate) fn entry(&mut self, names: &[&'static str]) -> Option<(&'a Node, &'a Node)> {
        self.known
            .extend(names.first().filter(|name| !self.taken.contains(*name)));
        self.taken.extend(names);
        let mut found = None;
        for (key, value) in self.entries {
            if !key.as_str().is_some_and(|text| names.contains(&text)) {
                continue;
            }
            match found {
                None => found = Some((key, value)),
                Some((first, _)) => {
                    let first: &Node = first;
                    let name = names.first().copied().unwrap_or_default();
                    let problem = Problem::new(
                        format!("`{name}` is given twice, in two spellings"),
                        key.span,
                    );
                    self.problems
                        .push(problem.related(first.span, "first used here"));
                }
            }
        }
        found
    }

    /// Accepts a key that means nothing here, and does not offer it in a help.
    pub(crate) fn accept(&mut self, name: &'static str) {
        self.taken.insert(name);
    }

    /// The value of a key.
    pub(crate) fn value(&mut self, names: &[&'static str]) -> Option<&'a Node> {
        self.entry(names).map(|(_, value)| value)
    }

    /// The value of a key as a type. `None` also when it is wrong; that was reported.
    pub(crate) fn get<T: DeserializeOwned>(&mut self, names: &[&'static str]) -> Option<T> {
        let (key, value) = self.entry(names)?;
        from_value(key.as_str().unwrap_or_default(), value)
            .map_err(|found| self.problems.extend(found))
            .ok()
    }

    /// A text; null and an empty one are none.
    pub(crate) fn text(&mut self, names: &[&'static str]) -> Option<String> {
        self.get::<Option<String>>(names)
            .flatten()
            .filter(|text| !text.is_empty())
    }

    /// Whether the file has the key, without taking it.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.node.get(name).is_some()
    }

    /// Reports the keys that nobody took.
    pub(crate) fn finish(self) {
        for (key, value) in self.entries {
            match key.as_str() {
                Some(name) if self.taken.contains(name) => {}
                Some(name) => {
                    let help = suggest::did_you_mean(name, self.known.iter().copied());
                    let problem =
                        Problem::new(format!("unknown key `{}`", shorten(name)), key.span);
                    self.problems.push(problem.maybe_help(help));
                }
                None if key.is_null() && value.is_null() => {}
                None => self.problems.push(key_not_text(key, key.span)),
            }
        }
    }
}

/// Reads a map of names that the user chose, with `each` for its values. Keys that are no texts are reported.
pub(crate) fn named<'a, T>(
    node: &'a Node,
    what: &str,
    problems: &mut Vec<Problem>,
    mut each: impl FnMut(&'a str, &'a Node, &'a Node, &mut Vec<Problem>) -> Option<T>,
) -> Vec<T> {
    let Some(entries) = node.entries() else {
        let problem = Problem::new(
            format!("{what}: expected a map, found {}", node.describe()),
            node.head,
        );
        problems.push(problem);
        return Vec::new();
    };
    let mut found = Vec::new();
    for (key, value) in entries {
        match key.as_str() {
            Some("") => problems.push(Problem::new(format!("{what}: a name is empty"), key.span)),
            Some(name) => found.extend(each(name, key, value, problems)),
            None => problems.push(key_not_text(key, key.span)),
        }
    }
    found
}
