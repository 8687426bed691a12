//! The thread on which one instance does its blocking work.
//!
//! A hung ioctl or a stuck card costs its own instance and nothing else: no pool is shared. The
//! thread starts with the first job and ends when the instance is dropped; one that hangs is left
//! behind, since the kernel gives no way to end it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        OnceLock,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
};

use tokio::sync::oneshot;

use crate::{Call, DriverError, OpenError};

/// Jobs that wait behind the running one. Exclusive calls come one at a time, so only preempting
/// and shared ones queue here; more than a handful means the device hangs.
const QUEUE: usize = 16;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Debug)]
pub(crate) struct DeviceThread {
    name: String,
    jobs: OnceLock<Result<SyncSender<Job>, String>>,
}

impl DeviceThread {
    pub(crate) fn new(path: &str) -> Self {
        // The kernel cuts thread names at 15 bytes; the end of the path tells instances apart.
        let tail: String = path
            .chars()
            .rev()
            .take(10)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .collect();
        Self {
            name: format!("rigd:{tail}"),
            jobs: OnceLock::new(),
        }
    }

    /// Runs `job` on the thread, after its key and its caller were checked there.
    ///
    /// When the returned future is dropped, a job that has not started never starts; one that runs
    /// goes on to its end and keeps its turn in the queue until then.
    pub(crate) async fn run<T, F>(&self, call: Call, job: F) -> Result<T, DriverError>
    where
        T: Send + 'static,
        F: FnOnce(&Call) -> Result<T, DriverError> + Send + 'static,
    {
        let (tx, rx) = oneshot::channel();
        let span = tracing::Span::current();
        let job = Box::new(move || {
            let outcome = call.check().and_then(|()| {
                let work = AssertUnwindSafe(|| span.in_scope(|| job(&call)));
                catch_unwind(work).unwrap_or_else(|_| Err(panicked()))
            });
            // The turn ends before the caller hears of it, so a following call finds it free.
            drop(call);
            tx.send(Reply::new(outcome, span)).ok();
        });
        self.submit(job)?;
        rx.await.map_or_else(|_| Err(panicked()), Reply::take)
    }

    /// As [`run`](Self::run) for opening the device, when there is no lease and so no key.
    pub(crate) async fn run_unkeyed<T, F>(&self, job: F) -> Result<T, OpenError>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, OpenError> + Send + 'static,
    {
        let (tx, rx) = oneshot::channel();
        let span = tracing::Span::current();
        let job = Box::new(move || {
            // An opening that was given up while it waited here must not act later.
            if tx.is_closed() {
                return;
            }
            let outcome = catch_unwind(AssertUnwindSafe(|| span.in_scope(job)));
            tx.send(outcome.unwrap_or_else(|_| Err(OpenError::Faulty(panicked().to_string()))))
                .ok();
        });
        self.submit(job)
            .map_err(|e| OpenError::Faulty(e.to_string()))?;
        rx.await
            .unwrap_or_else(|_| Err(OpenError::Faulty(panicked().to_string())))
    }

    fn submit(&self, job: Job) -> Result<(), DriverError> {
        let jobs = self.jobs.get_or_init(|| {
            let (tx, rx) = sync_channel(QUEUE);
            let thread = std::thread::Builder::new().name(self.name.clone());
            thread
                .spawn(move || work(&rx))
                .map(|_| tx)
                .map_err(|e| e.to_string())
        });
        let jobs = jobs.as_ref().map_err(|error| {
            DriverError::Exhausted(format!("cannot start the device thread: {error}"))
        })?;
        jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => {
                DriverError::Exhausted(format!("the device does not answer: {QUEUE} calls wait"))
            }
            TrySendError::Disconnected(_) => panicked(),
        })
    }
}

/// How a job ended, on its way to the caller. One that is dropped on the way, since the caller went
/// away before or after it was sent, tells the log of an error that nobody else hears of.
struct Reply<T> {
    outcome: Option<Result<T, DriverError>>,
    span: tracing::Span,
}

impl<T> Reply<T> {
    fn new(outcome: Result<T, DriverError>, span: tracing::Span) -> Self {
        let outcome = Some(outcome);
        Self { outcome, span }
    }

    fn take(mut self) -> Result<T, DriverError> {
        self.outcome.take().unwrap_or_else(|| Err(panicked()))
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if let Some(Err(error)) = &self.outcome {
            let _in = self.span.enter();
            tracing::error!(%error, "Work that nobody waits for failed.");
        }
    }
}

fn work(jobs: &Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        job();
    }
}

pub(crate) fn panicked() -> DriverError {
    DriverError::Unknown("the driver failed unexpectedly; the daemon's log has the place".into())
}
