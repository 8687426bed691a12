//! What the kernel tells about a block device: who uses it, which medium is in it, who wrote to it.
//!
//! Facts: `Documentation/ABI/stable/sysfs-block` (`stat`, `diskseq`, `ro`, `holders`, `queue/iostats`),
//! `Documentation/block/stat.rst`, proc(5) (`mountinfo`, `swaps`), `linux/fs.h` (ioctls) of the kernel.

#![allow(unsafe_code, reason = "an ioctl without an argument")]

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{major, minor},
    ioctl::{NoArg, ioctl, opcode},
};

/// A block device as sysfs has it.
#[derive(Debug)]
pub(crate) struct Node {
    /// `/sys/dev/block/8:1`, resolved.
    dir: PathBuf,
    number: String,
}

impl Node {
    /// The device of this number, if sysfs has it.
    pub(crate) fn of(rdev: u64) -> Option<Self> {
        let number = format!("{}:{}", major(rdev), minor(rdev));
        let dir = fs::canonicalize(Path::new("/sys/dev/block").join(&number)).ok()?;
        Some(Self { dir, number })
    }

    /// The directory of the whole disk.
    fn disk(&self) -> &Path {
        let is_part = self.dir.join("partition").exists();
        let parent = self.dir.parent().filter(|_| is_part);
        parent.unwrap_or(&self.dir)
    }

    fn read(&self, file: &str) -> Option<String> {
        let text = fs::read_to_string(self.disk().join(file)).ok()?;
        Some(text.trim().to_owned())
    }

    /// The switch of the card, or of its adapter.
    pub(crate) fn is_read_only(&self) -> bool {
        let own = fs::read_to_string(self.dir.join("ro"));
        own.is_ok_and(|text| text.trim() == "1")
    }

    /// Which medium it is: the sequence number changes with every medium that is put in, and starts
    /// again with the kernel.
    pub(crate) fn identity(&self) -> String {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let sequence = self.read("diskseq").unwrap_or_default();
        let size = self.read("size").unwrap_or_default();
        format!("{} {} {sequence} {size}", boot.trim(), self.number)
    }

    /// State of the file behind a loop device, which can be written past it.
    pub(crate) fn file_behind(&self) -> Option<String> {
        let file = self.read("loop/backing_file")?;
        let found = fs::metadata(&file).ok();
        let state = found.map(|f| (f.ino(), f.mtime(), f.mtime_nsec()));
        Some(format!("{file} {state:?}"))
    }

    /// Sectors written and discarded by anybody since the disk is there; `None` where they are not
    /// counted, or a medium cannot be told from another.
    pub(crate) fn sectors_written(&self) -> Option<u64> {
        self.read("diskseq")?;
        if self.read("queue/iostats")? != "1" {
            return None;
        }
        written(&self.read("stat")?)
    }

    /// Who uses the disk, as far as the kernel tells.
    pub(crate) fn holders(&self) -> String {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let swaps = swap_numbers(&fs::read_to_string("/proc/swaps").unwrap_or_default());
        let disk = self.disk();
        let mut parts = vec![disk.to_owned()];
        let inside = fs::read_dir(disk).into_iter().flatten().flatten();
        parts.extend(
            inside
                .map(|e| e.path())
                .filter(|p| p.join("partition").exists()),
        );
        parts.sort();
        let mut found = Vec::new();
        for part in &parts {
            let name = part.file_name().unwrap_or_default().to_string_lossy();
            let number = fs::read_to_string(part.join("dev")).unwrap_or_default();
            let number = number.trim();
            for place in mounted_at(&mounts, number) {
                found.push(format!("{name} is mounted at {place}"));
            }
            if swaps.iter().any(|swap| swap == number) {
                found.push(format!("{name} is swap space"));
            }
            let holders = fs::read_dir(part.join("holders"));
            for holder in holders.into_iter().flatten().flatten() {
                found.push(format!(
                    "{name} is held by {}",
                    holder.file_name().display()
                ));
            }
        }
        if found.is_empty() {
            let name = disk.file_name().unwrap_or_default().display();
            return format!(
                "another program has {name} open for itself alone, or mounted elsewhere"
            );
        }
        found.join(", ")
    }
}

/// Sectors written and discarded: fields 7 and 14 of `stat`.
fn written(stat: &str) -> Option<u64> {
    let fields: Vec<u64> = stat
        .split_whitespace()
        .map_while(|f| f.parse().ok())
        .collect();
    Some(fields.get(6)? + fields.get(13).unwrap_or(&0))
}

/// Where the device of this number is mounted: fields 3 and 5 of `mountinfo`.
fn mounted_at(mountinfo: &str, number: &str) -> Vec<String> {
    let fields = mountinfo.lines().map(|line| line.split(' '));
    let places = fields.filter_map(|mut fields| {
        let (device, place) = (fields.nth(2)?, fields.nth(1)?);
        (device == number).then(|| unescape(place))
    });
    places.collect()
}

/// Blanks and the like are octal there.
fn unescape(place: &str) -> String {
    let mut text = place.replace("\\040", " ");
    for (escaped, plain) in [("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        text = text.replace(escaped, plain);
    }
    text
}

fn swap_numbers(swaps: &str) -> Vec<String> {
    let paths = swaps
        .lines()
        .skip(1)
        .filter_map(|l| l.split_whitespace().next());
    let numbers = paths
        .filter_map(|path| fs::metadata(path).ok())
        .map(|f| f.rdev());
    numbers
        .map(|n| format!("{}:{}", major(n), minor(n)))
        .collect()
}

/// The loop device over a file, if there is one.
pub(crate) fn loop_over(path: &Path) -> Option<String> {
    let path = fs::canonicalize(path).ok()?;
    let devices = fs::read_dir("/sys/block").ok()?.flatten();
    let names = devices.map(|entry| entry.file_name().to_string_lossy().into_owned());
    for name in names.filter(|name| name.starts_with("loop")) {
        let file = fs::read_to_string(format!("/sys/block/{name}/loop/backing_file"));
        if file.is_ok_and(|file| Path::new(file.trim_end_matches('\n')) == path) {
            return Some(format!("/dev/{name}"));
        }
    }
    None
}

/// BLKFLSBUF: lets the kernel forget what it has of the disk. Needs CAP_SYS_ADMIN.
pub(crate) fn flush_buffers(file: &File) -> io::Result<()> {
    // SAFETY: the request takes no argument and changes no memory of ours.
    unsafe { ioctl(file, NoArg::<{ opcode::none(0x12, 97) }>::new()) }.map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_by_number_and_named_as_people_do() {
        let mounts = "29 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw\n\
                      40 29 8:1 / /media/my\\040card rw shared:2 - vfat /dev/sda1 rw\n\
                      41 29 8:1 /sub /srv rw - vfat /dev/sda1 rw\n";
        assert_eq!(mounted_at(mounts, "8:1"), ["/media/my card", "/srv"]);
        assert_eq!(mounted_at(mounts, "8:2"), ["/"]);
        assert!(mounted_at(mounts, "8:12").is_empty());
    }

    #[test]
    fn sectors_written_and_discarded_count() {
        let stat = "  120 3 4000 50 77 2 6160 90 0 100 140 5 0 800 1 9 2";
        assert_eq!(written(stat), Some(6960));
        let before_4_18 = "120 3 4000 50 77 2 6160 90 0 100 140";
        assert_eq!(written(before_4_18), Some(6160));
        assert_eq!(written(""), None);
    }
}
