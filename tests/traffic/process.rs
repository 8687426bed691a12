//! What a process holds: descriptors, threads, memory, as the kernel tells it.

use std::{
    fs,
    time::{Duration, Instant},
};

const POLL: Duration = Duration::from_millis(10);

/// A look at a process from outside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process(pub(crate) u32);

/// What it holds, for comparing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holdings {
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
}

impl Process {
    pub(crate) fn holdings(self) -> Holdings {
        let count = |dir: &str| {
            let path = format!("/proc/{}/{dir}", self.0);
            let entries = fs::read_dir(&path).unwrap_or_else(|why| panic!("{path}: {why}"));
            entries.count()
        };
        Holdings {
            descriptors: count("fd"),
            threads: count("task"),
        }
    }

    /// Whether it comes back to holding no more than `base`, in time; else what it holds.
    pub(crate) fn returns_to(self, base: Holdings, limit: Duration) -> Result<(), Holdings> {
        let end = Instant::now() + limit;
        loop {
            let now = self.holdings();
            if now.descriptors <= base.descriptors && now.threads <= base.threads {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(now);
            }
            std::thread::sleep(POLL);
        }
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident(self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most resident memory since [`forget_peak`](Self::forget_peak), in bytes.
    pub(crate) fn peak(self) -> u64 {
        self.status("VmHWM:")
    }

    /// Starts measuring the peak anew, see proc(5), `clear_refs`.
    pub(crate) fn forget_peak(self) {
        fs::write(format!("/proc/{}/clear_refs", self.0), "5").unwrap();
    }

    fn status(self, key: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.parse::<u64>().unwrap() * 1024
    }

    /// What its descriptors lead to, for a message.
    pub(crate) fn descriptors(self) -> Vec<String> {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.0)).unwrap();
        let target = |entry: std::io::Result<fs::DirEntry>| fs::read_link(entry.ok()?.path()).ok();
        entries
            .filter_map(target)
            .map(|path| path.display().to_string())
            .collect()
    }
}
