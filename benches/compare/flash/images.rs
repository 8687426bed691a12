//! Images: raw, packed in each way, and one that is mostly holes, with its map.

use std::{
    fs::File,
    io::{BufWriter, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::Command,
};

use crate::Failure;

const MIB: u64 = 1024 * 1024;
/// Length of a run of data in the image with holes, and of the hole behind it, in parts of 1 MiB.
const RUN: u64 = 8;

/// Programs that pack, with the endings of what they make. The fastest that people publish images with:
/// nobody waits for more, and unpacking takes the same.
const PACKERS: [(&str, &[&str], &str); 3] = [
    ("xz", &["-3", "-T0"], "xz"),
    ("zstd", &["-q", "-3", "-T0"], "zst"),
    ("gzip", &["-1"], "gz"),
];

/// A file and how many bytes come to the card.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) file: PathBuf,
    pub(crate) bytes: u64,
}

impl Image {
    /// Half noise, half text-like, as file systems are: packers halve it.
    pub(crate) fn raw(dir: &Path, bytes: u64) -> Result<Self, Failure> {
        let file = dir.join(format!("image-{}.img", bytes / MIB));
        let mut out = BufWriter::with_capacity(MIB as usize, File::create(&file)?);
        let mut noise = Noise::default();
        for _ in 0..bytes / MIB {
            out.write_all(&noise.part())?;
        }
        out.into_inner()
            .map_err(|error| error.into_error())?
            .sync_all()?;
        Ok(Self { file, bytes })
    }

    /// The same image packed by each program: its name, and the image.
    pub(crate) fn packed(&self) -> Result<Vec<(&'static str, Self)>, Failure> {
        let mut images = vec![];
        for (program, options, ending) in PACKERS {
            let file = self.file.with_extension(format!("img.{ending}"));
            let packed = Command::new(program)
                .args(options)
                .arg("-kfc")
                .arg(&self.file)
                .stdout(File::create(&file)?)
                .status()
                .map_err(|error| format!("cannot start {program}: {error}"))?;
            if !packed.success() {
                return Err(format!("{program} failed").into());
            }
            let bytes = self.bytes;
            images.push((program, Self { file, bytes }));
        }
        Ok(images)
    }

    /// One of that size with so much data, the rest of it holes.
    pub(crate) fn with_holes(dir: &Path, size: u64, data: u64) -> Result<Self, Failure> {
        let file = dir.join("holes.img");
        let mut out = File::create(&file)?;
        let mut noise = Noise::default();
        let runs = data / MIB / RUN;
        for run in 0..runs {
            out.seek(SeekFrom::Start(run * (size / runs) / MIB * MIB))?;
            for _ in 0..RUN {
                out.write_all(&noise.part())?;
            }
        }
        out.set_len(size)?;
        out.sync_all()?;
        let bytes = runs * RUN * MIB;
        Ok(Self { file, bytes })
    }
}

/// A generator whose state is all that it takes (xorshift64).
struct Noise(u64);

impl Default for Noise {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// 1 MiB, of which every other half of a page is noise.
    fn part(&mut self) -> Vec<u8> {
        let mut part = Vec::with_capacity(MIB as usize);
        while part.len() < MIB as usize {
            for _ in 0..256 {
                part.extend_from_slice(&self.next().to_le_bytes());
            }
            let word = self.next().to_le_bytes();
            for _ in 0..256 {
                part.extend_from_slice(&word);
            }
        }
        part
    }
}
