//! Reads a node into a type and finds all of its mistakes, not only the first.
//!
//! serde stops at the first mistake. So the value is read again without the key that was wrong, or with a
//! stand-in for the key that was missing, until nothing new is found. A mistake that could be the
//! consequence of such a change is not told.

use std::collections::HashMap;
use std::fmt::Display;

use serde::de::DeserializeOwned;

use super::attempt::{Attempt, Met};
use super::de::NodeDeserializer;
use super::diagnostic::Problem;
use super::fault::{Error, Fault};
use super::node::{Kind, Node, Style};
use super::suggest;

/// How often a value is read again. Each round finds or works around one mistake; nobody reads more at once.
const MAX_ROUNDS: usize = 64;

/// Reads a value, or tells everything that is wrong with it.
///
/// # Errors
/// At least one problem, in the order in which they were found.
pub fn from_node<T: DeserializeOwned>(node: &Node) -> Result<T, Vec<Problem>> {
    search(node, None, |deserializer| T::deserialize(deserializer))
}

/// As [`from_node`] for the value of a key, which the messages name.
pub(crate) fn from_value<T: DeserializeOwned>(key: &str, node: &Node) -> Result<T, Vec<Problem>> {
    search(node, Some(key), |deserializer| T::deserialize(deserializer))
}

/// As [`from_node`] for a reader that is not a type, such as one behind a trait object. `read` is called again
/// until all mistakes are known; its own error is only used when none was noted below it.
///
/// # Errors
/// At least one problem, in the order in which they were found.
pub fn read_all<R, E: Display>(
    node: &Node,
    read: impl FnMut(NodeDeserializer<'_>) -> Result<R, E>,
) -> Result<R, Vec<Problem>> {
    search(node, None, read)
}

fn search<R, E: Display>(
    node: &Node,
    name: Option<&str>,
    mut read: impl FnMut(NodeDeserializer<'_>) -> Result<R, E>,
) -> Result<R, Vec<Problem>> {
    let mut search = Search {
        root: node,
        attempt: Attempt::default(),
        wrong: HashMap::new(),
        problems: Vec::new(),
    };
    for _ in 0..MAX_ROUNDS {
        let deserializer = NodeDeserializer::new(node, name, &search.attempt);
        let error = match read(deserializer) {
            Ok(value) if search.problems.is_empty() => return Ok(value),
            Ok(_) => break,
            Err(error) => error,
        };
        // An error after everything was read, such as of a check of the whole.
        deserializer.note(&Error(Fault::Custom(error.to_string())));
        let Some(met) = search.attempt.take_first() else {
            break;
        };
        if !search.work_around(met) {
            break;
        }
    }
    Err(search.problems)
}

struct Search<'a> {
    root: &'a Node,
    attempt: Attempt,
    /// What was wrong in the map at an address: names, folded, of keys that are left out now, or were meant by
    /// a key that is.
    wrong: HashMap<usize, Vec<String>>,
    problems: Vec<Problem>,
}

impl Search<'_> {
    /// Notes a mistake and changes the attempt so that it does not come again. False when there is no way.
    fn work_around(&mut self, met: Met) -> bool {
        let Met {
            fault,
            value,
            problem,
        } = met;
        match fault {
            Fault::MissingField(name) => {
                let known = self
                    .wrong
                    .get(&value)
                    .is_some_and(|names| names.contains(&suggest::fold(name)));
                if !known && !self.is_stand_in(value) {
                    self.problems.push(problem);
                }
                self.add_stand_in(value, name);
                true
            }
            _ if self.is_stand_in(value) => self.next_stand_in(value, &fault),
            Fault::Custom(_) | Fault::Length { .. } | Fault::DuplicateField(_) => {
                if !self.was_changed_below(value) || self.problems.is_empty() {
                    self.problems.push(problem);
                }
                self.leave_out(value, None)
            }
            Fault::UnknownField { name, expected } => {
                self.problems.push(problem);
                self.leave_out(value, suggest::nearest(&name, expected.iter().copied()))
            }
            _ => {
                self.problems.push(problem);
                self.leave_out(value, None)
            }
        }
    }

    fn leave_out(&mut self, value: usize, meant: Option<&str>) -> bool {
        if value == self.root.address() || !self.attempt.skipped.insert(value) {
            return false;
        }
        let mut found = None;
        self.root.walk(&mut |node| {
            let entries = node.entries().unwrap_or_default();
            if let Some((key, _)) = entries.iter().find(|(_, below)| below.address() == value) {
                found = Some((node.address(), key.written().map(suggest::fold)));
            }
        });
        if let Some((map, key)) = found {
            let names = self.wrong.entry(map).or_default();
            names.extend(key);
            names.extend(meant.map(suggest::fold));
        }
        true
    }

    fn was_changed_below(&self, address: usize) -> bool {
        let mut changed = false;
        self.root.walk(&mut |node| {
            if node.address() == address {
                node.walk(&mut |below| {
                    let address = below.address();
                    changed |= self.attempt.skipped.contains(&address)
                        || self.attempt.added.contains_key(&address);
                });
            }
        });
        changed
    }

    fn add_stand_in(&mut self, map: usize, name: &str) {
        let place = self.root.span;
        let key = Node::new(Kind::Str(name.to_owned()), place, Style::Quoted);
        let value = Node::new(Kind::Null, place, Style::Quoted);
        self.attempt
            .added
            .entry(map)
            .or_default()
            .push((Box::new(key), Box::new(value)));
    }

    fn is_stand_in(&self, value: usize) -> bool {
        self.attempt
            .added
            .values()
            .flatten()
            .any(|(_, node)| node.address() == value)
    }

    /// Tries the next kind of value for a key that is missing, until its type takes one.
    fn next_stand_in(&mut self, value: usize, fault: &Fault) -> bool {
        let mut stand_ins = self.attempt.added.values_mut().flatten();
        let Some((_, node)) = stand_ins.find(|(_, node)| node.address() == value) else {
            return false;
        };
        node.kind = match (&node.kind, fault) {
            (
                _,
                Fault::UnknownVariant {
                    expected: [first, ..],
                    ..
                },
            ) if node.as_str() != Some(*first) => Kind::Str((*first).to_owned()),
            (Kind::Null, _) => Kind::Str(String::new()),
            (Kind::Str(text), _) if text.is_empty() => Kind::Int(1),
            (Kind::Int(_), _) => Kind::Bool(false),
            (Kind::Bool(_), _) => Kind::Seq(Vec::new()),
            (Kind::Seq(_), _) => Kind::Map(Vec::new()),
            _ => return false,
        };
        true
    }
}

#[cfg(test)]
mod tests;
