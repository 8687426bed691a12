//! A card: a file of the machine's disk behind a loop device that goes past the page cache.

use std::{
    cell::Cell,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempPath;

use crate::Failure;

/// Limits of writes in bytes a second, by device number. Version 1 of the kernel's control groups has
/// them for the whole machine as well.
const LIMITS: &str = "/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device";

/// Let go, and its file removed, when dropped.
#[derive(Debug)]
pub(crate) struct Card {
    pub(crate) device: PathBuf,
    _file: TempPath,
    slow: Cell<bool>,
}

impl Card {
    pub(crate) fn new(dir: &Path, size: u64) -> Result<Self, Failure> {
        let file = tempfile::Builder::new().prefix("card-").tempfile_in(dir)?;
        // With all its blocks: a card has them, and a file would get them at the first write.
        let all = rustix::fs::FallocateFlags::empty();
        rustix::fs::fallocate(file.as_file(), all, 0, size)?;
        let file = file.into_temp_path();
        let made = Command::new("losetup")
            .args(["--direct-io=on", "--show", "--find"])
            .arg(&file)
            .output()?;
        if !made.status.success() {
            let said = String::from_utf8_lossy(&made.stderr);
            return Err(format!("no loop device, which takes root: {said}").into());
        }
        let device = String::from_utf8(made.stdout)?.trim().into();
        let card = Self {
            device,
            _file: file,
            slow: Cell::new(false),
        };
        // As a used card: unwritten blocks of a file cost more at their first write.
        super::tools::dd(Path::new("/dev/zero"), &card.device, Some(size))?;
        Ok(card)
    }

    /// Lets it take so many bytes a second, as a slow card does.
    pub(crate) fn slow_down(&self, rate: u64) -> Result<(), Failure> {
        fs::write(LIMITS, format!("{} {rate}", self.number()?))
            .map_err(|error| format!("cannot slow a card down by {LIMITS}: {error}"))?;
        self.slow.set(true);
        Ok(())
    }

    fn number(&self) -> Result<String, Failure> {
        let name = self.device.file_name().ok_or("a loop device has a name")?;
        let number = Path::new("/sys/class/block").join(name).join("dev");
        Ok(fs::read_to_string(number)?.trim().to_owned())
    }

    /// Waits until nothing of it is on its way, and forgets what was read.
    pub(crate) fn settle(&self) -> Result<(), Failure> {
        File::open(&self.device)?.sync_all()?;
        Ok(())
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        if let (true, Ok(number)) = (self.slow.get(), self.number()) {
            fs::write(LIMITS, format!("{number} 0")).ok();
        }
        Command::new("losetup")
            .arg("--detach")
            .arg(&self.device)
            .status()
            .ok();
    }
}
