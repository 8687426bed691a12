//! One piece of the target on its way to the writer.

use std::ops::Range;

use crate::pages::{BLOCK, BLOCKS, BUFFER, BlockPages, PAGE, runs};

/// What a block of the target holds where it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Record {
    /// The pages that the hash is over. None: nothing is known.
    pub(crate) pages: BlockPages,
    /// The hash is over no byte beyond this, counted from the start of the block.
    pub(crate) valid: u32,
    /// BLAKE3.
    pub(crate) hash: [u8; 32],
}

impl Record {
    /// The record of `block`, whose bytes start at its first page.
    pub(crate) fn of(block: &[u8], pages: BlockPages, valid: usize) -> Self {
        let mut hash = blake3::Hasher::new();
        for run in pages.runs(valid) {
            hash.update(&block[run]);
        }
        Self {
            pages,
            valid: valid as u32,
            hash: *hash.finalize().as_bytes(),
        }
    }

    pub(crate) fn is_known(&self) -> bool {
        !self.pages.is_empty()
    }

    /// Bytes that the record is over.
    pub(crate) fn len(&self) -> usize {
        self.runs().map(|run| run.len()).sum()
    }

    pub(crate) fn runs(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        self.pages.runs(self.valid as usize)
    }
}

/// [`BUFFER`] bytes at a multiple of [`BUFFER`] on the target, of which some pages are to be written.
/// The memory is aligned to a page, as direct I/O wants it.
#[derive(Debug)]
pub(crate) struct Buffer {
    memory: Vec<u8>,
    start: usize,
    /// Place on the target.
    pub(crate) at: u64,
    /// End of the last byte that was put, from the start of the buffer.
    pub(crate) valid: usize,
    pages: [BlockPages; BLOCKS],
    records: [Option<Record>; BLOCKS],
}

impl Buffer {
    pub(crate) fn new() -> Self {
        let memory = vec![0; BUFFER + PAGE];
        Self {
            start: memory.as_ptr().align_offset(PAGE),
            memory,
            at: 0,
            valid: 0,
            pages: Default::default(),
            records: Default::default(),
        }
    }

    /// Empty, for the piece at `at`.
    pub(crate) fn reset(&mut self, at: u64) {
        self.at = at;
        self.valid = 0;
        self.pages = Default::default();
        self.records = Default::default();
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + BUFFER]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + BUFFER]
    }

    /// The memory for `range`, whose pages are then written. A page may be put in several pieces.
    pub(crate) fn put(&mut self, range: Range<usize>) -> &mut [u8] {
        let (first, end) = (range.start / PAGE, range.end.div_ceil(PAGE));
        self.for_blocks(first..end, |pages, own| pages.set(own));
        self.valid = self.valid.max(range.end);
        &mut self.memory[self.start + range.start..self.start + range.end]
    }

    /// Leaves out of writing every whole `unit` of zeros.
    pub(crate) fn drop_zeros(&mut self, unit: usize) {
        for at in (0..BUFFER).step_by(unit) {
            let range = at..at + unit;
            if range.end <= self.valid && self.bytes()[range.clone()].iter().all(|b| *b == 0) {
                let pages = range.start / PAGE..range.end / PAGE;
                self.for_blocks(pages, |pages, own| pages.clear(own));
            }
        }
    }

    fn for_blocks(
        &mut self,
        pages: Range<usize>,
        mut change: impl FnMut(&mut BlockPages, Range<usize>),
    ) {
        let per = BLOCK / PAGE;
        for block in pages.start / per..pages.end.div_ceil(per) {
            let base = block * per;
            let own = pages.start.max(base) - base..pages.end.min(base + per) - base;
            change(&mut self.pages[block], own);
        }
    }

    /// Makes the records of its blocks. Nothing may be put afterwards.
    pub(crate) fn hash_blocks(&mut self) {
        for block in 0..BLOCKS {
            let pages = self.pages[block];
            let base = block * BLOCK;
            let valid = self.valid.saturating_sub(base).min(BLOCK);
            let bytes = &self.bytes()[base..base + BLOCK];
            let record = (!pages.is_empty()).then(|| Record::of(bytes, pages, valid));
            self.records[block] = record;
        }
    }

    /// The record of one of its blocks, once they are hashed; `None` when nothing of the block is to be
    /// written.
    pub(crate) fn record(&self, block: usize) -> Option<Record> {
        self.records[block]
    }

    /// Equal for two buffers only where both hold the same at the same place. Its blocks are hashed.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let mut hash = blake3::Hasher::new();
        hash.update(&self.at.to_le_bytes());
        for record in self.records.iter().map(|record| record.unwrap_or_default()) {
            record.pages.words().for_each(|word| _ = hash.update(&word));
            hash.update(&record.valid.to_le_bytes())
                .update(&record.hash);
        }
        *hash.finalize().as_bytes()
    }

    /// Runs to write, as ranges of the buffer, of the blocks that `wanted` tells of.
    pub(crate) fn runs(
        &self,
        wanted: [bool; BLOCKS],
    ) -> impl Iterator<Item = Range<usize>> + use<> {
        let pages = self.pages;
        let per = BLOCK / PAGE;
        let has = move |page: usize| wanted[page / per] && pages[page / per].has(page % per);
        runs(has, BUFFER / PAGE, self.valid)
    }

    /// Number of the first block on the target.
    pub(crate) fn first_block(&self) -> usize {
        (self.at / BLOCK as u64) as usize
    }
}
