//! The engine over a medium in memory that fails as it is told to.

use std::sync::{Mutex, atomic::AtomicU32};

use proptest::prelude::*;
use rigd_driver::TransferPhase;
use sha2::{Digest, Sha256};

use super::*;
use crate::{bmap::Bmap, layout::Form, pages::BLOCK, pages::BUFFER};

pub(crate) mod fake;
mod faults;

use fake::{Fake, Hang};

/// Pieces of an image, and perhaps an error at their end.
struct Pieces(std::vec::IntoIter<Piece>, Option<DriverError>);

impl Pieces {
    fn of(image: &[u8]) -> Self {
        let pieces: Vec<_> = image
            .chunks(100_000)
            .map(|piece| Piece::Data(piece.to_vec().into()))
            .collect();
        Self(pieces.into_iter(), None)
    }

    fn broken(image: &[u8], error: DriverError) -> Self {
        Self(Self::of(image).0, Some(error))
    }
}

impl Source for Pieces {
    fn next(&mut self) -> Result<Option<Piece>, DriverError> {
        match (self.0.next(), &self.1) {
            (Some(piece), _) => Ok(Some(piece)),
            (None, Some(error)) => Err(error.clone()),
            (None, None) => Ok(None),
        }
    }
}

struct Plan {
    delta: Delta,
    verify: Option<Verify>,
    gaps: Gaps,
    bmap: Option<Bmap>,
    size: Option<u64>,
    blocks: Blocks,
    /// Seconds for a buffer and for a sync.
    limits: [u64; 2],
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            delta: Delta::Proven,
            verify: Some(Verify::Full),
            gaps: Gaps::Fill,
            bmap: None,
            size: None,
            blocks: Blocks::default(),
            limits: [300, 10],
        }
    }
}

fn write(medium: &Arc<Fake>, source: Pieces, plan: Plan) -> Outcome {
    write_while(medium, source, plan, Box::new(|_| Ok(())))
}

fn write_while(medium: &Arc<Fake>, source: Pieces, plan: Plan, caller: Caller) -> Outcome {
    let capacity = medium.capacity();
    let before = medium.written.load(Relaxed);
    let layout = Layout::new(Form::Raw, plan.size, plan.bmap, plan.gaps, capacity);
    let outcome = run(Job {
        source: Box::new(source),
        layout: layout.unwrap(),
        medium: medium.clone(),
        caller,
        gaps: plan.gaps,
        delta: plan.delta,
        verify: plan.verify,
        stall_limit: Duration::from_secs(plan.limits[0]),
        sync_limit: Duration::from_secs(plan.limits[1]),
        blocks: plan.blocks,
        digests: Digests::default(),
    });
    if medium.hangs.lock().unwrap().is_some() {
        return outcome;
    }
    assert_eq!(Arc::strong_count(medium), 1, "somebody keeps the medium");
    if let Some(written) = outcome.written {
        assert!(written >= medium.written.load(Relaxed) - before);
    }
    outcome
}

/// Bytes that differ from block to block.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn error(outcome: Outcome) -> String {
    outcome.result.unwrap_err().to_string()
}

#[test]
fn an_image_is_written_and_read_back_and_the_rest_of_the_card_stays() {
    let card = Arc::new(Fake::new(3 * BUFFER, 0xee));
    // Ends within a sector.
    let image = noise(2 * BUFFER + BLOCK + 777, 1);
    let report = write(&card, Pieces::of(&image), Plan::default())
        .result
        .unwrap();
    let sha256: String = Sha256::digest(&image)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let size = image.len() as u64;
    let expected = Report {
        size,
        mapped: size,
        unchanged: 0,
        sha256,
        verify: Verify::Full,
        verified: size,
    };
    assert_eq!(report, expected);
    let held = card.holds();
    assert!(held[..image.len()] == image);
    assert!(held[image.len()..].iter().all(|b| *b == 0xee));
    assert_eq!(card.syncs.load(Relaxed), 1);
}

#[test]
fn a_byte_that_reads_back_wrong_fails_the_write() {
    let place = 5 * BLOCK + 17;
    let card = Arc::new(Fake {
        flipped: Some(place),
        ..Fake::new(4 * BUFFER, 0)
    });
    let image = noise(3 * BUFFER, 4);
    let outcome = write(&card, Pieces::of(&image), Plan::default());
    assert_eq!(outcome.blocks.known().count(), 0);
    let text = error(outcome);
    assert!(
        text.contains("verify failed: /dev/fake reads back other bytes than were written within the MiB at 5 MiB"),
        "{text}"
    );
    let plan = Plan {
        verify: Some(Verify::None),
        ..Plan::default()
    };
    let report = write(&card, Pieces::of(&image), plan).result.unwrap();
    assert_eq!((report.verify, report.verified), (Verify::None, 0));
}

#[test]
fn the_first_cause_is_told_when_the_source_breaks_and_resuming_saves_writes() {
    let card = Arc::new(Fake::new(8 * BUFFER, 0));
    let image = noise(8 * BUFFER, 5);
    let cause = DriverError::InvalidArgument("checksum error in xz data".into());
    let broken = Pieces::broken(&image[..7 * BUFFER], cause);
    let outcome = write(&card, broken, Plan::default());
    let known = outcome.blocks.clone();
    assert_eq!(outcome.written, Some(card.taken()));
    let text = error(outcome);
    assert!(text.ends_with("MiB: checksum error in xz data"), "{text}");
    assert!(text.starts_with("write stopped at "), "{text}");
    let proven = known.known().count();
    // All but what may have been on its way.
    assert!(proven >= (7 - BUFFERS) * BUFFER / BLOCK, "{proven}");
    let plan = Plan {
        blocks: known,
        ..Plan::default()
    };
    let outcome = write(&card, Pieces::of(&image), plan);
    let report = outcome.result.unwrap();
    assert_eq!(report.unchanged, (proven * BLOCK) as u64);
    assert_eq!(card.taken(), image.len() as u64 - report.unchanged);
    assert!(card.holds() == image);
}

#[test]
fn a_write_that_nobody_wants_stops_with_its_next_buffer() {
    let card = Arc::new(Fake::new(16 * BUFFER, 0));
    let looks = AtomicU32::new(0);
    let caller = move |_| match looks.fetch_add(1, Relaxed) {
        0..=100 => Ok(()),
        _ => Err(DriverError::Cancelled("write: the caller went away".into())),
    };
    let image = noise(16 * BUFFER, 6);
    let outcome = write_while(&card, Pieces::of(&image), Plan::default(), Box::new(caller));
    assert!(card.taken() <= 12_000_000);
    let text = error(outcome);
    assert!(text.ends_with(": write: the caller went away"), "{text}");
}

#[test]
fn progress_is_of_bytes_that_the_card_has() {
    let card = Arc::new(Fake::new(4 * BUFFER, 0));
    let heard: Arc<Mutex<Vec<TransferProgress>>> = Arc::default();
    let (news, written) = (heard.clone(), card.clone());
    let caller = move |progress: Option<TransferProgress>| {
        if let Some(progress) = progress {
            if progress.phase == TransferPhase::Write {
                assert!(
                    progress.done <= written.written.load(Relaxed),
                    "{progress:?}"
                );
            }
            news.lock().unwrap().push(progress);
        }
        // Long enough for several of them.
        std::thread::sleep(Duration::from_millis(5));
        Ok(())
    };
    let image = noise(4 * BUFFER, 9);
    let plan = Plan {
        size: Some(image.len() as u64),
        ..Plan::default()
    };
    let outcome = write_while(&card, Pieces::of(&image), plan, Box::new(caller));
    outcome.result.unwrap();
    let heard = heard.lock().unwrap();
    assert!(heard.len() > 2, "{heard:?}");
    let total = Some(image.len() as u64);
    assert!(heard.iter().all(|it| it.total == total), "{heard:?}");
    assert!(heard.windows(2).all(|two| two[0].done <= two[1].done));
    assert!(heard.last().unwrap().done > 0, "{heard:?}");
}

#[test]
fn a_changed_block_is_found_by_comparing_and_trusted_hashes_would_miss_it() {
    let card = Arc::new(Fake::new(2 * BUFFER, 0));
    let image = noise(2 * BUFFER, 7);
    let first = write(&card, Pieces::of(&image), Plan::default());
    first.result.unwrap();
    card.taken();
    // The board changes a byte behind the engine's back.
    card.data.lock().unwrap()[3 * BLOCK + 9] ^= 1;
    let compare = Plan {
        delta: Delta::Compare,
        ..Plan::default()
    };
    let report = write(&card, Pieces::of(&image), compare).result.unwrap();
    assert!(card.holds() == image);
    assert_eq!(report.unchanged, (2 * BUFFER - BLOCK) as u64);
    assert_eq!(card.taken(), BLOCK as u64);
    // Which is why hashes only count with a witness; with verify on not even this passes.
    card.data.lock().unwrap()[3 * BLOCK + 9] ^= 1;
    let trusting = Plan {
        blocks: first.blocks,
        ..Plan::default()
    };
    let text = error(write(&card, Pieces::of(&image), trusting));
    assert!(text.contains("verify failed"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever was there and is known, every way of writing ends equal to a full write.
    #[test]
    fn every_delta_ends_equal_to_a_full_write(
        old in prop::collection::vec(0_u64..3, 8),
        new in prop::collection::vec(0_u64..3, 1..8),
        cut in 0_usize..BLOCK,
        first in prop::bool::ANY,
        compare in prop::bool::ANY,
        full in prop::bool::ANY,
    ) {
        let image = |seeds: &[u64]| -> Vec<u8> {
            let blocks = seeds.iter().enumerate();
            blocks.flat_map(|(at, seed)| match seed {
                0 => vec![0; BLOCK],
                seed => noise(BLOCK, seed * 100 + at as u64),
            }).collect()
        };
        let (old, mut new) = (image(&old), image(&new));
        new.truncate(new.len() - cut);
        let card = Arc::new(Fake::new(8 * BLOCK, 0));
        let mut blocks = Blocks::default();
        if first {
            let done = write(&card, Pieces::of(&old), Plan::default());
            done.result.unwrap();
            blocks = done.blocks;
        } else {
            card.data.lock().unwrap().copy_from_slice(&old);
        }
        let delta = match (full, compare) {
            (true, _) => Delta::None,
            (false, true) => Delta::Compare,
            (false, false) => Delta::Proven,
        };
        let plan = Plan { delta, blocks, ..Plan::default() };
        let outcome = write(&card, Pieces::of(&new), plan);
        outcome.result.unwrap();
        let mut expected = old;
        expected[..new.len()].copy_from_slice(&new);
        prop_assert!(card.holds() == expected);
        // What is known afterwards is what is there.
        for block in outcome.blocks.known() {
            let record = outcome.blocks.get(block).unwrap();
            let held = &card.holds()[block * BLOCK..(block + 1) * BLOCK];
            let found = crate::buffer::Record::of(held, record.pages, record.valid as usize);
            prop_assert_eq!(record, &found);
        }
    }
}
