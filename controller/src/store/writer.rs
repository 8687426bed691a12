//! The one thread that writes: it takes all that is queued, and syncs once for it.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    thread::JoinHandle,
};

use redb::Database;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

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
    /// Cancelled after there is one.
    poisoned: CancellationToken,
    #[cfg(test)]
    syncs: std::sync::atomic::AtomicU64,
}

/// Changes that belong together, and their place in the queue. Dropping it gives the place back, and
/// nothing of it is kept.
#[derive(Debug)]
#[must_use = "nothing of it is kept before it is committed"]
pub struct Batch<'a> {
    place: mpsc::Permit<'a, Request>,
    shared: Arc<Shared>,
    rows: Vec<Row>,
    number: Option<u64>,
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

    pub(super) fn begin(&self) -> Result<Batch<'_>, StoreError> {
        if let Some(error) = self.poisoned() {
            return Err(error);
        }
        let queue = self.queue.as_ref().ok_or_else(|| self.shared.ended())?;
        let place = queue.try_reserve().map_err(|error| match error {
            mpsc::error::TrySendError::Full(()) => StoreError::Overloaded,
            mpsc::error::TrySendError::Closed(()) => self.shared.ended(),
        })?;
        Ok(Batch {
            place,
            shared: Arc::clone(&self.shared),
            rows: Vec::new(),
            number: None,
        })
    }

    pub(super) fn commit(&self, changes: &[Change]) -> Commit {
        let batch = self.begin().and_then(|mut batch| {
            changes.iter().try_for_each(|change| batch.put(change))?;
            Ok(batch)
        });
        match batch {
            Ok(batch) => batch.commit(),
            Err(error) => Commit(State::Refused(error)),
        }
    }

    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.queue.as_ref().map_or(0, mpsc::Sender::capacity)
    }

    #[cfg(test)]
    pub(super) fn syncs(&self) -> u64 {
        self.shared.syncs.load(std::sync::atomic::Ordering::Relaxed)
    }

    pub(super) fn poisoned(&self) -> Option<StoreError> {
        self.shared.poison.get().cloned().map(StoreError::Poisoned)
    }

    pub(super) fn poison(&self, why: &StoreError) {
        self.shared.poison(why.to_string().into());
    }

    pub(super) fn failed(&self) -> impl Future<Output = StoreError> + Send + use<> {
        let shared = Arc::clone(&self.shared);
        async move {
            shared.poisoned.cancelled().await;
            shared.ended()
        }
    }
}

impl Batch<'_> {
    /// Adds a change.
    ///
    /// # Errors
    /// It cannot be put into words: the batch is as before.
    // Here and not in the thread: an object that cannot be kept is its own caller's affair.
    pub fn put(&mut self, change: &Change) -> Result<(), StoreError> {
        self.rows.push(change.row()?);
        self.number = self.number.max(change.number());
        Ok(())
    }

    /// Queues it. What is queued is written, whatever becomes of the future.
    pub fn commit(self) -> Commit {
        let (answer, answered) = oneshot::channel();
        self.place.send(Request {
            rows: self.rows,
            number: self.number,
            answer,
        });
        Commit(State::Queued(answered, self.shared))
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

#[cfg(test)]
impl Commit {
    /// Waits on this thread.
    pub(super) fn wait(self) -> Result<(), StoreError> {
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
    fn poison(&self, why: Arc<str>) -> Arc<str> {
        let why = Arc::clone(self.poison.get_or_init(|| why));
        self.poisoned.cancel();
        why
    }

    /// The thread is gone, which only happens after a failure.
    fn ended(&self) -> StoreError {
        StoreError::Poisoned(self.poison("its writer has ended".into()))
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
            #[cfg(test)]
            shared
                .syncs
                .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            return Ok(());
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the database gave up".to_owned(),
    };
    let why: Arc<str> = why.into();
    shared.poison(Arc::clone(&why));
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
