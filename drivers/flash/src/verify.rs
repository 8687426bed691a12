//! Reading back what was written.

use std::sync::atomic::Ordering::Relaxed;

use rigd_driver::{ByteCount, DriverError};

use crate::{
    blocks::Blocks,
    buffer::{Buffer, Record},
    medium::{Medium, failed},
    pages::{BLOCK, round_up},
    settings::Verify,
    writer::Shared,
};

/// Blocks of a sample: at 20 MB/s it takes 7 s.
const SAMPLES: usize = 128;
/// Of these at the beginning, where partition tables and boot loaders are.
const FIRST: usize = 8;

/// Which of `count` blocks are read back. The rest of a sample is spread evenly, and always has the
/// last block.
fn chosen(count: usize, verify: Verify) -> Vec<usize> {
    match verify {
        Verify::None => Vec::new(),
        Verify::Sampled if count > SAMPLES => {
            let (spread, over) = (SAMPLES - FIRST, count - FIRST);
            let rest = (1..=spread).map(|n| FIRST + over * n / spread - 1);
            (0..FIRST).chain(rest).collect()
        }
        Verify::Sampled | Verify::Full => (0..count).collect(),
    }
}

/// Compares what `medium` holds in the `touched` blocks with their records.
pub(crate) fn read_back(
    medium: &dyn Medium,
    shared: &Shared,
    blocks: &Blocks,
    touched: &[u32],
    verify: Verify,
    scratch: &mut Buffer,
) -> Result<(), DriverError> {
    let chosen = chosen(touched.len(), verify);
    let records = || {
        let numbers = chosen.iter().map(|n| touched[*n] as usize);
        numbers.filter_map(|block| blocks.get(block).map(|record| (block, record)))
    };
    let total = records().map(|(_, record)| record.len() as u64).sum();
    shared.to_verify.store(total, Relaxed);
    for (block, record) in records() {
        if shared.stopped() {
            return Ok(());
        }
        let held = read_block(medium, block, record, scratch)?;
        let held = held.map(|held| Record::of(held, record.pages, record.valid as usize));
        if held.as_ref() != Some(record) {
            let at = block as u64 * BLOCK as u64;
            return Err(DriverError::Device(format!(
                "verify failed: {} reads back other bytes than were written within the MiB at {} \
                 (byte {at})",
                medium.name(),
                ByteCount(at).rounded(),
            )));
        }
        shared.verified.fetch_add(record.len() as u64, Relaxed);
    }
    Ok(())
}

/// The bytes of `block` where `record` is over them; `None` when the medium ends before.
pub(crate) fn read_block<'a>(
    medium: &dyn Medium,
    block: usize,
    record: &Record,
    scratch: &'a mut Buffer,
) -> Result<Option<&'a [u8]>, DriverError> {
    let base = block as u64 * BLOCK as u64;
    for run in record.runs() {
        let at = base + run.start as u64;
        let end = round_up(run.end, medium.sector());
        let read = medium.read_at(&mut scratch.bytes_mut()[run.start..end], at);
        let read = read.map_err(|e| failed(medium, "read back", at, &e))?;
        if read < run.len() {
            return Ok(None);
        }
    }
    Ok(Some(&scratch.bytes()[..BLOCK]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_sample_has_both_ends_and_no_block_twice(count in 0_usize..200_000) {
            let sample = chosen(count, Verify::Sampled);
            prop_assert_eq!(sample.len(), count.min(SAMPLES));
            prop_assert!(sample.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(sample.iter().take(FIRST).copied().eq(0..count.min(FIRST)));
            prop_assert_eq!(sample.last().copied(), count.checked_sub(1));
            prop_assert_eq!(chosen(count, Verify::Full).len(), count);
            prop_assert!(chosen(count, Verify::None).is_empty());
        }
    }
}
