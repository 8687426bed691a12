//! What the card is known to hold, block by block.

use crate::{buffer::Record, medium::Witness};

/// Records by number of the block. 64 bytes and some for a MiB: 9 MiB for a card of 128 GiB.
#[derive(Debug, Clone, Default)]
pub(crate) struct Blocks(Vec<Record>);

impl Blocks {
    pub(crate) fn get(&self, block: usize) -> Option<&Record> {
        self.0.get(block).filter(|record| record.is_known())
    }

    pub(crate) fn set(&mut self, block: usize, record: Record) {
        if block >= self.0.len() {
            self.0.resize(block + 1, Record::default());
        }
        self.0[block] = record;
    }

    pub(crate) fn forget(&mut self, block: usize) {
        if let Some(record) = self.0.get_mut(block) {
            *record = Record::default();
        }
    }

    /// Numbers of the known blocks, in order.
    pub(crate) fn known(&self) -> impl Iterator<Item = usize> + '_ {
        let all = self.0.iter().enumerate();
        all.filter(|(_, record)| record.is_known())
            .map(|(block, _)| block)
    }
}

/// Blocks of a card, good for as long as the witness is the same.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) witness: Witness,
    pub(crate) blocks: Blocks,
}
