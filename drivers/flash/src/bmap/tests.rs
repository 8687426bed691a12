//! Maps as bmaptool writes them, and what is wrong with others.

use proptest::prelude::*;

use super::*;

/// A map of 2.0 with its own checksum made right.
fn map(body: &str) -> String {
    let zeros = "0".repeat(64);
    let text = format!(
        "<?xml version=\"1.0\" ?>\n<!-- made by hand > -->\n<bmap version=\"2.0\">\n{body}\n\
         <ChecksumType> sha256 </ChecksumType>\n\
         <BmapFileChecksum> {zeros} </BmapFileChecksum>\n</bmap>\n"
    );
    let own: String = Sha256::digest(&text)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    text.replacen(&zeros, &own, 1)
}

const SIZES: &str = "<ImageSize> 821752 </ImageSize><BlockSize> 4096 </BlockSize>";

#[test]
fn a_map_of_2_0_with_checksums_is_read() {
    let hash = "b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c";
    let text = map(&format!(
        "{SIZES}<MappedBlocksCount> 4 </MappedBlocksCount><BlockMap>\
         <Range chksum=\"{hash}\"> 0-1 </Range><Range> 3 </Range><Range> 200 </Range></BlockMap>"
    ));
    let bmap = Bmap::parse(&text).unwrap();
    assert_eq!(bmap.size, 821_752);
    let ranges: Vec<_> = bmap.mapped.iter().map(|m| (m.start, m.end)).collect();
    assert_eq!(ranges, [(0, 8192), (12288, 16384), (819_200, 821_752)]);
    assert_eq!(bmap.mapped[0].hash, Some(hash_of(hash).unwrap()));
    assert!(!bmap.unchecked);
}

#[test]
fn the_sha1_of_1_3_is_read_over() {
    let text = format!(
        "<bmap version='1.3'>{SIZES}<BmapFileSHA1> 0123 </BmapFileSHA1>\
         <BlockMap><Range sha1='abc'> 0-200 </Range></BlockMap></bmap>"
    );
    let bmap = Bmap::parse(&text).unwrap();
    assert!(bmap.unchecked);
    assert_eq!(bmap.mapped[0].hash, None);
}

#[test]
fn what_is_wrong_with_a_map_is_told() {
    let told = |text: &str| Bmap::parse(text).unwrap_err();
    let good = map(&format!("{SIZES}<BlockMap><Range> 0-1 </Range></BlockMap>"));
    let changed = good.replace("0-1", "0-2");
    assert!(
        told(&changed).contains("own checksum does not match"),
        "{}",
        told(&changed)
    );
    assert!(told(&good[..good.len() - 9]).contains("the file was cut"));
    let with = |range: &str| told(&map(&format!("{SIZES}<Range>{range}</Range>")));
    assert!(with("5-4").contains("5-4"), "{}", with("5-4"));
    assert!(with("0-201").contains("not within its 201 blocks"));
    assert!(with("x").contains("no number"));
    let order = told(&map(&format!("{SIZES}<Range>4</Range><Range>2-4</Range>")));
    assert!(order.contains("not in order"), "{order}");
    let count = told(&map(&format!(
        "{SIZES}<MappedBlocksCount>3</MappedBlocksCount><Range>4</Range>"
    )));
    assert!(count.contains("MappedBlocksCount"), "{count}");
    assert!(told("<bmap version=\"3.0\"></bmap>").contains("version 3.0"));
    assert!(told("hello").contains("no <bmap"));
}

proptest! {
    #[test]
    fn foreign_text_never_panics(text in "[<>/=\"'a-zA-Z0-9 !?-]{0,200}") {
        Bmap::parse(&text).ok();
        Bmap::parse(&map(&text)).ok();
    }

    #[test]
    fn pages_are_exactly_those_around_what_is_mapped(
        gaps in prop::collection::vec((0_u64..5, 1_u64..5), 0..12),
        step in 1_u64..40_000,
    ) {
        let (mut at, mut mapped) = (0, Vec::new());
        for (gap, len) in gaps {
            at += gap * 1024;
            mapped.push(Mapped { start: at, end: at + len * 1024, hash: None });
            at += len * 1024;
        }
        let total = at.div_ceil(4096) * 4096 + 8192;
        let mut wanted = vec![false; total as usize];
        for m in &mapped {
            wanted[(m.start / 4096 * 4096) as usize..(m.end.div_ceil(4096) * 4096) as usize].fill(true);
        }
        let (mut seen, mut hint) = (vec![false; total as usize], 0);
        for start in (0..total).step_by(step as usize) {
            let (mut from, end) = (start, (start + step).min(total));
            while let Some((a, b)) = pages_within(&mapped, &mut hint, from, end) {
                prop_assert!(a >= from && b <= end && a < b);
                seen[a as usize..b as usize].fill(true);
                from = b;
            }
        }
        prop_assert!(seen == wanted);
    }
}
