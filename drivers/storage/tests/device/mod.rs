//! Loop devices and images for them. Everything that is set up here is taken down by its drop, also when
//! a test fails.

#![allow(
    dead_code,
    reason = "each test binary uses its part of what can be set up"
)]

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use bytes::Bytes;
use rigd_codec::Encoding;
use rigd_driver::download_channel;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

/// Says that a test was not run; with `RIGD_TEST_REQUIRE=all` that is a failure.
pub(crate) fn skip(why: &str) {
    let required = std::env::var("RIGD_TEST_REQUIRE").is_ok_and(|v| v == "all");
    assert!(!required, "{why}");
    eprintln!("SKIPPED: {why}");
}

/// A tool is missing, or not allowed to do its work.
#[derive(Debug)]
pub(crate) struct ToolError(pub(crate) String);

fn run(tool: &str, args: &[&str]) -> Result<String, ToolError> {
    let done = Command::new(tool).args(args).output();
    let done = done.map_err(|e| ToolError(format!("cannot start {tool}: {e}")))?;
    if !done.status.success() {
        let told = String::from_utf8_lossy(&done.stderr);
        return Err(ToolError(format!("{tool} {args:?}: {}", told.trim())));
    }
    Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

/// A loop device with direct I/O over a file of its own.
pub(crate) struct Loop {
    path: PathBuf,
    file: PathBuf,
    _dir: TempDir,
}

impl Loop {
    pub(crate) fn new(size: usize) -> Result<Self, String> {
        Self::with(size, &[])
    }

    pub(crate) fn with(size: usize, options: &[&str]) -> Result<Self, String> {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let file = dir.path().join("card.img");
        let options = [&["--direct-io=on"], options].concat();
        Self::attach(dir, &file, size, &options)
    }

    /// Over a file at a place of the test's own.
    pub(crate) fn over(file: &Path, size: usize, options: &[&str]) -> Result<Self, String> {
        Self::attach(tempfile::tempdir().unwrap(), file, size, options)
    }

    fn attach(dir: TempDir, file: &Path, size: usize, options: &[&str]) -> Result<Self, String> {
        File::create(file).unwrap().set_len(size as u64).unwrap();
        let mut args = vec!["--find", "--show"];
        args.extend(options);
        args.push(file.to_str().unwrap());
        let path = run("losetup", &args).map_err(|ToolError(why)| why)?;
        Ok(Self {
            path: path.into(),
            file: file.into(),
            _dir: dir,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// What is on it, past every cache.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.file).unwrap()
    }

    /// Fills it before it is used.
    pub(crate) fn fill(&self, byte: u8) {
        let size = std::fs::metadata(&self.file).unwrap().len() as usize;
        let device = File::options().write(true).open(&self.path).unwrap();
        device.write_all_at(&vec![byte; size], 0).unwrap();
        device.sync_all().unwrap();
    }

    /// Somebody else changes a byte through the device.
    pub(crate) fn poke(&self, at: u64) {
        let device = File::options()
            .read(true)
            .write(true)
            .open(&self.path)
            .unwrap();
        let mut byte = [0];
        device.read_exact_at(&mut byte, at).unwrap();
        device.write_all_at(&[!byte[0]], at).unwrap();
        device.sync_all().unwrap();
    }

    /// Makes a file system on it and mounts that.
    pub(crate) fn mount(&self) -> Result<Mounted, ToolError> {
        let device = self.path.to_str().unwrap();
        run("mkfs.ext4", &["-q", device])?;
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().canonicalize().unwrap();
        run("mount", &[device, place.to_str().unwrap()])?;
        Ok(Mounted(place, dir))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        if let Err(ToolError(why)) = run("losetup", &["--detach", self.path.to_str().unwrap()]) {
            eprintln!("{why}");
        }
    }
}

pub(crate) struct Mounted(
    pub(crate) PathBuf,
    #[allow(dead_code, reason = "removed by its drop")] TempDir,
);

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(ToolError(why)) = run("umount", &[self.0.to_str().unwrap()]) {
            eprintln!("{why}");
        }
    }
}

/// Swap space on a device.
pub(crate) struct Swap(String);

impl Swap {
    pub(crate) fn on(device: &Loop) -> Result<Self, ToolError> {
        let path = device.path.to_str().unwrap();
        run("mkswap", &[path])?;
        run("swapon", &[path])?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        if let Err(ToolError(why)) = run("swapoff", &[&self.0]) {
            eprintln!("{why}");
        }
    }
}

/// A file system that is mounted where this process does not see it, as in a container.
pub(crate) struct MountedElsewhere(Child);

impl MountedElsewhere {
    pub(crate) fn new(device: &Loop) -> Result<Self, ToolError> {
        let path = device.path.to_str().unwrap();
        run("mkfs.ext4", &["-q", path])?;
        let script = "mount \"$0\" /mnt && echo mounted && read end";
        let child = Command::new("unshare")
            .args(["--mount", "sh", "-c", script, path])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.map_err(|e| ToolError(format!("cannot start unshare: {e}")))?;
        let mut said = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut said).unwrap();
        let mounted = Self(child);
        match said.trim() {
            "mounted" => Ok(mounted),
            _ => Err(ToolError("cannot mount in a namespace of its own".into())),
        }
    }
}

impl Drop for MountedElsewhere {
    fn drop(&mut self) {
        // Its namespace goes with it.
        drop(self.0.stdin.take());
        self.0.wait().ok();
    }
}

/// A file system that is soon full.
pub(crate) struct SmallTmpfs(
    pub(crate) PathBuf,
    #[allow(dead_code, reason = "removed by its drop")] TempDir,
);

impl SmallTmpfs {
    pub(crate) fn new(size: usize) -> Result<Self, ToolError> {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().canonicalize().unwrap();
        let size = format!("size={size}");
        run(
            "mount",
            &["-t", "tmpfs", "-o", &size, "none", place.to_str().unwrap()],
        )?;
        Ok(Self(place, dir))
    }
}

impl Drop for SmallTmpfs {
    fn drop(&mut self) {
        if let Err(ToolError(why)) = run("umount", &[self.0.to_str().unwrap()]) {
            eprintln!("{why}");
        }
    }
}

/// A file that goes with the test.
pub(crate) struct Tree(pub(crate) PathBuf);

impl Drop for Tree {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

/// Bytes that differ from block to block and do not compress.
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

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().map(|b| format!("{b:02x}")).collect()
}

pub(crate) async fn compress(encoding: Encoding, data: &[u8]) -> Vec<u8> {
    let (mut download, source) = download_channel();
    let mut encoded = rigd_codec::encode(source, encoding, &TaskTracker::new());
    let data = Bytes::copy_from_slice(data);
    let writer = tokio::spawn(async move {
        for at in (0..data.len()).step_by(1 << 20) {
            let end = data.len().min(at + (1 << 20));
            download.write(data.slice(at..end)).await.unwrap();
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

/// A block map of 2.0 with all its checksums; ranges of pages.
pub(crate) fn bmap(image: &[u8], ranges: &[(usize, usize)]) -> String {
    let zeros = "0".repeat(64);
    let mut text = format!(
        "<?xml version=\"1.0\" ?>\n<bmap version=\"2.0\">\n<ImageSize> {} </ImageSize>\n\
         <BlockSize> 4096 </BlockSize>\n<ChecksumType> sha256 </ChecksumType>\n\
         <BmapFileChecksum> {zeros} </BmapFileChecksum>\n<BlockMap>\n",
        image.len()
    );
    for (start, end) in ranges {
        let bytes = &image[start * 4096..(end * 4096).min(image.len())];
        let (hash, last) = (sha256(bytes), end - 1);
        text += &format!("<Range chksum=\"{hash}\"> {start}-{last} </Range>\n");
    }
    text += "</BlockMap>\n</bmap>\n";
    let own = sha256(text.as_bytes());
    text.replacen(&zeros, &own, 1)
}

/// An Android sparse image: `raw`, then 100 blocks that do not matter, then 16 of a pattern.
pub(crate) fn sparse(raw: &[u8]) -> Vec<u8> {
    let blocks = (raw.len() / 4096) as u32;
    let mut file = 0xed26_ff3a_u32.to_le_bytes().to_vec();
    for half in [1_u16, 0, 28, 12] {
        file.extend(half.to_le_bytes());
    }
    for word in [4096, blocks + 116, 3, 0] {
        file.extend(word.to_le_bytes());
    }
    let mut chunk = |kind: u16, blocks: u32, data: &[u8]| {
        file.extend(kind.to_le_bytes());
        file.extend([0, 0]);
        file.extend(blocks.to_le_bytes());
        file.extend((data.len() as u32 + 12).to_le_bytes());
        file.extend(data);
    };
    chunk(0xcac1, blocks, raw);
    chunk(0xcac3, 100, &[]);
    chunk(0xcac2, 16, &[1, 2, 3, 4]);
    file
}
