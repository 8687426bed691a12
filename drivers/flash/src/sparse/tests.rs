//! Sparse images against an expansion made beside.

use proptest::prelude::*;

use super::*;

const BLOCK: usize = 4096;

#[derive(Debug, Clone)]
enum Chunk {
    Raw(usize, u8),
    Fill(usize, [u8; 4]),
    Skip(usize),
    Crc,
}

fn chunk() -> impl Strategy<Value = Chunk> {
    prop_oneof![
        (1_usize..4, any::<u8>()).prop_map(|(n, b)| Chunk::Raw(n, b)),
        (0_usize..9, any::<[u8; 4]>()).prop_map(|(n, p)| Chunk::Fill(n, p)),
        (0_usize..9).prop_map(Chunk::Skip),
        Just(Chunk::Crc),
    ]
}

fn raw(blocks: usize, seed: u8) -> Vec<u8> {
    (0..blocks * BLOCK)
        .map(|at| (at % 251) as u8 ^ seed)
        .collect()
}

/// The file and what it expands to; `None` where it does not matter.
fn image(chunks: &[Chunk]) -> (Vec<u8>, Vec<Option<u8>>) {
    let (mut body, mut expanded) = (Vec::new(), Vec::new());
    let mut add = |kind: u16, blocks: usize, data: &[u8]| {
        body.extend(kind.to_le_bytes());
        body.extend([0, 0]);
        body.extend((blocks as u32).to_le_bytes());
        body.extend((data.len() as u32 + 12).to_le_bytes());
        body.extend(data);
    };
    for chunk in chunks {
        match chunk {
            Chunk::Raw(blocks, seed) => {
                let data = raw(*blocks, *seed);
                add(RAW, *blocks, &data);
                expanded.extend(data.into_iter().map(Some));
            }
            Chunk::Fill(blocks, pattern) => {
                add(FILL, *blocks, pattern);
                let bytes = pattern.iter().cycle().take(blocks * BLOCK);
                expanded.extend(bytes.map(|b| Some(*b)));
            }
            Chunk::Skip(blocks) => {
                add(DONT_CARE, *blocks, &[]);
                expanded.extend(std::iter::repeat_n(None, blocks * BLOCK));
            }
            Chunk::Crc => add(CRC, 0, &[1, 2, 3, 4]),
        }
    }
    let mut file = header((expanded.len() / BLOCK) as u32, chunks.len() as u32);
    file.extend(body);
    (file, expanded)
}

fn header(blocks: u32, chunks: u32) -> Vec<u8> {
    let mut file = MAGIC.to_vec();
    for half in [1_u16, 0, 28, 12] {
        file.extend(half.to_le_bytes());
    }
    for word in [BLOCK as u32, blocks, chunks, 0] {
        file.extend(word.to_le_bytes());
    }
    file
}

fn expand(file: &[u8], step: usize) -> Result<Vec<Option<u8>>, String> {
    let (mut expand, mut out) = (Expand::new(), Vec::new());
    for mut piece in file.chunks(step) {
        while let Some(op) = expand.next(&mut piece)? {
            match op {
                Op::Data(data) => out.extend(data.iter().map(|b| Some(*b))),
                Op::Fill(pattern, count) => {
                    let bytes = pattern.iter().cycle().take(count as usize);
                    out.extend(bytes.map(|b| Some(*b)));
                }
                Op::Skip(count) => out.extend(std::iter::repeat_n(None, count as usize)),
            }
        }
        assert!(piece.is_empty());
    }
    if !expand.is_done() {
        return Err("not done".into());
    }
    assert_eq!(expand.size(), Some(out.len() as u64));
    Ok(out)
}

proptest! {
    #[test]
    fn every_image_expands_to_itself_in_pieces_of_any_size(
        chunks in prop::collection::vec(chunk(), 0..8),
        step in 1_usize..9000,
    ) {
        let (file, expanded) = image(&chunks);
        prop_assert!(expand(&file, step).unwrap() == expanded);
    }

    #[test]
    fn a_file_that_ends_early_is_never_complete(
        chunks in prop::collection::vec(chunk(), 1..5),
        cut in any::<prop::sample::Index>(),
    ) {
        let (file, _) = image(&chunks);
        let cut = cut.index(file.len());
        prop_assert!(expand(&file[..cut], 4096).is_err());
    }

    #[test]
    fn foreign_bytes_never_panic(mut file in prop::collection::vec(any::<u8>(), 28..400), step in 1_usize..64) {
        file[..12].copy_from_slice(&header(0, 0)[..12]);
        expand(&file, step).ok();
    }
}

#[test]
fn what_cannot_be_right_is_told() {
    let told = |file: &[u8]| expand(file, 64).unwrap_err();
    assert_eq!(told(&header(3, 0)), "3 blocks are in no chunk");
    let (mut longer, _) = image(&[Chunk::Skip(1)]);
    longer.push(0);
    assert_eq!(told(&longer), "bytes follow its last chunk");
    let (mut small, _) = image(&[Chunk::Skip(1)]);
    small[12..16].copy_from_slice(&512_u32.to_le_bytes());
    assert!(told(&small).contains("blocks of 512 bytes"));
}
