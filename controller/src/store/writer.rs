//! The one thread that writes: it takes all that is queued, and syncs once for it.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    thread::JoinHandle,
};

use redb::Database;
use tokio::sync::{mpsc, oneshot};

use super::{
    Change, StoreError,
    rows::{self, Row},
};

/// Commits that may wait. A disk syncs at least ten times a second and a group takes
/// `MAX_GROUP`, so a queue this long is minutes of a lab's worst traffic, or a disk that hangs.
pub const MAX_QUEUE: usize = 4096;
/// Commits in one transaction, so that the first of them is not answered late.
const MAX_GROUP: usize = 512;

/// One caller's changes.
struct Request {
    rows: Vec<Row>,
    number: Option<u64>,
    answer: oneshot::Sender<Result<(), StoreError>>,
}

/// A handle on the thread.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Why the first failed write failed.
    poison: OnceLock<Arc<str>>,
    syncs: AtomicU64,
}

/// Ends when the changes are on the disk, or cannot get there.
#[derive(Debug)]
#[must_use = "what is not waited for may never be on the disk"]
pub struct Commit(State);

#[derive(Debug)]
enum State {
    Refused(StoreError),
    Queued(oneshot::Receiver<Result<(), StoreError>>, Arc<Shared>),
}

impl Writer {
    pub(super) fn start(database: Arc<Database>) -> std::io::Result<Self> {
        let (queue, requests) = mpsc::channel(MAX_QUEUE);
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("state".to_owned())
            .spawn(move || run(&database, requests, &of_thread))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
            shared,
        })
    }

    pub(super) fn commit(&self, changes: &[Change]) -> Commit {
        Commit(match self.enqueue(changes) {
            Ok(answer) => State::Queued(answer, Arc::clone(&self.shared)),
            Err(error) => State::Refused(error),
        })
    }

    pub(super) fn room(&self) -> usize {
        self.queue.as_ref().map_or(0, mpsc::Sender::capacity)
    }

    pub(super) fn syncs(&self) -> u64 {
        self.shared.syncs.load(Ordering::Relaxed)
    }

    pub(super) fn poisoned(&self) -> Option<StoreError> {
        self.shared.poison.get().cloned().map(StoreError::Poisoned)
    }

    fn enqueue(
        &self,
        changes: &[Change],
    ) -> Result<oneshot::Receiver<Result<(), StoreError>>, StoreError> {
        if let Some(error) = self.poisoned() {
            return Err(error);
        }
        // Here and not in the thread: an object that cannot be kept is its own caller's affair.
        let rows = changes.iter().map(Change::row).collect::<Result<_, _>>()?;
        let number = changes.iter().filter_map(Change::number).max();
        let (answer, answered) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(|| self.shared.ended())?;
        match queue.try_send(Request {
            rows,
            number,
            answer,
        }) {
            Ok(()) => Ok(answered),
            Err(mpsc::error::TrySendError::Full(_)) => Err(StoreError::Overloaded),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(self.shared.ended()),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // It catches its own panics.
            thread.join().ok();
        }
    }
}

impl Commit {
    /// Waits on this thread, for programs without a runtime.
    ///
    /// # Errors
    /// As the future itself.
    pub fn wait(self) -> Result<(), StoreError> {
        match self.0 {
            State::Refused(error) => Err(error),
            State::Queued(answer, shared) => answer
                .blocking_recv()
                .unwrap_or_else(|_| Err(shared.ended())),
        }
    }
}

impl Future for Commit {
    type Output = Result<(), StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Refused(error) => Poll::Ready(Err(error.clone())),
            State::Queued(answer, shared) => Pin::new(answer)
                .poll(cx)
                .map(|answer| answer.unwrap_or_else(|_| Err(shared.ended()))),
        }
    }
}

impl Shared {
    /// The thread is gone, which only happens after a failure.
    fn ended(&self) -> StoreError {
        let why = self.poison.get_or_init(|| "its writer has ended".into());
        StoreError::Poisoned(Arc::clone(why))
    }
}

fn run(database: &Database, mut requests: mpsc::Receiver<Request>, shared: &Shared) {
    while let Some(first) = requests.blocking_recv() {
        let mut group = vec![first];
        while group.len() < MAX_GROUP
            && let Ok(next) = requests.try_recv()
        {
            group.push(next);
        }
        let result = match shared.poison.get() {
            // Those that were queued before the failure was known.
            Some(why) => Err(StoreError::Poisoned(Arc::clone(why))),
            None => write_or_poison(database, &group, shared),
        };
        for request in group {
            // A caller that went away wants no answer.
            request.answer.send(result.clone()).ok();
        }
    }
}

fn write_or_poison(
    database: &Database,
    group: &[Request],
    shared: &Shared,
) -> Result<(), StoreError> {
    let why = match catch_unwind(AssertUnwindSafe(|| write(database, group))) {
        Ok(Ok(())) => {
            shared.syncs.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the database gave up".to_owned(),
    };
    let why: Arc<str> = why.into();
    shared.poison.set(Arc::clone(&why)).ok();
    tracing::error!(%why, "Could not write the state: no changes are taken until rigd is restarted.");
    Err(StoreError::Failed(why))
}

fn write(database: &Database, group: &[Request]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    for row in group.iter().flat_map(|request| &request.rows) {
        row.write(&transaction)?;
    }
    if let Some(number) = group.iter().filter_map(|request| request.number).max() {
        rows::raise_last_number(&transaction, number)?;
    }
    // Immediate durability is redb's default: this returns after the sync.
    Ok(transaction.commit()?)
}
