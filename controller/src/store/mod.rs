//! What outlives the controller: the world and its keys, in one redb file.
//!
//! ```text
//!   commit(changes) ──queue──> writer thread: all that is queued, one transaction, one sync
//!        ^                          │ done                     │ failed
//!        └──────── Ok ──────────────┘                          v
//!                                               poisoned: every later change is refused
//! ```
//!
//! One process at a time has the file. What is acknowledged is on the disk; what is damaged or not
//! ours is left as it is found.

mod change;
mod check;
mod create;
mod dump;
mod lock;
mod rows;
mod trim;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use redb::Database;

pub use change::Change;
pub use dump::{Dump, import};
pub use trim::{Retention, trim};
pub use writer::{Batch, Commit, MAX_QUEUE};

use crate::{
    auth::{KeyError, Keys},
    model::World,
    pid_lock::PidLock,
    private_file,
};
use writer::Writer;

/// The file in the state directory.
const FILE: &str = "controller.redb";
/// Memory for pages of the file; all of it is read once, and a lab has a few megabytes.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

/// The open state of a lab. Dropping it waits for what is queued to be written.
#[derive(Debug)]
pub struct Store {
    // In this order: the last write, the file, the lock.
    writer: Writer,
    database: Arc<Database>,
    path: PathBuf,
    _lock: PidLock,
}

/// Everything that was kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// What the lab is.
    pub world: World,
    /// Its secrets.
    pub keys: Keys,
}

/// The state cannot be opened, read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Another process has it.
    #[error("state is in use by pid {pid}")]
    InUse {
        /// Of that process.
        pid: u32,
    },
    /// Another process has it, which has not said its number yet.
    #[error("state is in use by another process")]
    InUseUnnamed,
    /// It cannot be read or made.
    #[error("{} cannot be used: {why}", path.display())]
    Unusable {
        /// File or directory.
        path: PathBuf,
        /// The system's words.
        why: String,
    },
    /// Something else has the file's name.
    #[error(
        "{} is not a state file of rigd and was left as it is: move it away, or name another \
         state directory",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// It was one of ours.
    #[error(
        "{} is damaged ({what}) and was left as it is: move it away, then import the last export \
         or begin anew",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        what: String,
    },
    /// Another version of rigd wrote it.
    #[error("{} has format {found}, and this version of rigd reads format {}", path.display(), rows::FORMAT)]
    Format {
        /// The file.
        path: PathBuf,
        /// In the file.
        found: u32,
    },
    /// There is a state where one is to be made.
    #[error("{} exists already: move it away first", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// No keys could be made.
    #[error("{0}")]
    Keys(String),
    /// A change cannot be put into words; nothing of it was kept.
    #[error("{object} cannot be kept: {why}")]
    Unwritable {
        /// Kind and name.
        object: String,
        /// What is wrong with it.
        why: String,
    },
    /// This change could not be written; after a restart it may be there or not.
    #[error("the change could not be written to the state: {0}")]
    Failed(Arc<str>),
    /// An earlier one could not be written, so none is taken any more.
    #[error(
        "the state takes no changes since a write failed ({0}): make room or repair the disk, then \
         restart rigd"
    )]
    Poisoned(Arc<str>),
    /// More changes wait than ever should; nothing of this one was kept.
    #[error("too many changes wait to be written to the state")]
    Overloaded,
}

impl Store {
    /// Opens the state in `directory`, which is made at the first start, with new keys. It blocks: it
    /// reads and checks the whole file, a few milliseconds for each megabyte.
    ///
    /// # Errors
    /// Another process has it, it is not ours, damaged, or cannot be written; it is then left as it is.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let lock = lock::take(directory)?;
        let path = directory.join(FILE);
        if !path.try_exists().map_err(|error| unusable(&path, &error))? {
            let keys = Keys::generate().map_err(StoreError::from)?;
            create::create(&path, &World::default(), &keys)?;
        }
        check::check(&path)?;
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .open(&path)
            .map_err(|error| unusable(&path, &error))?;
        let database = Arc::new(database);
        let writer =
            Writer::start(Arc::clone(&database)).map_err(|error| unusable(&path, &error))?;
        Ok(Self {
            writer,
            database,
            path,
            _lock: lock,
        })
    }

    /// Whether there is a state in `directory`.
    pub fn exists(directory: &Path) -> bool {
        directory.join(FILE).exists()
    }

    /// Reads everything. Presence of exporters is not kept.
    ///
    /// # Errors
    /// Something in it cannot be read.
    pub fn load(&self) -> Result<Loaded, StoreError> {
        rows::read(&self.database).map_err(|what| what.at(&self.path))
    }

    /// Takes a place in the queue before it is known what will be in it.
    ///
    /// # Errors
    /// A write failed before, or the queue is full.
    pub fn begin(&self) -> Result<Batch<'_>, StoreError> {
        self.writer.begin()
    }

    /// Takes changes that belong together: all of them are kept, or none. They are queued when this
    /// returns, in the order of the calls; the future ends when they are on the disk.
    ///
    /// Dropping the future changes nothing: what is queued is written.
    pub fn commit(&self, changes: Vec<Change>) -> Commit {
        self.writer.commit(&changes)
    }

    /// As [`Store::commit`], without a runtime.
    #[cfg(test)]
    pub(crate) fn commit_blocking(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        self.commit(changes).wait()
    }

    /// How many more commits the queue takes before it answers [`StoreError::Overloaded`].
    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        self.writer.room()
    }

    /// How often the file was synced: fewer times than there were commits, under load.
    #[cfg(test)]
    pub(crate) fn syncs(&self) -> u64 {
        self.writer.syncs()
    }

    /// Why no changes are taken any more, if that is so.
    pub fn poisoned(&self) -> Option<StoreError> {
        self.writer.poisoned()
    }

    /// Takes no changes from now on, as after a failed write.
    pub(crate) fn poison(&self, why: &StoreError) {
        self.writer.poison(why);
    }

    /// Ends when no changes are taken any more, with the reason. Cancel-safe.
    pub fn failed(&self) -> impl Future<Output = StoreError> + Send + use<> {
        self.writer.failed()
    }

    /// Holds the writer up until it is dropped.
    #[cfg(test)]
    pub(crate) fn hold(&self) -> redb::WriteTransaction {
        self.database.begin_write().expect("a transaction")
    }
}

impl From<KeyError> for StoreError {
    fn from(error: KeyError) -> Self {
        Self::Keys(error.to_string())
    }
}

fn unusable(path: &Path, why: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unusable {
        path: path.to_owned(),
        why: why.to_string(),
    }
}

#[cfg(test)]
mod tests;
