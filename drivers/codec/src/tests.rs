//! Every codec: all members, truncation, garbage, bombs, and what needs too much memory.

use bytes::Bytes;
use proptest::prelude::*;
use rigd_driver::{DECODER_MEMORY, DriverError, download_channel, upload_channel};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::*;

async fn compress(encoding: Encoding, data: &[u8]) -> Vec<u8> {
    let tasks = TaskTracker::new();
    let (mut download, source) = download_channel();
    let mut encoded = encode(source, encoding, &tasks);
    let data = data.to_vec();
    let writer = tokio::spawn(async move {
        for chunk in data.chunks(10_000) {
            download.write(Bytes::copy_from_slice(chunk)).await.unwrap();
        }
        download.finish().await.unwrap();
    });
    let mut out = Vec::new();
    while let Some(chunk) = encoded.chunks.recv().await {
        out.extend_from_slice(&chunk.unwrap());
    }
    encoded.done.await.unwrap();
    encoded.outcome.send(Ok(())).unwrap();
    writer.await.unwrap();
    out
}

async fn decompress(encoding: Encoding, data: &[u8], end: bool) -> Result<Vec<u8>, DriverError> {
    let tasks = TaskTracker::new();
    let (chunks, upload) = upload_channel();
    let mut decoded = decode(
        upload,
        encoding,
        DECODER_MEMORY,
        CancellationToken::new(),
        &tasks,
    );
    let data = data.to_vec();
    tokio::spawn(async move {
        for chunk in data.chunks(7_001) {
            if !chunks.send(Bytes::copy_from_slice(chunk)).await {
                return;
            }
        }
        if end {
            chunks.end().await;
        }
    });
    let mut out = Vec::new();
    while let Some(chunk) = decoded.next().await? {
        out.extend_from_slice(&chunk);
    }
    Ok(out)
}

const ALL: [Encoding; 4] = [
    Encoding::Gzip,
    Encoding::Xz,
    Encoding::Bzip2,
    Encoding::Zstd,
];

fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(step).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_codec_keeps_every_byte_of_every_member() {
    for encoding in ALL {
        let (a, b) = (noise(300_000), vec![7; 100_000]);
        let mut members = compress(encoding, &a).await;
        members.extend(compress(encoding, &b).await);
        let out = decompress(encoding, &members, true).await.unwrap();
        assert!(out == [a, b].concat(), "{encoding:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated_data_and_trailing_garbage_are_errors() {
    for encoding in ALL {
        // Where the decoder notices depends on how much of a chunk there is.
        for length in [200_000, 4 << 20] {
            let whole = compress(encoding, &noise(length)).await;
            for part in [whole.len() - 5, whole.len() / 2, whole.len() * 3 / 4] {
                let error = decompress(encoding, &whole[..part], true)
                    .await
                    .unwrap_err();
                let text = error.to_string();
                let wanted = format!("truncated {} data", encoding.name());
                assert!(text.contains(&wanted), "{encoding:?} to {part}: {text}");
            }
        }
        let whole = compress(encoding, &noise(200_000)).await;
        let garbage = [&whole[..], b"garbage that is no member"].concat();
        let error = decompress(encoding, &garbage, true).await.unwrap_err();
        assert!(
            matches!(error, DriverError::InvalidArgument(_)),
            "{encoding:?}: {error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_upload_stays_the_cause() {
    for encoding in ALL {
        let whole = compress(encoding, &noise(50_000)).await;
        let error = decompress(encoding, &whole[..whole.len() / 2], false)
            .await
            .unwrap_err();
        assert!(
            error.to_string().starts_with("upload broken:"),
            "{encoding:?}: {error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_file_is_an_empty_file() {
    for encoding in ALL {
        let whole = compress(encoding, &[]).await;
        assert!(
            decompress(encoding, &whole, true).await.unwrap().is_empty(),
            "{encoding:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_flipped_byte_never_passes_as_the_original(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let data = noise(5_000);
            for encoding in [Encoding::Gzip, Encoding::Xz, Encoding::Bzip2] {
                let mut whole = compress(encoding, &data).await;
                let at = at.index(whole.len());
                whole[at] ^= 1 << bit;
                if let Ok(out) = decompress(encoding, &whole, true).await {
                    // Bytes that carry no data (a gzip header's time, its name flag) may flip.
                    prop_assert!(out == data, "{encoding:?} at {at}");
                }
            }
            Ok(())
        })?;
    }
}
