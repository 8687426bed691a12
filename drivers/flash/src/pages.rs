//! Which parts of a piece of the target are written, in pages of 4 KiB.
//!
//! Everything is told in this one unit: the blocks of a bmap and of a sparse image are multiples of
//! it (those of a bmap are rounded outwards, since the image has bytes there as well), and so are
//! the sectors of every card.

use std::ops::Range;

/// Bytes of a page.
pub(crate) const PAGE: usize = 4096;
/// Bytes of a block: what is hashed, verified, compared and left out as one.
pub(crate) const BLOCK: usize = 1 << 20;
/// Bytes of a buffer: what is written at once. The rate of cards does not grow beyond this.
pub(crate) const BUFFER: usize = 2 << 20;
/// Blocks of a buffer.
pub(crate) const BLOCKS: usize = BUFFER / BLOCK;

const WORDS: usize = BLOCK / PAGE / 64;

/// Pages of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct BlockPages([u64; WORDS]);

impl BlockPages {
    pub(crate) fn is_empty(self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// A bit for each page, as bytes.
    pub(crate) fn words(self) -> impl Iterator<Item = [u8; 8]> {
        self.0.into_iter().map(u64::to_le_bytes)
    }

    fn bits(range: Range<usize>) -> impl Iterator<Item = (usize, u64)> {
        range.map(|page| (page / 64, 1 << (page % 64)))
    }

    pub(crate) fn set(&mut self, pages: Range<usize>) {
        Self::bits(pages).for_each(|(word, bit)| self.0[word] |= bit);
    }

    pub(crate) fn clear(&mut self, pages: Range<usize>) {
        Self::bits(pages).for_each(|(word, bit)| self.0[word] &= !bit);
    }

    pub(crate) fn has(self, page: usize) -> bool {
        self.0[page / 64] & (1 << (page % 64)) != 0
    }

    /// Runs of pages as ranges of bytes from the start of the block, none beyond `valid`.
    pub(crate) fn runs(self, valid: usize) -> impl Iterator<Item = Range<usize>> {
        runs(move |page| self.has(page), BLOCK / PAGE, valid)
    }
}

/// Runs of the pages that `has` tells of, as ranges of bytes, none beyond `valid`.
pub(crate) fn runs(
    has: impl Fn(usize) -> bool,
    pages: usize,
    valid: usize,
) -> impl Iterator<Item = Range<usize>> {
    let mut page = 0;
    std::iter::from_fn(move || {
        while page < pages && !has(page) {
            page += 1;
        }
        let start = page;
        while page < pages && has(page) {
            page += 1;
        }
        let run = start * PAGE..(page * PAGE).min(valid);
        (run.start < run.end).then_some(run)
    })
}

/// `bytes` up to a multiple of `unit`.
pub(crate) fn round_up(bytes: usize, unit: usize) -> usize {
    bytes.div_ceil(unit) * unit
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn runs_are_the_pages_in_order(pages in prop::collection::vec(any::<bool>(), 256), valid in 0..=BLOCK) {
            let mut mask = BlockPages::default();
            for (page, _) in pages.iter().enumerate().filter(|(_, on)| **on) {
                mask.set(page..page + 1);
            }
            let mut seen = vec![false; BLOCK / PAGE];
            let mut last = 0;
            for run in mask.runs(valid) {
                prop_assert!(run.start >= last && run.end <= valid && run.start < run.end);
                prop_assert!(run.start == 0 || run.start > last || last == 0, "runs join");
                last = run.end;
                seen[run.start / PAGE..run.end.div_ceil(PAGE)].fill(true);
            }
            for (page, on) in pages.iter().enumerate() {
                prop_assert_eq!(seen[page], *on && page * PAGE < valid);
            }
            mask.clear(0..256);
            prop_assert!(mask.is_empty());
        }
    }
}
