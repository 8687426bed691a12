//! What survives a crash of the daemon: which lease it was serving, and how far that had come.
//!
//! One small file for each exporter, replaced as a whole: written beside, synced, renamed, and the
//! directory synced. After a power cut it holds the entry before or the entry after, never a half.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize};

use super::machine::{Entry, Lease, Phase};

/// Largest file that is read: an entry has a few hundred bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// The journal of one exporter. Clones share one order: a write that was overtaken by a later one,
/// because the disk did not answer in time, changes nothing any more.
#[derive(Debug, Clone)]
pub struct Journal {
    path: PathBuf,
    order: Arc<Order>,
    number: u64,
}

#[derive(Debug, Default)]
struct Order {
    latest: AtomicU64,
    /// Held while a file is replaced.
    writing: Mutex<()>,
}

/// The file's form. Fields are added, never changed.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    lease: String,
    client: String,
    phase: WrittenPhase,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WrittenPhase {
    BeforeLease,
    Ready,
    AfterLease,
    Done,
}

impl From<Phase> for WrittenPhase {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Before => Self::BeforeLease,
            Phase::Ready => Self::Ready,
            Phase::After => Self::AfterLease,
            Phase::Done => Self::Done,
        }
    }
}

impl From<WrittenPhase> for Phase {
    fn from(phase: WrittenPhase) -> Self {
        match phase {
            WrittenPhase::BeforeLease => Self::Before,
            WrittenPhase::Ready => Self::Ready,
            WrittenPhase::AfterLease => Self::After,
            WrittenPhase::Done => Self::Done,
        }
    }
}

impl Journal {
    /// The journal in an exporter's state directory.
    pub fn new(state_dir: &Path) -> Self {
        Self {
            path: state_dir.join("lease.json"),
            order: Arc::default(),
            number: 0,
        }
    }

    /// The journal for the next entry. Called in the order of the entries, before each is written.
    pub fn next(&self) -> Self {
        let number = self.order.latest.fetch_add(1, Ordering::SeqCst) + 1;
        Self {
            number,
            ..self.clone()
        }
    }

    /// What the process before left; none without a file. Blocks.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else. The lease that it named is then unknown:
    /// the caller starts without it and says so.
    pub fn read(&self) -> io::Result<Option<Entry>> {
        use std::io::Read;
        let mut text = Vec::new();
        match File::open(&self.path) {
            Ok(file) => file.take(MAX_BYTES).read_to_end(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let Written {
            lease,
            client,
            phase,
        } = serde_json::from_slice(&text)?;
        Ok(Some(Entry {
            lease: Lease {
                name: lease,
                client,
            },
            phase: phase.into(),
        }))
    }

    /// Replaces the entry; when this returns it is on the disk. Blocks.
    pub fn write(&self, entry: &Entry) -> io::Result<()> {
        let _one = self
            .order
            .writing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.number < self.order.latest.load(Ordering::SeqCst) {
            return Ok(());
        }
        let written = Written {
            lease: entry.lease.name.clone(),
            client: entry.lease.client.clone(),
            phase: entry.phase.into(),
        };
        let dir = self.path.parent().unwrap_or_else(|| Path::new("."));
        fs::create_dir_all(dir)?;
        let beside = self.path.with_extension("new");
        let mut file = File::create(&beside)?;
        file.write_all(&serde_json::to_vec(&written)?)?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        File::open(dir)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(phase: Phase) -> Entry {
        Entry {
            lease: Lease {
                name: "one".into(),
                client: "me".into(),
            },
            phase,
        }
    }

    #[test]
    fn what_is_written_is_read_in_every_phase() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::new(&dir.path().join("not/yet/there"));
        assert_eq!(journal.read().unwrap(), None);
        for phase in [Phase::Before, Phase::Ready, Phase::After, Phase::Done] {
            journal.write(&entry(phase)).unwrap();
            assert_eq!(journal.read().unwrap(), Some(entry(phase)));
        }
    }

    #[test]
    fn a_write_that_was_overtaken_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::new(dir.path());
        let (slow, fast) = (journal.next(), journal.next());
        fast.write(&entry(Phase::After)).unwrap();
        slow.write(&entry(Phase::Ready)).unwrap();
        assert_eq!(journal.read().unwrap(), Some(entry(Phase::After)));
    }

    #[test]
    fn a_half_written_successor_does_not_count_and_garbage_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::new(dir.path());
        journal.write(&entry(Phase::Ready)).unwrap();
        fs::write(dir.path().join("lease.new"), "{\"lea").unwrap();
        assert_eq!(journal.read().unwrap(), Some(entry(Phase::Ready)));
        fs::write(dir.path().join("lease.json"), "{\"lea").unwrap();
        assert!(journal.read().is_err());
        journal.write(&entry(Phase::Done)).unwrap();
        assert_eq!(journal.read().unwrap(), Some(entry(Phase::Done)));
    }
}
