//! A set of exporters, by their places in the order of names.

/// One bit for each exporter of the lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

const WORD: usize = u64::BITS as usize;

impl Bits {
    pub(super) fn none(size: usize) -> Self {
        Self(vec![0; size.div_ceil(WORD)])
    }

    pub(super) fn insert(&mut self, place: usize) {
        if let Some(word) = self.0.get_mut(place / WORD) {
            *word |= 1 << (place % WORD);
        }
    }

    pub(super) fn remove(&mut self, place: usize) {
        if let Some(word) = self.0.get_mut(place / WORD) {
            *word &= !(1 << (place % WORD));
        }
    }

    pub(super) fn keep(&mut self, other: &Self) {
        self.each(other, |one, other| one & other);
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.each(other, |one, other| one | other);
    }

    pub(super) fn drop(&mut self, other: &Self) {
        self.each(other, |one, other| one & !other);
    }

    fn each(&mut self, other: &Self, with: impl Fn(u64, u64) -> u64) {
        for (one, other) in self.0.iter_mut().zip(&other.0) {
            *one = with(*one, *other);
        }
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.keep(other);
        both
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(super) fn meets(&self, other: &Self) -> bool {
        self.first_in(other).is_some()
    }

    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn first(&self) -> Option<usize> {
        self.first_in(self)
    }

    /// The first that is also in the other.
    pub(super) fn first_in(&self, other: &Self) -> Option<usize> {
        let words = self.0.iter().zip(&other.0).enumerate();
        let mut both = words.map(|(at, (one, other))| (at, one & other));
        let (at, word) = both.find(|(_, word)| *word != 0)?;
        Some(at * WORD + word.trailing_zeros() as usize)
    }
}
