//! The card without a mux, on real block devices (loop devices) and files: what is written, and what is
//! refused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's own steps fail the test, in functions beside the tests as well"
)]

mod device;
mod lease;
#[macro_use]
mod card;

use std::{os::unix::fs::FileExt, path::Path, time::Duration};

use card::{MIB, incomplete, lease, with, write, write_with};
use device::{Loop, Tree, compress, noise, sha256, skip};
use rigd_codec::Encoding;
use rigd_driver::{ByteCount, DriverError};
use rigd_flash::{Delta, FlashSettings, Verify};
use serde_json::json;

#[tokio::test]
async fn an_image_is_on_the_device_and_the_rest_stays() {
    let device = loop_device!(16 * MIB);
    device.fill(0xee);
    let lease = lease(device.path()).await;
    let image = noise(9 * MIB + 777, 1);
    lease.ok("host", json!([])).await;
    let report = write(&lease, &image).await.unwrap();
    assert_eq!(report["size"], image.len());
    assert_eq!(report["sha256"], sha256(&image));
    assert_eq!(report["verify"], "full");
    assert_eq!(report["verified"], image.len());
    lease.ok("dut", json!([])).await;
    let held = device.bytes();
    assert!(held[..image.len()] == image);
    assert!(held[image.len()..].iter().all(|b| *b == 0xee));
    let read = lease.receive("read", json!(["HANDLE"])).await.unwrap();
    assert!(read == held, "the whole card is read");
}

#[tokio::test]
async fn sectors_of_4096_bytes_are_written_whole() {
    let device = match Loop::with(8 * MIB, &["--sector-size", "4096"]) {
        Ok(device) => device,
        Err(why) => return skip(&why),
    };
    device.fill(0xee);
    let lease = lease(device.path()).await;
    let image = noise(MIB + 5000, 1);
    write(&lease, &image).await.unwrap();
    let held = device.bytes();
    assert!(held[..image.len()] == image);
    assert!(held[image.len()..].iter().all(|b| *b == 0xee));
}

#[tokio::test]
async fn a_file_keeps_its_size_like_a_card() {
    let dir = tempfile::tempdir().unwrap();
    for place in [dir.path(), Path::new("/dev/shm")] {
        let path = place.join(format!("rigd-test-card-{}.img", std::process::id()));
        std::fs::write(&path, vec![0xee; 3 * MIB + 100]).unwrap();
        let _remove = Tree(path.clone());
        let lease = lease(&path).await;
        let image = noise(2 * MIB + 5, 2);
        write(&lease, &image).await.unwrap();
        let held = std::fs::read(&path).unwrap();
        assert_eq!(held.len(), 3 * MIB + 100);
        assert!(held[..image.len()] == image);
        assert!(held[image.len()..].iter().all(|b| *b == 0xee));
        // Up to its very end.
        let image = noise(3 * MIB + 100, 3);
        write(&lease, &image).await.unwrap();
        assert!(std::fs::read(&path).unwrap() == image);
        let read = lease.receive("read", json!(["HANDLE"])).await.unwrap();
        assert!(read == image);
    }
}

#[tokio::test]
async fn a_compressed_image_is_unpacked_and_a_broken_one_marks_the_card() {
    let device = loop_device!(16 * MIB);
    let lease = lease(device.path()).await;
    let image = noise(6 * MIB, 3);
    for (codec, name) in [
        (Encoding::Gzip, "gzip"),
        (Encoding::Xz, "xz"),
        (Encoding::Bzip2, "bz2"),
        (Encoding::Zstd, "zstd"),
    ] {
        let packed = compress(codec, &image).await;
        let twice = [&packed[..], &packed[..]].concat();
        let report = write(&lease, &twice).await.unwrap();
        let both = [&image[..], &image[..]].concat();
        assert_eq!(report["sha256"], sha256(&both), "{name}");
        assert!(device.bytes()[..both.len()] == both, "{name}");
        lease.ok("dut", json!([])).await;

        let cut = &packed[..packed.len() * 9 / 10];
        let error = write(&lease, cut).await.unwrap_err();
        assert!(
            matches!(error, DriverError::InvalidArgument(_)),
            "{error:?}"
        );
        let text = incomplete(&lease).await;
        assert_eq!(text, format!("card incomplete: {error}"));
        assert!(
            text.starts_with("card incomplete: write stopped at "),
            "{text}"
        );
        assert!(text.contains(&format!("truncated {name} data")), "{text}");

        let mut changed = packed.clone();
        let middle = changed.len() / 2;
        changed[middle..middle + 100].fill(0x55);
        write(&lease, &changed).await.unwrap_err();
        let text = incomplete(&lease).await;
        assert!(
            text.contains(&format!("error in {name} data after ")),
            "{text}"
        );
        // Of the failed writes nothing stays behind.
        write(&lease, &packed).await.unwrap();
        lease.ok("dut", json!([])).await;
    }
}

#[tokio::test]
async fn a_bomb_ends_where_the_card_does() {
    let device = loop_device!(8 * MIB);
    let lease = lease(device.path()).await;
    let bomb = compress(Encoding::Gzip, &vec![0; 512 * MIB]).await;
    let begun = std::time::Instant::now();
    let text = write(&lease, &bomb).await.unwrap_err().to_string();
    assert!(
        text.ends_with("image too large: the card holds 8388608 bytes (8 MiB), the image has at least 8454144 bytes"),
        "{text}"
    );
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(incomplete(&lease).await, format!("card incomplete: {text}"));
}

#[tokio::test]
async fn a_decoder_gets_no_more_memory_than_allowed_and_the_need_is_told() {
    let device = loop_device!(8 * MIB);
    let small = FlashSettings {
        max_decoder_memory: ByteCount(4 << 20),
        ..FlashSettings::default()
    };
    let lease = with(device.path(), small).await;
    let packed = compress(Encoding::Xz, &noise(MIB, 4)).await;
    let error = write(&lease, &packed).await.unwrap_err();
    assert!(matches!(error, DriverError::Exhausted(_)), "{error:?}");
    let text = error.to_string();
    assert!(
        text.ends_with("of memory to decode, 4 MiB are allowed (maxDecoderMemory)")
            && text.contains("xz data needs 8.1 MiB"),
        "{text}"
    );
    // The window of `zstd --long=31`.
    let mut long = vec![0x28, 0xb5, 0x2f, 0xfd, 0x04, 0xa8];
    long.extend([0; 100]);
    let text = write(&lease, &long).await.unwrap_err().to_string();
    assert!(text.contains("zstd data needs 2 GiB of memory"), "{text}");
    // In a later member as well.
    let packed = compress(Encoding::Zstd, &noise(1000, 4)).await;
    let text = write(&lease, &[packed, long].concat())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("zstd data needs more than 4 MiB of memory"),
        "{text}"
    );
}

#[tokio::test]
async fn only_what_a_map_names_is_written_and_a_wrong_checksum_is_refused() {
    let device = loop_device!(16 * MIB);
    device.fill(0xee);
    let lease = lease(device.path()).await;
    let image = noise(8 * MIB, 5);
    let map = device::bmap(&image, &[(0, 10), (300, 700), (2000, 2048)]);
    let report = write_with(&lease, &image, json!({"bmap": map}))
        .await
        .unwrap();
    let mapped = (10 + 400 + 48) * 4096;
    assert_eq!(
        (&report["mapped"], &report["size"]),
        (&json!(mapped), &json!(image.len()))
    );
    let held = device.bytes();
    for (page, bytes) in held.chunks(4096).enumerate() {
        let wanted = match page {
            0..10 | 300..700 | 2000..2048 => &image[page * 4096..(page + 1) * 4096],
            _ => &[0xee; 4096],
        };
        assert!(bytes == wanted, "page {page}");
    }
    let mut changed = image.clone();
    changed[500 * 4096] ^= 1;
    let error = write_with(&lease, &changed, json!({"bmap": map}))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("wrong checksum: bytes 1228800 to 2867200 of the image"),
        "{error}"
    );
    assert_eq!(
        incomplete(&lease).await,
        format!("card incomplete: {error}")
    );
    // A map that was changed is refused before anything is written.
    write_with(&lease, &image, json!({"bmap": map}))
        .await
        .unwrap();
    let before = device.bytes();
    let bad = map.replacen("300-699", "300-698", 1);
    let error = write_with(&lease, &image, json!({"bmap": bad}))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("bad block map: its own checksum"),
        "{error}"
    );
    lease.ok("dut", json!([])).await;
    assert!(device.bytes() == before);
}

#[tokio::test]
async fn a_sparse_image_is_expanded() {
    let device = loop_device!(8 * MIB);
    device.fill(0xee);
    let lease = lease(device.path()).await;
    let raw = noise(64 * 4096, 6);
    let report = write(&lease, &device::sparse(&raw)).await.unwrap();
    assert_eq!(report["size"], (64 + 100 + 16) * 4096);
    let held = device.bytes();
    assert!(held[..raw.len()] == raw);
    assert!(held[raw.len()..164 * 4096].iter().all(|b| *b == 0xee));
    assert!(
        held[164 * 4096..180 * 4096]
            .chunks(4)
            .all(|w| w == [1, 2, 3, 4])
    );
    // Cut off.
    let cut = &device::sparse(&raw)[..100_000];
    let text = write(&lease, cut).await.unwrap_err().to_string();
    assert!(
        text.contains("Android sparse image: it ends early"),
        "{text}"
    );
    incomplete(&lease).await;
}

#[tokio::test]
async fn a_file_of_the_host_is_written_only_from_where_clients_may() {
    let device = loop_device!(16 * MIB);
    device.fill(0xee);
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("images");
    std::fs::create_dir(&root).unwrap();
    let roots = FlashSettings {
        image_roots: vec![root.clone()],
        ..FlashSettings::default()
    };
    let lease = with(device.path(), roots).await;
    // A sparse file: its hole is written as zeros, unless it is to be left out.
    let image = noise(MIB, 15);
    let file = std::fs::File::create(root.join("a.img")).unwrap();
    file.write_all_at(&image, 0).unwrap();
    file.write_all_at(&image, 5 * MIB as u64).unwrap();
    let path = root.join("a.img");
    let report = lease
        .ok("write_file", json!([path, {"holes": "skip"}]))
        .await;
    assert_eq!(
        (&report["size"], &report["mapped"]),
        (&json!(6 * MIB), &json!(2 * MIB))
    );
    assert!(device.bytes()[MIB..5 * MIB].iter().all(|b| *b == 0xee));
    lease.ok("write_file", json!([path])).await;
    assert!(device.bytes()[..6 * MIB] == std::fs::read(&path).unwrap());
    // Compressed, with its map beside it.
    let whole = noise(4 * MIB, 16);
    let packed = compress(Encoding::Zstd, &whole).await;
    std::fs::write(root.join("b.wic.zst"), packed).unwrap();
    std::fs::write(root.join("b.wic.bmap"), device::bmap(&whole, &[(0, 5)])).unwrap();
    let report = lease
        .ok("write_file", json!([root.join("b.wic.zst")]))
        .await;
    assert_eq!(report["mapped"], 5 * 4096);
    // Nothing else, by whatever name.
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    std::os::unix::fs::symlink(&secret, root.join("link")).unwrap();
    let before = device.bytes();
    for path in [
        secret,
        root.join("link"),
        root.join("../secret"),
        "/dev/null".into(),
    ] {
        let error = lease.fails("write_file", json!([path])).await;
        assert!(
            error.to_string().starts_with("not below imageRoots: "),
            "{error}"
        );
    }
    let error = lease.fails("write_file", json!([root.join("none")])).await;
    assert!(
        matches!(error, DriverError::InvalidArgument(_)),
        "{error:?}"
    );
    assert!(device.bytes() == before);
    lease.ok("dut", json!([])).await;
}

#[tokio::test]
async fn zeros_are_left_out_on_request() {
    let device = loop_device!(8 * MIB);
    device.fill(0xee);
    let lease = lease(device.path()).await;
    let mut image = noise(4 * MIB, 7);
    image[MIB..3 * MIB].fill(0);
    let report = write_with(&lease, &image, json!({"holes": "skip"}))
        .await
        .unwrap();
    assert_eq!(report["mapped"], 2 * MIB);
    let held = device.bytes();
    assert!(held[..MIB] == image[..MIB] && held[3 * MIB..4 * MIB] == image[3 * MIB..]);
    assert!(held[MIB..3 * MIB].iter().all(|b| *b == 0xee));
    write(&lease, &image).await.unwrap();
    assert!(device.bytes()[..image.len()] == image);
}

#[tokio::test]
async fn a_second_write_leaves_out_what_is_proven_and_a_foreign_write_is_not_missed() {
    let device = loop_device!(16 * MIB);
    let lease = lease(device.path()).await;
    let mut image = noise(12 * MIB, 8);
    write(&lease, &image).await.unwrap();
    // `dut` of the client's `flash` changes nothing.
    lease.ok("dut", json!([])).await;
    let report = write(&lease, &image).await.unwrap();
    assert_eq!(report["unchanged"], image.len());
    image[5 * MIB + 9] ^= 1;
    let report = write(&lease, &image).await.unwrap();
    assert_eq!(report["unchanged"], 11 * MIB);
    assert!(device.bytes()[..image.len()] == image);
    // Through the device, as a board behind a mux would.
    device.poke(3 * MIB as u64 + 1);
    let report = write(&lease, &image).await.unwrap();
    assert_eq!(report["unchanged"], 0);
    assert!(device.bytes()[..image.len()] == image);
    // Past the device.
    let file = std::fs::File::options()
        .write(true)
        .open(device.file())
        .unwrap();
    file.write_at(b"foreign", 4 * MIB as u64).unwrap();
    file.sync_all().unwrap();
    drop(file);
    let report = write(&lease, &image).await.unwrap();
    assert_eq!(report["unchanged"], 0);
    assert!(device.bytes()[..image.len()] == image);
    // By comparing, only what differs.
    device.poke(3 * MIB as u64 + 1);
    let report = write_with(&lease, &image, json!({"delta": "compare"}))
        .await
        .unwrap();
    assert_eq!(report["unchanged"], 11 * MIB);
    assert!(device.bytes()[..image.len()] == image);
    let report = write_with(&lease, &image, json!({"delta": "none"}))
        .await
        .unwrap();
    assert_eq!(report["unchanged"], 0);
}

#[tokio::test]
async fn sampled_and_no_verify_are_reported() {
    let device = loop_device!(8 * MIB);
    let none = FlashSettings {
        verify: Some(Verify::None),
        delta: Delta::None,
        ..FlashSettings::default()
    };
    let lease = with(device.path(), none).await;
    let image = noise(MIB, 10);
    let report = write(&lease, &image).await.unwrap();
    assert_eq!(
        (&report["verify"], &report["verified"]),
        (&json!("none"), &json!(0))
    );
    let report = write_with(&lease, &image, json!({"verify": "sampled"}))
        .await
        .unwrap();
    assert_eq!(report["verify"], "sampled");
    let error = write_with(&lease, &image, json!({"verfy": "full"}))
        .await
        .unwrap_err();
    assert!(
        matches!(error, DriverError::InvalidArgument(_)),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_image_of_known_size_that_is_too_large_leaves_the_card_as_it_was() {
    let device = loop_device!(4 * MIB);
    let lease = lease(device.path()).await;
    write(&lease, &noise(MIB, 1)).await.unwrap();
    let map = device::bmap(&noise(5 * MIB, 11), &[(0, 1)]);
    let error = write_with(&lease, &noise(5 * MIB, 11), json!({"bmap": map}))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "image too large: the card holds 4194304 bytes (4 MiB), the image has 5242880 bytes (5 MiB)"
    );
    lease.ok("dut", json!([])).await;
}
