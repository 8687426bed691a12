//! The card file: what the board finds after good, broken and failing writes.

use super::*;
use crate::Faults;

const MIB: u64 = 1 << 20;

fn wanted() -> Result<(), DriverError> {
    Ok(())
}

fn faults(faults: Faults) -> Arc<FaultSwitch> {
    Arc::new(FaultSwitch::new(faults))
}

fn card(dir: &tempfile::TempDir, size: u64) -> Card {
    let path = dir.path().join("deep/card.img");
    Card::open(path, ByteCount(size), faults(Faults::default())).unwrap()
}

fn write(card: &Card, bytes: &[u8]) -> Result<ByteCount, DriverError> {
    let mut write = card.begin_write()?;
    for piece in bytes.chunks(100_000) {
        write.write(piece, &wanted)?;
    }
    write.finish()
}

fn digest(bytes: &[u8]) -> Medium {
    Medium::Image(hex(&Sha256::digest(bytes)))
}

#[test]
fn the_digest_is_that_of_the_last_image_and_not_of_what_lies_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let card = card(&dir, 8 * MIB);
    assert_eq!(card.examine(&wanted), Some(Medium::Empty));
    let long: Vec<u8> = (0..5_000_000u32).map(|i| (i % 251) as u8).collect();
    write(&card, &long).unwrap();
    assert_eq!(card.examine(&wanted), Some(digest(&long)));
    write(&card, b"short").unwrap();
    assert_eq!(card.examine(&wanted), Some(digest(b"short")));
}

#[test]
fn a_zero_boot_area_is_an_empty_card_whatever_follows() {
    let dir = tempfile::tempdir().unwrap();
    let card = card(&dir, 8 * MIB);
    let mut image = vec![0; 3 << 20];
    image[2 << 20] = 1;
    write(&card, &image).unwrap();
    assert_eq!(card.examine(&wanted), Some(Medium::Empty));
    write(&card, &[0; 1000]).unwrap();
    assert_eq!(card.examine(&wanted), Some(Medium::Empty));
    image[(1 << 20) - 1] = 1;
    write(&card, &image).unwrap();
    assert_eq!(card.examine(&wanted), Some(digest(&image)));
    write(&card, &[]).unwrap();
    assert_eq!(card.examine(&wanted), Some(Medium::Empty));
}

#[test]
fn a_write_that_does_not_finish_leaves_the_card_incomplete_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let first = card(&dir, 2 * MIB);
    write(&first, b"good").unwrap();
    let mut half = first.begin_write().unwrap();
    half.write(b"ba", &wanted).unwrap();
    // What a kill leaves: no destructor runs, the files are as they are.
    drop(first);
    let second = card(&dir, 2 * MIB);
    assert_eq!(second.examine(&wanted), Some(Medium::Incomplete));
    write(&second, b"good again").unwrap();
    drop(second);
    let third = card(&dir, 2 * MIB);
    assert_eq!(third.examine(&wanted), Some(digest(b"good again")));
}

#[test]
fn an_image_larger_than_the_card_names_both_sizes_and_leaves_it_incomplete() {
    let dir = tempfile::tempdir().unwrap();
    let card = card(&dir, MIB);
    write(&card, &vec![7; 1 << 20]).unwrap();
    let error = write(&card, &vec![7; (1 << 20) + 1]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "image does not fit: it has at least 1048577 bytes, the card 1048576 bytes (1 MiB)"
    );
    assert_eq!(card.state(), CardState::Incomplete);
}

#[test]
fn the_file_is_sparse_and_an_existing_image_is_taken_as_one() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("own.img");
    fs::write(&path, b"an image").unwrap();
    let size = ByteCount(4 << 30);
    let card = Card::open(path.clone(), size, faults(Faults::default())).unwrap();
    assert_eq!(card.examine(&wanted), Some(digest(b"an image")));
    let meta = fs::metadata(&path).unwrap();
    assert_eq!(meta.len(), 4 << 30);
    assert!(meta.blocks() * 512 < MIB);
}

#[test]
fn a_card_that_cannot_be_right_is_refused_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let open = |path: PathBuf, size| {
        let error = Card::open(path, ByteCount(size), faults(Faults::default())).unwrap_err();
        error.to_string()
    };
    let first = card(&dir, 2 * MIB);
    let path = dir.path().join("deep/card.img");
    assert!(open(path.clone(), 2 * MIB).contains("in use by another board"));
    first.release();
    assert!(open(path, MIB).contains("2097152 bytes (2 MiB), more than its configured size"));
    assert!(open(dir.path().to_path_buf(), MIB).contains("cannot open the card"));
    assert!(open("/dev/null".into(), MIB).contains("not a regular file"));
}

#[test]
fn eio_hits_the_byte_it_names_for_the_host_and_for_the_board() {
    let dir = tempfile::tempdir().unwrap();
    let card = card(&dir, 4 * MIB);
    let image = vec![1; 3 << 20];
    write(&card, &image).unwrap();
    let at = |offset| Faults {
        card_eio: Some(ByteCount(offset)),
        ..Faults::default()
    };
    card.faults.set(at(2_500_000));
    assert_eq!(
        card.examine(&wanted),
        Some(Medium::Error { offset: 2_500_000 })
    );
    let mut buffer = [0; 10];
    assert_eq!(card.read(2_499_990, &mut buffer, &wanted).unwrap(), 10);
    let error = card.read(2_499_991, &mut buffer, &wanted).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("at byte 2500000: Input/output error"),
        "{error}"
    );
    let error = write(&card, &image).unwrap_err();
    assert!(matches!(error, DriverError::Device(_)), "{error}");
    assert_eq!(card.state(), CardState::Incomplete);
}

#[test]
fn a_slow_card_takes_its_time_and_stops_when_nobody_waits() {
    let dir = tempfile::tempdir().unwrap();
    let card = card(&dir, 4 * MIB);
    write(&card, &vec![1; 200_000]).unwrap();
    card.faults.set(Faults {
        card_slow: Some(ByteCount(1_000_000)),
        ..Faults::default()
    });
    let started = Instant::now();
    assert!(matches!(card.examine(&wanted), Some(Medium::Image(_))));
    assert!(started.elapsed() >= Duration::from_millis(190));
    card.faults.set(Faults {
        card_slow: Some(ByteCount(1)),
        ..Faults::default()
    });
    let asked = std::cell::Cell::new(0);
    let impatient = || {
        asked.set(asked.get() + 1);
        match asked.get() {
            5.. => Err(DriverError::Cancelled("off".into())),
            _ => Ok(()),
        }
    };
    assert_eq!(card.examine(&impatient), None);
}

#[test]
fn a_full_file_system_is_named_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let card = card(&dir, MIB);
    let full = io::Error::from(io::ErrorKind::StorageFull);
    let error = card.failed("write", 4096, &full);
    let text = error.to_string();
    assert!(
        text.starts_with("no space left on the file system under the card"),
        "{text}"
    );
    assert!(text.ends_with("deep/card.img at byte 4096"), "{text}");
}
