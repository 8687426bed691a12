//! Which of two calls came first.

use std::sync::atomic::{AtomicU64, Ordering};

// One for all instances, so that there is nothing to hand around; only the order of calls on one of
// them means anything.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// The place of a call in the order in which calls came. One that waits for its turn may be served
/// after one that came later: this tells.
///
/// The default is before all calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrival(u64);

impl Arrival {
    /// After all calls that have come until now, and before all that will.
    pub fn now() -> Self {
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}
