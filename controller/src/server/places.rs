//! Places for connections: how many there may be in all, and of one address.
//!
//! Of a full port the rest waits in the backlog of the system. Of an address that has all of its own
//! places the rest is closed at once, so that it keeps nobody else waiting.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// Open connections: a thousand exporters, as many clients, and two of each for tunnels. More wait in
/// the backlog of the system.
const MAX_CONNECTIONS: usize = 4096;
/// Of them those of one address: a rack of 64 exporters and their tunnels behind one address, and a
/// sixteenth of all.
const MAX_OF_AN_ADDRESS: usize = 256;
/// Those of one address that have not said their first words: half of all of these, so that an address
/// that says nothing keeps nobody out.
const MAX_NEW_OF_AN_ADDRESS: usize = 128;
/// How often an address is told of in the log.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// How many connections one address may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// In all.
    pub(super) open: usize,
    /// Of them, those that have not begun.
    pub(super) new: usize,
}

impl Bounds {
    /// Of an address. This host's own has no bound but that of all: a thousand exporters of one process
    /// come from there.
    pub(super) fn of(address: IpAddr) -> Self {
        if address.is_loopback() {
            return Self {
                open: MAX_CONNECTIONS,
                new: MAX_CONNECTIONS,
            };
        }
        Self {
            open: MAX_OF_AN_ADDRESS,
            new: MAX_NEW_OF_AN_ADDRESS,
        }
    }
}

/// All places of a port. Clones are the same ones.
#[derive(Debug, Clone)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    taken: Arc<Mutex<HashMap<IpAddr, Taken>>>,
    bounds: fn(IpAddr) -> Bounds,
}

/// Of one address.
#[derive(Debug, Default)]
struct Taken {
    open: usize,
    new: usize,
    told: Option<Instant>,
}

/// That an address has no place left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    /// Whether it is to be logged.
    pub(super) tell: bool,
    /// How many it has.
    pub(super) open: usize,
    /// Of them, those that have not begun.
    pub(super) new: usize,
}

impl Places {
    pub(super) fn new(bounds: fn(IpAddr) -> Bounds) -> Self {
        Self {
            all: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            taken: Arc::default(),
            bounds,
        }
    }

    /// Waits for a place among all. Cancel-safe: one that nobody got is free.
    pub(super) async fn any(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody closes the semaphore.
        Arc::clone(&self.all).acquire_owned().await.ok()
    }

    /// Makes it a place of an address.
    pub(super) fn take(
        &self,
        any: Option<OwnedSemaphorePermit>,
        address: IpAddr,
    ) -> Result<Place, Refused> {
        // Of a dual-stack port, IPv4 peers have addresses of IPv6.
        let address = address.to_canonical();
        let bounds = (self.bounds)(address);
        let mut all = self.taken();
        let taken = all.entry(address).or_default();
        if taken.open < bounds.open && taken.new < bounds.new {
            taken.open += 1;
            taken.new += 1;
            drop(all);
            return Ok(Place {
                places: self.clone(),
                address,
                new: true,
                _any: any,
            });
        }
        let now = Instant::now();
        let tell = !taken.is_told(now);
        if tell {
            taken.told = Some(now);
        }
        let refused = Refused {
            tell,
            open: taken.open,
            new: taken.new,
        };
        if tell {
            all.retain(|_, taken| taken.open > 0 || taken.is_told(now));
        }
        Err(refused)
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, Taken>> {
        // Nothing panics between two changes of it.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn addresses(&self) -> usize {
        self.taken().len()
    }
}

impl Taken {
    /// It was told of lately.
    fn is_told(&self, now: Instant) -> bool {
        let lately = |told: Instant| now.saturating_duration_since(told) < TELL_EVERY;
        self.told.is_some_and(lately)
    }
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    address: IpAddr,
    new: bool,
    _any: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// The connection has said its first words.
    pub(super) fn begun(&mut self) {
        if std::mem::replace(&mut self.new, false)
            && let Some(taken) = self.places.taken().get_mut(&self.address)
        {
            taken.new -= 1;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.begun();
        let mut all = self.places.taken();
        if let Some(taken) = all.get_mut(&self.address) {
            taken.open -= 1;
            // Otherwise it would be told of again when it comes back at once.
            if taken.open == 0 && !taken.is_told(Instant::now()) {
                all.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn other(number: u32) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from_bits(0x0a00_0000 + number))
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_has_its_own_bound_and_is_told_of_once_a_minute() {
        let places = Places::new(Bounds::of);
        let take = |address| places.take(None, address);
        let mut held: Vec<_> = (0..MAX_NEW_OF_AN_ADDRESS)
            .map(|_| take(HOST).unwrap())
            .collect();
        let refused = take(HOST).unwrap_err();
        assert!(refused.tell && refused.new == MAX_NEW_OF_AN_ADDRESS);
        held.iter_mut().for_each(Place::begun);
        while held.len() < MAX_OF_AN_ADDRESS {
            let mut place = take(HOST).unwrap();
            place.begun();
            held.push(place);
        }
        let quiet = Refused {
            tell: false,
            open: MAX_OF_AN_ADDRESS,
            new: 0,
        };
        assert_eq!(take(HOST).unwrap_err(), quiet);
        // As an address of IPv6 it is the same one.
        let mapped = std::net::Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped();
        assert_eq!(take(mapped.into()).unwrap_err(), quiet);
        drop(take(other(1)).unwrap());
        held.pop();
        held.push(take(HOST).unwrap());
        tokio::time::advance(TELL_EVERY).await;
        assert!(take(HOST).unwrap_err().tell);
        // Whoever leaves and comes back is not told of again.
        held.clear();
        let held: Vec<_> = (0..MAX_NEW_OF_AN_ADDRESS)
            .map(|_| take(HOST).unwrap())
            .collect();
        assert!(!take(HOST).unwrap_err().tell);
        drop(held);
        tokio::time::advance(TELL_EVERY).await;
        drop(take(HOST).unwrap());
        assert_eq!(places.addresses(), 0);
    }

    #[tokio::test]
    async fn this_host_has_as_many_as_there_are() {
        let places = Places::new(Bounds::of);
        for address in ["127.0.0.1", "::1", "::ffff:127.0.0.9"] {
            let address: IpAddr = address.parse().unwrap();
            let held: Vec<_> = (0..MAX_CONNECTIONS)
                .map(|_| places.take(None, address).unwrap())
                .collect();
            drop(held);
        }
        assert_eq!(places.addresses(), 0);
    }
}
