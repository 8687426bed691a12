//! The file that is the card, and its mark. Everything here blocks.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rigd_driver::{DriverError, OpenError};
use rustix::fs::{Access, AtFlags, CWD, FlockOperation, accessat, flock};

use crate::transfer::{Medium, cannot};

/// Cause of an incomplete card until a better one is known: after a crash, or when the caller
/// went away in the middle.
const INTERRUPTED: &str = "the last write was interrupted";
/// Longest cause kept. It ends up in an error's details, which are cut at 8 KiB.
const CAUSE: usize = 1024;

/// Who has the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Position {
    Off,
    Host,
    Dut,
}

impl Position {
    /// The name of the state.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Host => "host",
            Self::Dut => "dut",
        }
    }
}

#[derive(Debug)]
struct State {
    position: Position,
    incomplete: Option<String>,
}

#[derive(Debug)]
pub(super) enum CardError {
    /// The place of the card is no longer there.
    Gone(String),
    Failed(DriverError),
}

impl From<DriverError> for CardError {
    fn from(error: DriverError) -> Self {
        Self::Failed(error)
    }
}

#[derive(Debug)]
pub(super) struct Card {
    path: PathBuf,
    name: Arc<str>,
    mark: PathBuf,
    size: Option<u64>,
    state: Mutex<State>,
}

impl Card {
    /// Looks whether the card can be used. A relative `path` is below `own_dir`, which is made.
    pub(super) fn open(
        path: PathBuf,
        size: Option<u64>,
        own_dir: Option<PathBuf>,
    ) -> Result<Self, OpenError> {
        let path = match own_dir {
            Some(dir) => {
                std::fs::create_dir_all(&dir)
                    .map_err(|e| faulty(format!("cannot create {}", dir.display()), &e))?;
                dir.join(path)
            }
            None => path,
        };
        check_usable(&path)?;
        let mut mark = path.clone().into_os_string();
        mark.push(".incomplete");
        let mark = PathBuf::from(mark);
        let incomplete = match std::fs::read_to_string(&mark) {
            Ok(text) if text.trim().is_empty() => Some(INTERRUPTED.into()),
            Ok(text) => Some(cut(text.trim())),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => return Err(faulty(format!("cannot read {}", mark.display()), &e)),
        };
        Ok(Self {
            name: path.display().to_string().into(),
            path,
            mark,
            size,
            state: Mutex::new(State {
                position: Position::Off,
                incomplete,
            }),
        })
    }

    pub(super) fn size(&self) -> Option<u64> {
        self.size
    }

    pub(super) fn position(&self) -> Position {
        self.locked().position
    }

    pub(super) fn switch(&self, to: Position) {
        let mut state = self.locked();
        if state.position != to {
            tracing::debug!(from = ?state.position, ?to, "Switched the card.");
            state.position = to;
        }
    }

    /// Why the card must not be given to the board.
    pub(super) fn incomplete(&self) -> Option<String> {
        self.locked().incomplete.clone()
    }

    /// Marks the card, then empties it. Nothing has changed when this fails before the mark.
    pub(super) fn begin_write(&self) -> Result<Medium, CardError> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&self.path)
            .map_err(|e| self.failed("open", &e))?;
        self.lock_against_others(&file, FlockOperation::NonBlockingLockExclusive)?;
        self.write_mark(INTERRUPTED)
            .map_err(|e| cannot("create", &self.mark.display().to_string(), &e, 0))?;
        self.locked().incomplete = Some(INTERRUPTED.into());
        file.set_len(0).map_err(|e| self.failed("truncate", &e))?;
        Ok(self.medium(file))
    }

    /// The card is whole. To be called when its bytes are synced.
    pub(super) fn finish_write(&self) -> Result<(), CardError> {
        let removed = std::fs::remove_file(&self.mark).and_then(|()| self.sync_directory());
        removed.map_err(|e| cannot("remove", &self.mark.display().to_string(), &e, 0))?;
        self.locked().incomplete = None;
        Ok(())
    }

    /// Says why the card is incomplete.
    pub(super) fn note(&self, cause: String) -> Result<(), CardError> {
        let cause = cut(&cause);
        self.locked().incomplete = Some(cause.clone());
        self.write_mark(&cause)
            .map_err(|e| cannot("write", &self.mark.display().to_string(), &e, 0).into())
    }

    /// The card for reading; `None` when nothing was written yet.
    pub(super) fn begin_read(&self) -> Result<Option<Medium>, CardError> {
        match File::open(&self.path) {
            Ok(file) => {
                self.lock_against_others(&file, FlockOperation::NonBlockingLockShared)?;
                Ok(Some(self.medium(file)))
            }
            Err(e) if e.kind() == ErrorKind::NotFound && self.directory().is_dir() => Ok(None),
            Err(e) => Err(self.failed("open", &e)),
        }
    }

    fn medium(&self, file: File) -> Medium {
        Medium {
            file: Arc::new(file),
            name: self.name.clone(),
        }
    }

    /// Two instances over one file would mix two images. The lock goes with the descriptor.
    fn lock_against_others(&self, file: &File, how: FlockOperation) -> Result<(), CardError> {
        match flock(file, how) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                Err(CardError::Failed(DriverError::FailedPrecondition(format!(
                    "card in use: another process or instance holds a lock on {}",
                    self.name
                ))))
            }
            // Some network file systems have no locks; they never had this protection.
            Err(rustix::io::Errno::NOLCK | rustix::io::Errno::OPNOTSUPP) => Ok(()),
            Err(e) => Err(self.failed("lock", &e.into())),
        }
    }

    fn write_mark(&self, cause: &str) -> io::Result<()> {
        let mut mark = File::create(&self.mark)?;
        mark.write_all(cause.as_bytes())?;
        mark.sync_all()?;
        self.sync_directory()
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(self.directory())?.sync_all()
    }

    fn directory(&self) -> &Path {
        directory(&self.path)
    }

    fn failed(&self, what: &str, error: &io::Error) -> CardError {
        if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) {
            CardError::Gone(format!("cannot {what} {}: {error}", self.name))
        } else {
            CardError::Failed(cannot(what, &self.name, error, 0))
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn check_usable(path: &Path) -> Result<(), OpenError> {
    let shown = path.display();
    let dir = directory(path);
    match std::fs::metadata(dir) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => {
            let text = format!("{} is not a directory", dir.display());
            return Err(OpenError::Faulty(text));
        }
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let text = format!("directory {} does not exist", dir.display());
            return Err(OpenError::Absent(text));
        }
        Err(e) => return Err(faulty(format!("cannot reach {}", dir.display()), &e)),
    }
    // The mark lies beside the card, so its directory has to take files even if the card exists.
    let access = Access::WRITE_OK | Access::EXEC_OK;
    accessat(CWD, dir, access, AtFlags::EACCESS)
        .map_err(|e| faulty(format!("cannot write to {}", dir.display()), &e.into()))?;
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            Err(OpenError::Faulty(format!("{shown} is not a regular file")))
        }
        Ok(_) => {
            let opened = OpenOptions::new().read(true).write(true).open(path);
            opened
                .map(|_| ())
                .map_err(|e| faulty(format!("cannot open {shown} for reading and writing"), &e))
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(faulty(format!("cannot reach {shown}"), &e)),
    }
}

fn faulty(what: String, error: &io::Error) -> OpenError {
    OpenError::Faulty(format!("{what}: {error}"))
}

/// The beginning of a text, at a character's border.
fn cut(text: &str) -> String {
    let mut end = text.len().min(CAUSE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
