//! Listen: the queue of a lease, from Dial to the exporter that serves it.
//!
//! ```text
//!   Dial ──offer──> queue (8) ──> the newest Listen of the lease
//!                     └ an older one delivers what is in its own queue, then ends with OK
//! ```
//!
//! A stream ends some time after its lease is over: exporters that are told so by Status end it
//! themselves, and those that see it end with OK would open it again at once.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures::stream;
use rigd_proto::v1::ListenResponse;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep},
};
use tonic::Status;

use super::{Answers, ControllerService};
use crate::{
    api::caller::Peer,
    engine::{Engine, Holding},
    leases::Refusal,
};

/// Dials of a lease that may wait for its exporter, as Jumpstarter's controller has it.
const QUEUE: usize = 8;
/// How long an exporter has to end its stream itself when the lease is over: it hears of that at the
/// same moment.
const FAREWELL: Duration = Duration::from_secs(5);
/// Listens for one lease within [`RIVALRY`] that took the place of another one. An exporter that loses
/// its connection again and again makes one in some seconds; two exporters of one identity make
/// hundreds.
const RIVALS: u32 = 5;
/// See [`RIVALS`].
const RIVALRY: Duration = Duration::from_secs(60);
/// How long rivals that replace each other are held up: they come back at once.
const CALM: Duration = Duration::from_secs(1);

/// One token on its way to an exporter.
#[derive(Debug)]
pub(super) struct Offer {
    /// Of the lease; of an earlier one, the router would refuse it.
    pub(super) epoch: u64,
    pub(super) place: ListenResponse,
}

/// Why an offer was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// No exporter listens.
    Nobody,
    /// It does not take what waits.
    Full,
}

/// Who listens, by lease.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    all: Mutex<HashMap<String, Listener>>,
    last: AtomicU64,
}

#[derive(Debug)]
struct Listener {
    serial: u64,
    peer: Peer,
    queue: mpsc::Sender<Offer>,
    rivals: Rivals,
    /// Told to the stream: when it is replaced, it waits before it ends.
    calm: Arc<AtomicBool>,
}

/// Replacements since a moment.
#[derive(Debug, Clone, Copy)]
struct Rivals {
    since: Instant,
    count: u32,
}

impl Listeners {
    /// Hands a token to whoever listens for the lease.
    pub(super) fn offer(&self, lease: &str, offer: Offer) -> Result<(), Refused> {
        let all = self.all();
        let listener = all.get(lease).ok_or(Refused::Nobody)?;
        listener.queue.try_send(offer).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refused::Full,
            mpsc::error::TrySendError::Closed(_) => Refused::Nobody,
        })
    }

    /// The one who listens from now on.
    fn enter(self: &Arc<Self>, exporter: &str, lease: &str, peer: Peer) -> (Place, Queue) {
        let serial = self.last.fetch_add(1, Relaxed);
        let (sender, offers) = mpsc::channel(QUEUE);
        let calm = Arc::new(AtomicBool::new(false));
        let mut listener = Listener {
            serial,
            peer,
            queue: sender,
            rivals: Rivals::none(),
            calm: Arc::clone(&calm),
        };
        let mut all = self.all();
        let warned = all.get(lease).and_then(|older| {
            listener.rivals = older.rivals.one_more(Instant::now());
            let hot = listener.rivals.count > RIVALS;
            older.calm.store(hot, Relaxed);
            // Once in a while, and not for each of hundreds.
            (listener.rivals.count == RIVALS + 1).then_some(older.peer)
        });
        // The older one finds its queue closed behind what is in it.
        all.insert(lease.to_owned(), listener);
        drop(all);
        if let Some(other) = warned {
            tracing::warn!(
                exporter,
                lease,
                %peer,
                %other,
                "Two exporters of one identity seem to run: they take this lease's clients from each \
                 other. Stop one of them."
            );
        }
        let place = Place {
            table: Arc::clone(self),
            lease: lease.to_owned(),
            serial,
        };
        (place, Queue { offers, calm })
    }

    fn leave(&self, lease: &str, serial: u64) {
        let mut all = self.all();
        if all.get(lease).is_some_and(|one| one.serial == serial) {
            all.remove(lease);
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Listener>> {
        // Every change of the table is one insertion or one removal.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many leases are listened for.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.all().len()
    }
}

impl Rivals {
    fn none() -> Self {
        Self {
            since: Instant::now(),
            count: 0,
        }
    }

    fn one_more(self, now: Instant) -> Self {
        if now.saturating_duration_since(self.since) > RIVALRY {
            return Self {
                since: now,
                count: 1,
            };
        }
        Self {
            count: self.count.saturating_add(1),
            ..self
        }
    }
}

/// A stream's place in the table, until it is dropped.
#[derive(Debug)]
struct Place {
    table: Arc<Listeners>,
    lease: String,
    serial: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.table.leave(&self.lease, self.serial);
    }
}

/// A stream's end of its queue.
#[derive(Debug)]
struct Queue {
    offers: mpsc::Receiver<Offer>,
    calm: Arc<AtomicBool>,
}

impl ControllerService {
    #[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
    pub(super) fn do_listen(
        &self,
        exporter: &str,
        lease: String,
        peer: Peer,
    ) -> Result<Answers<ListenResponse>, Status> {
        if lease.is_empty() {
            return Err(Status::unknown("empty lease name"));
        }
        // Before the look, so that what comes after it is not missed.
        let holding = self.engine.holding(exporter);
        self.engine.read(|world| {
            let found = world.leases.get(&lease);
            let found = found.ok_or_else(|| Refusal::NotFound(lease.clone()))?;
            let held = found.held.as_ref();
            if held.is_none_or(|held| held.exporter != exporter) {
                return Err(Status::unknown("permission denied"));
            }
            match found.over {
                Some(_) => Err(Status::unknown("lease not active")),
                None => Ok(()),
            }
        })?;
        let (place, queue) = self.listeners.enter(exporter, &lease, peer);
        let listening = Listening {
            engine: self.engine.clone(),
            lease,
            place: Some(place),
            queue,
            holding,
        };
        Ok(Box::pin(stream::unfold(
            listening,
            |mut listening| async move { Some((Ok(listening.next().await?), listening)) },
        )))
    }
}

/// One stream.
struct Listening {
    engine: Engine,
    lease: String,
    place: Option<Place>,
    queue: Queue,
    holding: watch::Receiver<Holding>,
}

impl Listening {
    /// The next token; `None` ends the stream.
    async fn next(&mut self) -> Option<ListenResponse> {
        loop {
            if self.holding.borrow_and_update().lease != self.lease {
                return self.over().await;
            }
            // cancel-safe: both only wait.
            tokio::select! {
                biased;
                offer = self.queue.offers.recv() => match offer {
                    Some(offer) if self.is_current(&offer) => return Some(offer.place),
                    Some(_) => {}
                    None => {
                        if self.queue.calm.load(Relaxed) {
                            sleep(CALM).await;
                        }
                        return None;
                    }
                },
                changed = self.holding.changed() => if changed.is_err() {
                    return self.over().await;
                },
            }
        }
    }

    /// The exporter serves this lease no more: nothing is dialled any more.
    async fn over(&mut self) -> Option<ListenResponse> {
        self.place = None;
        sleep(FAREWELL).await;
        None
    }

    /// The lease may have changed hands since.
    fn is_current(&self, offer: &Offer) -> bool {
        self.engine.read(|world| {
            let lease = world.leases.get(&self.lease);
            let held = lease.and_then(|lease| lease.held.as_ref());
            held.is_some_and(|held| held.epoch == offer.epoch)
        })
    }
}
