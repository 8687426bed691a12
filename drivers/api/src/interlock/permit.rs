//! The right of one piece of work to run under the rules, given back when it is dropped.

use std::sync::Arc;

use super::{Interlocks, table::Id};
use crate::Key;

/// Held for as long as the work goes on.
#[derive(Debug)]
pub(crate) struct Permit {
    interlocks: Arc<Interlocks>,
    id: Id,
    key: Option<Key>,
}

impl Permit {
    pub(super) fn new(interlocks: Arc<Interlocks>, id: Id, key: Option<Key>) -> Self {
        Self {
            interlocks,
            id,
            key,
        }
    }

    /// The key that ends with the lease, and when the work loses what it needs.
    pub(crate) fn key(&self) -> Option<&Key> {
        self.key.as_ref()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.interlocks.release(self.id);
    }
}
