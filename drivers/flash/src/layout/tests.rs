//! The planner as a whole, against a model: what it writes is the image and nothing else.

use proptest::prelude::*;

use super::*;
use crate::{
    bmap::Mapped,
    buffer::Buffer,
    fill::{Exchange, Filler},
    pages::{BLOCKS, PAGE},
};

/// A target in memory, where it was written.
#[derive(Debug, Default)]
struct Target(Vec<Option<u8>>);

impl Exchange for Target {
    fn empty(&mut self) -> Result<Buffer, DriverError> {
        Ok(Buffer::new())
    }

    fn full(&mut self, buffer: Buffer) -> Result<(), DriverError> {
        for run in buffer.runs([true; BLOCKS]) {
            assert!(run.start.is_multiple_of(PAGE));
            let end = buffer.at as usize + run.end;
            self.0.resize(self.0.len().max(end), None);
            for at in run {
                let place = &mut self.0[buffer.at as usize + at];
                assert!(place.is_none(), "written twice");
                *place = Some(buffer.bytes()[at]);
            }
        }
        Ok(())
    }
}

fn lay(
    mut layout: Layout,
    gaps: Gaps,
    image: &[u8],
    step: usize,
) -> Result<(Target, u64), DriverError> {
    let mut filler = Filler::new(Target::default(), gaps);
    for piece in image.chunks(step) {
        layout.push(piece, &mut filler)?;
    }
    layout.end()?;
    filler.finish().map_err(|(_, error)| error)
}

/// Pages of zeros and of noise.
fn image() -> impl Strategy<Value = Vec<u8>> {
    let page = prop_oneof![Just(0_u8), any::<u8>()];
    (
        prop::collection::vec((page, 1_usize..40), 1..60),
        0_usize..PAGE,
    )
        .prop_map(|(pages, cut)| {
            let mut bytes = Vec::new();
            for (seed, count) in pages {
                for at in 0..count * PAGE {
                    bytes.push(if seed == 0 {
                        0
                    } else {
                        (at % 251) as u8 ^ seed
                    });
                }
            }
            bytes.truncate(bytes.len() - cut);
            bytes
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_raw_image_is_written_as_it_is(image in image(), step in 1_usize..300_000) {
        let size = image.len() as u64;
        let layout = Layout::new(Form::Raw, None, None, Gaps::Fill, Some(size)).unwrap();
        let (target, mapped_bytes) = lay(layout, Gaps::Fill, &image, step).unwrap();
        let written: Option<Vec<u8>> = target.0.into_iter().collect();
        prop_assert!(written.unwrap() == image);
        prop_assert_eq!(mapped_bytes, size);
    }

    #[test]
    fn only_zeros_are_left_out(image in image(), step in 1_usize..300_000) {
        let layout = Layout::new(Form::Raw, None, None, Gaps::Leave, None).unwrap();
        let (mut target, mapped_bytes) = lay(layout, Gaps::Leave, &image, step).unwrap();
        let written = target.0.iter().flatten().count() as u64;
        target.0.resize(image.len(), None);
        prop_assert!(target.0.iter().map(|b| b.unwrap_or(0)).eq(image.iter().copied()));
        prop_assert_eq!(mapped_bytes, written);
        // Every whole gap is.
        for (at, piece) in image.chunks_exact(64 * 1024).enumerate() {
            if piece.iter().all(|b| *b == 0) {
                prop_assert!(target.0[at * 64 * 1024].is_none());
            }
        }
    }

    #[test]
    fn a_map_writes_what_it_maps(
        image in image(),
        parts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        step in 1_usize..300_000,
    ) {
        let blocks = image.len().div_ceil(PAGE);
        let mut edges: Vec<usize> = parts.iter().map(|part| part.index(blocks + 1)).collect();
        edges.sort_unstable();
        edges.dedup();
        let mapped: Vec<Mapped> = edges.chunks_exact(2).map(|edge| {
            let (start, end) = (edge[0] * PAGE, (edge[1] * PAGE).min(image.len()));
            let hash = Some(Sha256::digest(&image[start..end]).into());
            Mapped { start: start as u64, end: end as u64, hash }
        }).collect();
        let bmap = Bmap { size: image.len() as u64, mapped: mapped.clone(), unchecked: false };
        let layout = Layout::new(Form::Raw, None, Some(bmap.clone()), Gaps::Fill, None).unwrap();
        let (mut target, mapped_bytes) = lay(layout, Gaps::Fill, &image, step).unwrap();
        prop_assert_eq!(mapped_bytes, mapped.iter().map(|m| m.end - m.start).sum::<u64>());
        target.0.resize(image.len(), None);
        let mut wanted = vec![None; image.len()];
        for m in &mapped {
            for at in m.start as usize..m.end as usize {
                wanted[at] = Some(image[at]);
            }
        }
        prop_assert!(target.0 == wanted);
        // A changed byte of what is mapped never passes.
        if let Some(m) = mapped.iter().find(|m| m.start < m.end) {
            let mut changed = image.clone();
            changed[m.start as usize] ^= 1;
            let layout = Layout::new(Form::Raw, None, Some(bmap), Gaps::Fill, None).unwrap();
            let error = lay(layout, Gaps::Fill, &changed, step).unwrap_err().to_string();
            prop_assert!(error.starts_with("wrong checksum: bytes "), "{}", error);
        }
    }
}

fn told(outcome: Result<(Target, u64), DriverError>) -> String {
    outcome.unwrap_err().to_string()
}

#[test]
fn sizes_that_do_not_fit_are_told_as_early_as_they_are_known() {
    let new = |size, capacity| Layout::new(Form::Raw, size, None, Gaps::Fill, Some(capacity));
    let early = new(Some(3 << 30), 1 << 30).unwrap_err().to_string();
    assert_eq!(
        early,
        "image too large: the card holds 1073741824 bytes (1 GiB), the image has 3221225472 bytes (3 GiB)"
    );
    let late = told(lay(new(None, 5000).unwrap(), Gaps::Fill, &[1; 5001], 1000));
    assert_eq!(
        late,
        "image too large: the card holds 5000 bytes (4.8 KiB), the image has at least 5001 bytes"
    );
    let short = told(lay(
        new(Some(5000), 5000).unwrap(),
        Gaps::Fill,
        &[1; 4999],
        1000,
    ));
    assert_eq!(short, "the image ends early: it has 4999 of 5000 bytes");
}

#[test]
fn a_sparse_bomb_is_refused_by_its_header() {
    let mut header = crate::sparse::MAGIC.to_vec();
    for half in [1_u16, 0, 28, 12] {
        header.extend(half.to_le_bytes());
    }
    for word in [4096_u32, u32::MAX, 1, 0] {
        header.extend(word.to_le_bytes());
    }
    let form = Form::Sparse(Box::new(Expand::new()));
    let layout = Layout::new(form, Some(28), None, Gaps::Fill, Some(1 << 30)).unwrap();
    let error = told(lay(layout, Gaps::Fill, &header, 28));
    assert!(
        error.starts_with("image too large: the card holds "),
        "{error}"
    );
}
