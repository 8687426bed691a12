//! Images, and the cards of a guest that they are written to.

#![allow(
    dead_code,
    reason = "every test binary compiles this anew and uses its own part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rigd_client::{Code, Compression, Device, Error, Exporter, Storage};
use serde_json::Value;

use crate::rig::{STEP_LIMIT, emulated::Usb};

pub(crate) const MIB: usize = 1 << 20;

/// A file of the host that no sector is twice in.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) file: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

impl Image {
    pub(crate) fn new(dir: &Path, seed: u64, len: usize) -> Self {
        let mut bytes = vec![0x5a; len];
        for (number, sector) in bytes.chunks_mut(512).enumerate() {
            sector[..8].copy_from_slice(&(seed << 32 | number as u64).to_le_bytes());
        }
        Self::of(dir, seed, bytes)
    }

    pub(crate) fn of(dir: &Path, seed: u64, bytes: Vec<u8>) -> Self {
        let file = dir.join(format!("{seed}.img"));
        fs::write(&file, &bytes).unwrap();
        Self { file, bytes }
    }

    pub(crate) async fn write(&self, card: &Storage) -> Result<(), Error> {
        card.write_file(&self.file, Compression::None).await
    }

    /// With options for this write alone; what is told of it.
    pub(crate) async fn write_with(&self, card: &Device, options: Value) -> Result<Value, Error> {
        let source = tokio::fs::File::open(&self.file).await.unwrap();
        let args = |handle| vec![handle, options];
        card.upload("write", args, source, Compression::None).await
    }

    /// Whether a medium begins with it.
    pub(crate) fn is_on(&self, medium: &Path) -> bool {
        let mut held = vec![0; self.bytes.len()];
        let file = File::open(medium).unwrap();
        file.read_exact_at(&mut held, 0).is_ok() && held == self.bytes
    }

    /// Waits until the medium has its MiB number `at`, in the middle of a write.
    pub(crate) async fn until_written(&self, medium: &Path, at: usize) {
        let (wanted, mut held) = (&self.bytes[at * MIB..(at + 1) * MIB], vec![0; MIB]);
        let (file, end) = (File::open(medium).unwrap(), Instant::now() + STEP_LIMIT);
        loop {
            let read = file.read_exact_at(&mut held, (at * MIB) as u64);
            if read.is_ok() && held == wanted {
                return;
            }
            assert!(Instant::now() < end, "MiB {at} is not written");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

pub(crate) async fn storage(exporter: &Exporter, path: &str) -> Storage {
    exporter.device(path).await.unwrap().storage()
}

pub(crate) fn positions(mux: &Usb) -> Vec<String> {
    mux.texts("position", "position")
}

/// The text of a refusal with this code.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(answer: Result<T, Error>, code: Code) -> String {
    match answer {
        Err(error) if error.code() == Some(code) => error.details().unwrap_or_default().to_owned(),
        other => panic!("not refused with {code:?}: {other:?}"),
    }
}

/// The first cause, which `dut` is refused with.
pub(crate) async fn incomplete(card: &Storage) -> String {
    let text = refused(card.dut().await, Code::FailedPrecondition);
    let cause = text.strip_prefix("card incomplete: ");
    cause.unwrap_or_else(|| panic!("{text}")).to_owned()
}
