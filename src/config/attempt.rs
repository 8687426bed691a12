//! One try to read a tree, and the first mistake that it meets.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use super::diagnostic::Problem;
use super::fault::{Error, Fault};
use super::node::Node;
use super::span::Span;

/// One try to read a tree: what to leave out, what to add, and the first mistake met.
#[derive(Default)]
pub(crate) struct Attempt {
    /// Addresses of values that are passed over with their keys.
    pub(crate) skipped: HashSet<usize>,
    /// Entries added to the map at an address. Boxed, so that they too keep their addresses.
    pub(crate) added: HashMap<usize, Vec<Added>>,
    first: RefCell<Option<Met>>,
}

/// A key and its value.
pub(crate) type Added = (Box<Node>, Box<Node>);

/// A mistake and where it was met.
pub(crate) struct Met {
    pub(crate) fault: Fault,
    /// Address of the wrong value; for an unknown key that of its value, for a missing key that of the map.
    pub(crate) value: usize,
    pub(crate) problem: Problem,
}

impl Attempt {
    pub(crate) fn take_first(&self) -> Option<Met> {
        self.first.borrow_mut().take()
    }

    /// Keeps a mistake unless one deeper down was kept before.
    pub(crate) fn meet(
        &self,
        error: &Error,
        value: &Node,
        shown: &Node,
        name: Option<&str>,
        place: Span,
    ) {
        let mut first = self.first.borrow_mut();
        if first.is_none() {
            let fault = error.0.clone();
            let problem = fault.problem(shown, name, place);
            *first = Some(Met {
                fault,
                value: value.address(),
                problem,
            });
        }
    }
}
