//! Looks at a state file before anything may write to it.
//!
//! Opening a database repairs it where its last user was killed, and that writes. So a copy in memory
//! is opened, repaired, checked to the last page and read first; only a file that passes is touched.

use std::{
    fs::File,
    io::{self, Read},
    panic,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use redb::{Database, StorageBackend, backends::InMemoryBackend};

use super::{
    CACHE_BYTES, StoreError,
    rows::{self, Unreadable},
    unusable,
};

/// With what a redb file begins, by its design document.
const MAGIC: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";
/// Name of the thread that looks.
const CHECKER: &str = "state-check";
/// What a repair may add to a file: a region table, far less than this. A damaged header must not
/// make the copy ask for all memory there is.
const MAX_GROWTH: u64 = 16 * 1024 * 1024;

/// Whether the file is a good state.
pub(super) fn check(path: &Path) -> Result<(), StoreError> {
    let failed = |error: io::Error| unusable(path, &error);
    let mut file = File::open(path).map_err(failed)?;
    let mut content = Vec::new();
    file.by_ref()
        .take(MAGIC.len() as u64)
        .read_to_end(&mut content)
        .map_err(failed)?;
    if content.is_empty() {
        return Err(Unreadable::Damaged("it is empty".to_owned()).at(path));
    }
    if content != MAGIC {
        return Err(Unreadable::Foreign.at(path));
    }
    file.read_to_end(&mut content).map_err(failed)?;
    match verify_apart(content) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(what)) => Err(what.at(path)),
        Err(_) => Err(Unreadable::Damaged("its pages make no sense".to_owned()).at(path)),
    }
}

/// A damaged file can lead the database astray in ways that it meets with a panic, which is told as
/// damage and not as a mistake of this program: on a thread of its own, by whose name the hook for
/// panics knows it. Both are there for this look only.
fn verify_apart(content: Vec<u8>) -> thread::Result<Result<(), Unreadable>> {
    // Two of them would put back each other's hook.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let loud = Arc::new(panic::take_hook());
    let of_others = Arc::clone(&loud);
    panic::set_hook(Box::new(move |panic| {
        if thread::current().name() != Some(CHECKER) {
            of_others(panic);
        }
    }));
    let checker = thread::Builder::new().name(CHECKER.to_owned());
    let no_thread = |error: io::Error| Err(redb::StorageError::Io(error).into());
    let verified = match checker.spawn(|| verify(content)) {
        Ok(checker) => checker.join(),
        Err(error) => Ok(no_thread(error)),
    };
    // With the one in between goes the other owner of the first.
    drop(panic::take_hook());
    if let Some(loud) = Arc::into_inner(loud) {
        panic::set_hook(loud);
    }
    verified
}

fn verify(content: Vec<u8>) -> Result<(), Unreadable> {
    let copy = Copy::new(&content)?;
    drop(content);
    let mut database = Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create_with_backend(copy)?;
    if !database.check_integrity()? {
        return Err(Unreadable::Damaged("its checksums are wrong".to_owned()));
    }
    rows::read(&database).map(drop)
}

#[derive(Debug)]
struct Copy {
    memory: InMemoryBackend,
    limit: u64,
}

impl Copy {
    fn new(content: &[u8]) -> Result<Self, Unreadable> {
        let (memory, length) = (InMemoryBackend::new(), content.len() as u64);
        memory
            .set_len(length)
            .and_then(|()| memory.write(0, content))
            .map_err(redb::StorageError::Io)?;
        Ok(Self {
            memory,
            limit: length.saturating_add(MAX_GROWTH),
        })
    }
}

impl StorageBackend for Copy {
    fn len(&self) -> io::Result<u64> {
        self.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.memory.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        if length > self.limit {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it claims an absurd length",
            ));
        }
        self.memory.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.memory.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.memory.write(offset, data)
    }
}
