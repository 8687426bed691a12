//! What the state must say of each object, by what was acknowledged.

use std::{collections::BTreeMap, fmt::Debug};

/// Where a change that was cut off leaves its object: as it was, or as it was to be.
#[derive(Debug, Clone)]
struct Entry<S> {
    certain: S,
    perhaps: Option<S>,
}

/// All objects of one writer.
#[derive(Debug)]
pub(crate) struct Ledger<S> {
    entries: BTreeMap<String, Entry<S>>,
    acknowledged: usize,
}

impl<S: Clone + PartialEq + Debug + Default> Ledger<S> {
    pub(crate) fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
            acknowledged: 0,
        }
    }

    /// A change begins.
    pub(crate) fn begin(&mut self, name: &str, next: S) {
        let entry = self.entries.entry(name.to_owned()).or_insert(Entry {
            certain: S::default(),
            perhaps: None,
        });
        entry.perhaps = Some(next);
    }

    /// It was acknowledged.
    pub(crate) fn done(&mut self, name: &str) {
        let entry = self.entries.get_mut(name).unwrap();
        entry.certain = entry.perhaps.take().unwrap();
        self.acknowledged += 1;
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged
    }

    /// What is certain of all of them.
    pub(crate) fn certain(&self) -> impl Iterator<Item = (&str, &S)> {
        let all = self.entries.iter();
        all.map(|(name, entry)| (name.as_str(), &entry.certain))
    }

    /// Compares with what there is, and takes that over; gives how many changes were cut off.
    pub(crate) fn compare(&mut self, found: impl Fn(&str) -> S) -> usize {
        let mut cut = 0;
        for (name, entry) in &mut self.entries {
            let found = found(name);
            let right = found == entry.certain || entry.perhaps.as_ref() == Some(&found);
            assert!(right, "{name} is {found:?}, and was to be {entry:?}");
            cut += usize::from(entry.perhaps.take().is_some());
            entry.certain = found;
        }
        cut
    }
}
