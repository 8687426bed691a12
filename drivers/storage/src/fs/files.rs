//! The table of open files.
//!
//! ```text
//!   open ──> idle ──lend──> lent(method) ──loan dropped──> idle
//!              └──close──┐       └──close: the transfer ends with an error
//!                        v       v
//!                         closed      (the id stays known)
//! ```

use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rigd_driver::DriverError;
use serde::Deserialize;
use tokio::{sync::watch, time::Instant};
use uuid::Uuid;

use crate::transfer::Medium;

/// Files that one lease may have open: well under the daemon's descriptors, which all exporters
/// share.
const OPEN: usize = 128;
/// Closed files whose ids are still known.
const CLOSED: usize = 4096;

/// How a file is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum FileMode {
    #[serde(rename = "rb")]
    Read,
    #[serde(rename = "wb")]
    Write,
}

#[derive(Debug)]
enum Slot {
    Idle(Arc<File>),
    Lent {
        file: Arc<File>,
        method: &'static str,
        since: Instant,
    },
    Closed,
}

/// One id of the table.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) mode: FileMode,
    name: Arc<str>,
    slot: Mutex<Slot>,
    closed: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Table {
    files: HashMap<Uuid, Arc<OpenFile>>,
    closed: VecDeque<Uuid>,
}

/// The files of the lease.
#[derive(Debug, Default)]
pub(super) struct Files(Mutex<Table>);

/// A file for the time of one operation; nobody else has it.
#[derive(Debug)]
pub(super) struct Loan {
    entry: Arc<OpenFile>,
    pub(super) medium: Medium,
}

impl Files {
    /// Whether another file can be opened. To be asked before making one.
    pub(super) fn room(&self) -> Result<(), DriverError> {
        let table = self.locked();
        if table.files.len() - table.closed.len() < OPEN {
            return Ok(());
        }
        Err(DriverError::Exhausted(format!(
            "{OPEN} files are open; close some first"
        )))
    }

    pub(super) fn add(&self, file: File, mode: FileMode, name: String) -> Uuid {
        let id = Uuid::new_v4();
        let entry = OpenFile {
            mode,
            name: name.into(),
            slot: Mutex::new(Slot::Idle(Arc::new(file))),
            closed: watch::Sender::new(false),
        };
        self.locked().files.insert(id, Arc::new(entry));
        id
    }

    pub(super) fn get(&self, id: Uuid) -> Result<Arc<OpenFile>, DriverError> {
        let entry = self.locked().files.get(&id).cloned();
        entry.ok_or_else(|| DriverError::Unknown(format!("UUID('{id}')")))
    }

    /// Closes a file, also under a transfer. `None` when it was closed before.
    pub(super) fn close(&self, id: Uuid) -> Result<Option<Medium>, DriverError> {
        let entry = self.get(id)?;
        let file = entry.close();
        if file.is_some() {
            let mut table = self.locked();
            table.closed.push_back(id);
            if table.closed.len() > CLOSED
                && let Some(oldest) = table.closed.pop_front()
            {
                table.files.remove(&oldest);
            }
        }
        Ok(file)
    }

    /// Closes and forgets everything.
    pub(super) fn clear(&self) {
        let table = std::mem::take(&mut *self.locked());
        for entry in table.files.into_values() {
            entry.close();
        }
    }

    fn locked(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenFile {
    pub(super) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Takes the file for `method`, which must work on files of `mode`; any if `None`.
    pub(super) fn lend(
        self: &Arc<Self>,
        method: &'static str,
        mode: Option<FileMode>,
    ) -> Result<Loan, DriverError> {
        let mut slot = self.locked();
        let file = match &*slot {
            Slot::Idle(file) => file.clone(),
            Slot::Lent { method, since, .. } => {
                return Err(DriverError::Busy {
                    method: (*method).into(),
                    since: since.elapsed(),
                });
            }
            Slot::Closed => return Err(wrong("closed")),
        };
        match (mode, self.mode) {
            (Some(FileMode::Read), FileMode::Write) => return Err(wrong("write only")),
            (Some(FileMode::Write), FileMode::Read) => return Err(wrong("read only")),
            _ => {}
        }
        *slot = Slot::Lent {
            file: file.clone(),
            method,
            since: Instant::now(),
        };
        drop(slot);
        Ok(Loan {
            entry: self.clone(),
            medium: Medium {
                file,
                name: self.name.clone(),
            },
        })
    }

    fn close(&self) -> Option<Medium> {
        let slot = std::mem::replace(&mut *self.locked(), Slot::Closed);
        self.closed.send_replace(true);
        match slot {
            Slot::Idle(file) | Slot::Lent { file, .. } => Some(Medium {
                file,
                name: self.name.clone(),
            }),
            Slot::Closed => None,
        }
    }

    fn locked(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loan {
    /// Resolves when the file is closed under the operation. Cancel-safe.
    pub(super) async fn closed(&self) -> DriverError {
        // The sender lives in the entry that this loan holds, so waiting cannot fail.
        self.entry.closed.subscribe().wait_for(|c| *c).await.ok();
        DriverError::Cancelled(format!("{} was closed meanwhile", self.medium.name))
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let mut slot = self.entry.locked();
        if let Slot::Lent { file, .. } = &*slot {
            *slot = Slot::Idle(file.clone());
        }
    }
}

/// In upstream's words, which name reading in every case.
fn wrong(state: &str) -> DriverError {
    DriverError::Unknown(format!("I/O operation failed for reading on {state} file."))
}
