//! The thread of one USB device, and what becomes of it when the kernel does not come back.
//!
//! ```text
//!   idle ──a request──> running ──done──> idle ──last handle dropped──> ended
//!                          └──past its limit and the grace──> given up ──done after all──> ended
//! ```
//!
//! A thread that was given up stays behind: nothing can end it. No second one is started for the same
//! device until it has ended, so a device that hangs costs one thread.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};

use crate::{Operation, Place, UsbError};

/// Requests that wait behind the running one. Instances take turns at a device, so few ever do.
const QUEUE: usize = 16;
/// How long the kernel may take beyond a request's own limit to cancel it, before the handle is given
/// up. Cancelling on a working controller takes milliseconds; xhci gives up on one that does not
/// after 5 s. Who waits for a request waits this much longer, to hear of it.
pub const GRACE: Duration = Duration::from_secs(6);

/// What carries out requests: the kernel, or a test.
pub trait Kernel: Send + 'static {
    /// Blocks until the request is done, at most about as long as `limit`.
    ///
    /// # Errors
    /// Those of the kernel, with its error numbers.
    fn perform(&self, operation: &Operation, limit: Duration) -> io::Result<Vec<u8>>;
}

type Answer = Result<Vec<u8>, UsbError>;

struct Job {
    operation: Operation,
    limit: Duration,
    /// None: nobody waits, and it is done nevertheless.
    answer: Option<oneshot::Sender<Answer>>,
}

#[derive(Debug)]
enum State {
    Idle,
    Running {
        what: String,
        since: Instant,
        limit: Duration,
    },
    GivenUp {
        what: String,
        since: Instant,
    },
}

/// The far end of a device's thread.
#[derive(Debug)]
pub(crate) struct Worker {
    place: Place,
    grace: Duration,
    jobs: SyncSender<Job>,
    state: Arc<Mutex<State>>,
    /// Closed when the thread has ended.
    thread: watch::Receiver<()>,
}

impl Worker {
    /// Starts the thread, which opens the device first, within a limit and a grace. Gives what it can be waited for by, also when
    /// opening fails or takes too long.
    pub(crate) async fn start<K: Kernel>(
        place: &Place,
        [limit, grace]: [Duration; 2],
        open: impl FnOnce() -> io::Result<K> + Send + 'static,
    ) -> (watch::Receiver<()>, Result<Self, UsbError>) {
        let (jobs, queue) = sync_channel(QUEUE);
        let (alive, thread) = watch::channel(());
        let (opened, opening) = oneshot::channel();
        let state = Arc::new(Mutex::new(State::Running {
            what: "opening".into(),
            since: Instant::now(),
            limit,
        }));
        let worker = Self {
            place: place.clone(),
            grace,
            jobs,
            state: state.clone(),
            thread: thread.clone(),
        };
        let at = place.clone();
        // The kernel cuts names at 15 bytes.
        let name = format!("usb:{}", place.name());
        let started = std::thread::Builder::new().name(name).spawn(move || {
            let _alive = alive;
            let kernel = match open() {
                Ok(kernel) => kernel,
                Err(error) => {
                    let error = UsbError::opening(&at, &error);
                    return drop(opened.send(Err(error)));
                }
            };
            if !ended(&state) && opened.send(Ok(())).is_ok() {
                serve(&kernel, &at, &queue, &state);
            }
        });
        if let Err(error) = started {
            let error = UsbError::Io(format!("cannot start a thread for {place}: {error}"));
            return (thread, Err(error));
        }
        let outcome = match timeout(limit + grace, opening).await {
            Ok(Ok(Ok(()))) => Ok(worker),
            Ok(Ok(Err(error))) => Err(error),
            Ok(Err(_)) => Err(worker.wedged("opening", limit)),
            Err(_) => Err(worker.give_up()),
        };
        (thread, outcome)
    }

    /// Whether it is of no further use.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(*self.state(), State::GivenUp { .. }) || self.thread.has_changed().is_err()
    }

    /// Has a request carried out. Cancel-safe: one that has not begun is left out, one that runs goes
    /// on to its end.
    pub(crate) async fn perform(
        &self,
        operation: Operation,
        limit: Duration,
    ) -> Result<Vec<u8>, UsbError> {
        self.refuse_if_overdue()?;
        let (sender, answer) = oneshot::channel();
        self.submit(operation.clone(), limit, Some(sender))?;
        match timeout(limit + self.grace, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(UsbError::Io(format!(
                "{operation} of {}: its thread ended",
                self.place
            ))),
            Err(_) => {
                self.refuse_if_overdue()?;
                let text = format!("{operation} of {}: busy with other requests", self.place);
                Err(UsbError::Timeout(text))
            }
        }
    }

    /// Has it carried out some time, whoever goes away.
    pub(crate) fn leave(&self, operation: Operation, limit: Duration) {
        if let Err(error) = self.submit(operation, limit, None) {
            // Closing the device does the same, and the handle is about to be dropped.
            tracing::debug!("{error}");
        }
    }

    fn submit(
        &self,
        operation: Operation,
        limit: Duration,
        answer: Option<oneshot::Sender<Answer>>,
    ) -> Result<(), UsbError> {
        let place = &self.place;
        let job = Job {
            operation,
            limit,
            answer,
        };
        self.jobs.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(job) => UsbError::Exhausted(format!(
                "{} of {place}: {QUEUE} requests wait for it already",
                job.operation
            )),
            TrySendError::Disconnected(job) => {
                UsbError::Io(format!("{} of {place}: its thread ended", job.operation))
            }
        })
    }

    fn refuse_if_overdue(&self) -> Result<(), UsbError> {
        let overdue = match &*self.state() {
            State::Idle => false,
            State::Running { since, limit, .. } => since.elapsed() >= *limit + self.grace,
            State::GivenUp { .. } => true,
        };
        if overdue { Err(self.give_up()) } else { Ok(()) }
    }

    fn give_up(&self) -> UsbError {
        let mut state = self.state();
        let (what, since) = match &*state {
            State::Running { what, since, .. } | State::GivenUp { what, since } => {
                (what.clone(), *since)
            }
            State::Idle => ("a request".into(), Instant::now()),
        };
        *state = State::GivenUp {
            what: what.clone(),
            since,
        };
        drop(state);
        self.wedged(&what, since.elapsed())
    }

    fn wedged(&self, what: &str, since: Duration) -> UsbError {
        UsbError::Wedged(format!(
            "{what} of {} has not come back from the kernel since {} s; unplug it, or switch its hub \
             off and on",
            self.place,
            since.as_secs()
        ))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn serve(kernel: &impl Kernel, place: &Place, queue: &Receiver<Job>, state: &Mutex<State>) {
    for job in queue {
        if job.answer.as_ref().is_some_and(oneshot::Sender::is_closed) {
            continue;
        }
        *lock(state) = State::Running {
            what: job.operation.to_string(),
            since: Instant::now(),
            limit: job.limit,
        };
        let answer = kernel.perform(&job.operation, job.limit);
        if ended(state) {
            return;
        }
        // Here, since it may take a look around the host.
        let answer = answer.map_err(|error| UsbError::of(&job.operation, place, &error));
        match job.answer {
            // A caller that left has nobody to tell.
            Some(caller) => drop(caller.send(answer)),
            None => {
                if let Err(error) = answer {
                    tracing::debug!("{error}");
                }
            }
        }
    }
}

/// Whether nobody wants the thread any more; idle otherwise.
fn ended(state: &Mutex<State>) -> bool {
    let mut state = lock(state);
    if matches!(*state, State::GivenUp { .. }) {
        return true;
    }
    *state = State::Idle;
    false
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
