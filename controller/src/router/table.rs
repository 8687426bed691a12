//! Which stream waits for its other end, and which has both: decisions only, no I/O.
//!
//! ```text
//!            arrive            arrive           last end leaves
//!   (none) ─────────> waiting ─────────> joined ───────────────> gone ──60 s──> (none)
//!                        └── leave, expire, cut ───────────────────^
//!                                               └── cut ───────────┘
//! ```
//!
//! A third end finds its stream joined or gone and is refused: ends have no names, so it can be
//! neither a peer of the two nor one of them that came back, and both peers make a new Dial after a
//! failure. As a new first it would wait for somebody who never comes. A stream stays gone for a
//! while for the same reason: clients that give up leave the other end on its way.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{Cut, Pass};

/// For how long a stream is known as gone: the two ends hear of it at the same moment, and connect
/// within seconds.
pub(super) const GONE: Duration = Duration::from_secs(60);
/// Streams known as gone, some 200 bytes each. Of a lab with more than a hundred Dials a second the
/// oldest are forgotten sooner.
const MAX_GONE: usize = 8192;

/// Streams that may wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) of_a_lease: usize,
    pub(super) in_all: usize,
}

/// What an end that comes is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival<P> {
    /// The first of its stream. What it is to be joined with is this.
    First(P),
    /// The second; the first made this.
    Second(P),
    Refused(Refused),
}

/// Why an end is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Too many streams of its lease wait.
    Lease,
    /// Too many streams wait.
    All,
    /// The stream has both of its ends.
    Third,
    /// The other end came and left.
    Gone,
    /// The other end's pass is for another lease, or another epoch of it.
    Other,
}

/// One arrival, for telling it from others with the same stream.
pub(super) type Serial = u64;

/// All streams.
#[derive(Debug)]
pub(super) struct Table<P> {
    bounds: Bounds,
    streams: HashMap<Arc<str>, Entry<P>>,
    leases: HashMap<Arc<str>, Lease>,
    /// With the time at which each was.
    gone: VecDeque<(Instant, Arc<str>)>,
    last: Serial,
    waiting: usize,
    joined: usize,
}

#[derive(Debug)]
enum Entry<P> {
    Live(Live<P>),
    Gone,
}

#[derive(Debug)]
struct Live<P> {
    serial: Serial,
    lease: Arc<str>,
    epoch: u64,
    pair: P,
    ends: Ends,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// Of the first one only.
    Waiting,
    /// Both are there.
    Both,
    /// One of two has left.
    Last,
}

/// Streams of one lease; there is none without.
#[derive(Debug, Default)]
struct Lease {
    streams: HashSet<Arc<str>>,
    waiting: usize,
}

impl<P: Clone> Table<P> {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            streams: HashMap::new(),
            leases: HashMap::new(),
            gone: VecDeque::new(),
            last: 0,
            waiting: 0,
            joined: 0,
        }
    }

    /// Streams that wait for their other end.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Streams that were joined, until both ends have left.
    pub(super) fn joined(&self) -> usize {
        self.joined
    }

    /// An end comes. `make` gives what a new first shares with the second.
    pub(super) fn arrive(
        &mut self,
        pass: &Pass,
        now: Instant,
        make: impl FnOnce(Serial) -> P,
    ) -> Arrival<P> {
        self.forget(now);
        match self.streams.get_mut(&*pass.stream) {
            None => {}
            Some(Entry::Gone) => return Arrival::Refused(Refused::Gone),
            Some(Entry::Live(live)) => {
                if *live.lease != *pass.lease || live.epoch != pass.epoch {
                    return Arrival::Refused(Refused::Other);
                }
                if live.ends != Ends::Waiting {
                    return Arrival::Refused(Refused::Third);
                }
                live.ends = Ends::Both;
                let (pair, lease) = (live.pair.clone(), live.lease.clone());
                self.joined += 1;
                self.waits_no_more(&lease);
                return Arrival::Second(pair);
            }
        }
        if self.waiting >= self.bounds.in_all {
            return Arrival::Refused(Refused::All);
        }
        let of_lease = self.leases.get(&*pass.lease);
        if of_lease.is_some_and(|lease| lease.waiting >= self.bounds.of_a_lease) {
            return Arrival::Refused(Refused::Lease);
        }
        self.last += 1;
        let pair = make(self.last);
        let (stream, lease) = (Arc::from(&*pass.stream), Arc::from(&*pass.lease));
        let of_lease = self.leases.entry(Arc::clone(&lease)).or_default();
        of_lease.streams.insert(Arc::clone(&stream));
        of_lease.waiting += 1;
        self.waiting += 1;
        let live = Live {
            serial: self.last,
            lease,
            epoch: pass.epoch,
            pair: pair.clone(),
            ends: Ends::Waiting,
        };
        self.streams.insert(stream, Entry::Live(live));
        Arrival::First(pair)
    }

    /// An end leaves; true when the other one is still there.
    pub(super) fn leave(&mut self, stream: &str, serial: Serial, now: Instant) -> bool {
        self.forget(now);
        let Some(live) = self.live(stream, serial) else {
            return false;
        };
        if live.ends == Ends::Both {
            live.ends = Ends::Last;
            return true;
        }
        self.remove(stream, now);
        false
    }

    /// Its time to wait is over; false when it does not wait any more.
    pub(super) fn expire(&mut self, stream: &str, serial: Serial, now: Instant) -> bool {
        let waits = |live: &mut Live<P>| live.ends == Ends::Waiting;
        let over = self.live(stream, serial).is_some_and(waits);
        if over {
            self.remove(stream, now);
        }
        over
    }

    /// Removes what is to be cut of a lease and gives it.
    pub(super) fn cut(&mut self, lease: &str, cut: Cut, now: Instant) -> Vec<P> {
        self.forget(now);
        let streams = self.leases.get(lease).map(|lease| &lease.streams);
        let streams: Vec<_> = streams
            .into_iter()
            .flatten()
            .filter(|stream| match (self.streams.get(&***stream), cut) {
                (Some(Entry::Live(live)), Cut::Transferred { epoch }) => live.epoch < epoch,
                (entry, _) => entry.is_some(),
            })
            .cloned()
            .collect();
        let removed = streams.iter().map(|stream| self.remove(stream, now));
        removed.flatten().collect()
    }

    fn live(&mut self, stream: &str, serial: Serial) -> Option<&mut Live<P>> {
        match self.streams.get_mut(stream) {
            Some(Entry::Live(live)) if live.serial == serial => Some(live),
            _ => None,
        }
    }

    fn remove(&mut self, stream: &str, now: Instant) -> Option<P> {
        let (stream, entry) = self.streams.remove_entry(stream)?;
        let Entry::Live(live) = entry else {
            self.streams.insert(stream, Entry::Gone);
            return None;
        };
        if live.ends == Ends::Waiting {
            self.waits_no_more(&live.lease);
        } else {
            self.joined -= 1;
        }
        if let Some(lease) = self.leases.get_mut(&live.lease) {
            lease.streams.remove(&stream);
            if lease.streams.is_empty() {
                self.leases.remove(&live.lease);
            }
        }
        self.gone.push_back((now, Arc::clone(&stream)));
        self.streams.insert(stream, Entry::Gone);
        self.forget(now);
        Some(live.pair)
    }

    fn waits_no_more(&mut self, lease: &str) {
        self.waiting -= 1;
        if let Some(lease) = self.leases.get_mut(lease) {
            lease.waiting -= 1;
        }
    }

    /// Forgets what has been gone for long enough.
    fn forget(&mut self, now: Instant) {
        while let Some((when, _)) = self.gone.front() {
            if self.gone.len() <= MAX_GONE && now.saturating_duration_since(*when) < GONE {
                return;
            }
            if let Some((_, stream)) = self.gone.pop_front() {
                self.streams.remove(&stream);
            }
        }
    }

    /// Nothing is left but what was gone a moment ago.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.waiting == 0
            && self.joined == 0
            && self.leases.is_empty()
            && self.streams.len() == self.gone.len()
    }

    /// Streams that are known, gone ones included.
    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.streams.len()
    }
}
