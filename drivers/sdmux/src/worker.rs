//! A mux's own thread: what hangs in the kernel costs nobody else anything.

use std::{sync::mpsc, thread, time::Duration};

use rigd_driver::{DriverError, HealthHandle, OpenError};
use tokio::{sync::oneshot, time::timeout};

/// Jobs that wait for the thread: a call and a question.
const WAITING: usize = 4;

type Job<S> = Box<dyn FnOnce(&S) + Send>;

/// A thread that has `S` and asks it, one job behind the other. It ends with this.
pub(crate) struct Worker<S> {
    jobs: mpsc::SyncSender<Job<S>>,
    /// Of the mux, for messages.
    name: String,
    limit: Duration,
    health: HealthHandle,
}

impl<S: Send + 'static> Worker<S> {
    /// Starts it. A job that is not done within `limit` makes the instance faulty.
    pub(crate) fn start(
        thread: &str,
        name: String,
        hardware: S,
        limit: Duration,
        health: HealthHandle,
    ) -> Result<Self, OpenError> {
        let (jobs, queue) = mpsc::sync_channel::<Job<S>>(WAITING);
        let work = move || {
            for job in queue {
                job(&hardware);
            }
        };
        thread::Builder::new()
            .name(thread.into())
            .spawn(work)
            .map_err(|error| OpenError::Faulty(format!("cannot start a thread: {error}")))?;
        Ok(Self {
            jobs,
            name,
            limit,
            health,
        })
    }

    /// Has the thread do `job`, and waits for it within the limit. A job that nobody waits for any more is not
    /// begun; one that was begun is done to its end.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        what: &str,
        job: impl FnOnce(&S) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let (tx, rx) = oneshot::channel();
        let job: Job<S> = Box::new(move |hardware| {
            // What waited behind a job that hung must not move anything for a lease that is over.
            if !tx.is_closed() {
                // Nobody listens any more after the limit.
                tx.send(job(hardware)).ok();
            }
        });
        let name = &self.name;
        let full = |_| DriverError::Exhausted(format!("too many requests wait for {name}"));
        self.jobs.try_send(job).map_err(full)?;
        match timeout(self.limit, rx).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(DriverError::Device(format!("cannot {what}: {name}"))),
            Err(_) => {
                let limit = self.limit.as_secs();
                let text = format!("cannot {what}: {name} does not answer within {limit} s");
                self.health.faulty(text.clone());
                Err(DriverError::Timeout(text))
            }
        }
    }
}
