//! Places for connections: how many there may be in all, of other hosts, and of one network.
//!
//! Of a full port the rest waits in the backlog of the system. Of a network that has all of its own
//! places the rest is closed at once, so that it keeps nobody else waiting; and so is that of all other
//! hosts, so that this host's own always get in.

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

use crate::auth::network;

/// Open connections: a thousand exporters, as many clients, and two of each for tunnels. More wait in
/// the backlog of the system.
const MAX_CONNECTIONS: usize = 4096;
/// Of them those that are kept for this host: its exporters and their tunnels come from here.
const OWN: usize = 1024;
/// Those of one IPv4 address: a rack of 64 exporters and their tunnels behind one address, and a
/// sixteenth of all.
const MAX_OF_AN_ADDRESS: usize = 256;
/// Those of one IPv6 network, which is all hosts of a room: a third of what other hosts may have.
const MAX_OF_A_NETWORK: usize = 1024;
/// Those of one network that have not said their first words: half of [`MAX_SPEAKING`], so that a
/// network that says nothing keeps nobody out.
const MAX_NEW_OF_A_NETWORK: usize = 128;
/// Those of other hosts that may say their first words at once: a peer that opens connections and says
/// nothing costs no more than this, some 10 MiB.
const MAX_SPEAKING: usize = 256;
/// The same for this host.
const MAX_OWN_SPEAKING: usize = 128;
/// How often a network, and all of them together, are told of in the log.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// How many connections one network may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// In all.
    pub(super) open: usize,
    /// Of them, those that have not begun.
    pub(super) new: usize,
}

impl Bounds {
    /// Of the network of an address. This host's own has no bound but that of all: a thousand exporters
    /// of one process come from there.
    pub(super) fn of(address: IpAddr) -> Self {
        if address.is_loopback() {
            return Self {
                open: MAX_CONNECTIONS,
                new: MAX_CONNECTIONS,
            };
        }
        Self {
            open: match address {
                IpAddr::V4(_) => MAX_OF_AN_ADDRESS,
                IpAddr::V6(_) => MAX_OF_A_NETWORK,
            },
            new: MAX_NEW_OF_A_NETWORK,
        }
    }
}

/// All places of a port. Clones are the same ones.
#[derive(Debug, Clone)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    /// Those of other hosts.
    outside: Arc<Semaphore>,
    speaking: Arc<Semaphore>,
    own_speaking: Arc<Semaphore>,
    taken: Arc<Mutex<Taken>>,
    bounds: fn(IpAddr) -> Bounds,
}

#[derive(Debug, Default)]
struct Taken {
    of: HashMap<IpAddr, OfANetwork>,
    /// When it was told of that other hosts have all of theirs.
    told: Option<Instant>,
}

#[derive(Debug, Default)]
struct OfANetwork {
    open: usize,
    new: usize,
    told: Option<Instant>,
}

/// That there is no place left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// For that network.
    Network {
        /// Whether it is to be logged.
        tell: bool,
        /// How many it has.
        open: usize,
        /// Of them, those that have not begun.
        new: usize,
    },
    /// For other hosts.
    Outside {
        /// Whether it is to be logged.
        tell: bool,
    },
}

impl Places {
    pub(super) fn new(bounds: fn(IpAddr) -> Bounds) -> Self {
        let places = |number| Arc::new(Semaphore::new(number));
        Self {
            all: places(MAX_CONNECTIONS),
            outside: places(MAX_CONNECTIONS - OWN),
            speaking: places(MAX_SPEAKING),
            own_speaking: places(MAX_OWN_SPEAKING),
            taken: Arc::default(),
            bounds,
        }
    }

    /// Waits for a place among all. Cancel-safe: one that nobody got is free.
    pub(super) async fn any(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody closes the semaphore.
        Arc::clone(&self.all).acquire_owned().await.ok()
    }

    /// Makes it a place of the network of an address.
    pub(super) fn take(
        &self,
        any: Option<OwnedSemaphorePermit>,
        address: IpAddr,
    ) -> Result<Place, Refused> {
        // Of a dual-stack port, IPv4 peers have addresses of IPv6.
        let address = address.to_canonical();
        let (bounds, network) = ((self.bounds)(address), network(address));
        let now = Instant::now();
        let mut all = self.taken();
        let outside = match address.is_loopback() {
            true => None,
            false => match Arc::clone(&self.outside).try_acquire_owned() {
                Ok(place) => Some(place),
                Err(_) => {
                    let tell = tell(&mut all.told, now);
                    return Err(Refused::Outside { tell });
                }
            },
        };
        let taken = all.of.entry(network).or_default();
        if taken.open < bounds.open && taken.new < bounds.new {
            taken.open += 1;
            taken.new += 1;
            drop(all);
            return Ok(Place {
                places: self.clone(),
                network,
                own: outside.is_none(),
                new: true,
                _outside: outside,
                _any: any,
            });
        }
        let tell = tell(&mut taken.told, now);
        let refused = Refused::Network {
            tell,
            open: taken.open,
            new: taken.new,
        };
        if tell {
            let matters = |taken: &OfANetwork| taken.open > 0 || is_told(taken.told, now);
            all.of.retain(|_, taken| matters(taken));
        }
        Err(refused)
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Nothing panics between two changes of it.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn networks(&self) -> usize {
        self.taken().of.len()
    }
}

/// It was told of lately.
fn is_told(told: Option<Instant>, now: Instant) -> bool {
    told.is_some_and(|told| now.saturating_duration_since(told) < TELL_EVERY)
}

/// Whether it is to be told of now.
fn tell(told: &mut Option<Instant>, now: Instant) -> bool {
    let tell = !is_told(*told, now);
    if tell {
        *told = Some(now);
    }
    tell
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    network: IpAddr,
    own: bool,
    new: bool,
    _outside: Option<OwnedSemaphorePermit>,
    _any: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// Waits until the connection may say its first words. Cancel-safe.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        let turns = match self.own {
            true => &self.places.own_speaking,
            false => &self.places.speaking,
        };
        // Nobody closes the semaphore.
        Arc::clone(turns).acquire_owned().await.ok()
    }

    /// The connection has said its first words.
    pub(super) fn begun(&mut self) {
        if std::mem::replace(&mut self.new, false)
            && let Some(taken) = self.places.taken().of.get_mut(&self.network)
        {
            taken.new -= 1;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.begun();
        let mut all = self.places.taken();
        if let Some(taken) = all.of.get_mut(&self.network) {
            taken.open -= 1;
            // Otherwise it would be told of again when it comes back at once.
            if taken.open == 0 && !is_told(taken.told, Instant::now()) {
                all.of.remove(&self.network);
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

    fn tells(refused: Refused) -> bool {
        match refused {
            Refused::Network { tell, .. } | Refused::Outside { tell } => tell,
        }
    }

    #[tokio::test]
    async fn one_ipv6_network_is_one() {
        let places = Places::new(|_| Bounds { open: 3, new: 3 });
        let take = |address: &str| places.take(None, address.parse().unwrap());
        let held: Vec<_> = ["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::3"]
            .map(|address| take(address).unwrap())
            .into();
        take("2001:db8::4").unwrap_err();
        drop(take("2001:db8:0:1::1").unwrap());
        drop(held);
        take("2001:db8::4").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn other_hosts_leave_places_for_this_one() {
        let places = Places::new(Bounds::of);
        let mut held = Vec::new();
        for number in 0..u32::try_from(MAX_CONNECTIONS - OWN).unwrap() {
            let any = places.any().await;
            held.push(places.take(any, other(number)).unwrap());
        }
        let refused = places.take(None, other(9999)).unwrap_err();
        assert_eq!(refused, Refused::Outside { tell: true });
        let refused = places.take(None, HOST).unwrap_err();
        assert_eq!(refused, Refused::Outside { tell: false });
        // Not even their first words wait for those of others.
        let mut turns = Vec::new();
        for place in &held[..MAX_SPEAKING] {
            turns.push(place.turn().await);
        }
        let soon = Duration::from_secs(1);
        let turn = tokio::time::timeout(soon, held[MAX_SPEAKING].turn()).await;
        turn.unwrap_err();
        let mut own = Vec::new();
        for _ in 0..OWN {
            let any = tokio::time::timeout(soon, places.any()).await;
            let localhost = std::net::Ipv4Addr::LOCALHOST.into();
            own.push(places.take(any.unwrap(), localhost).unwrap());
        }
        let turn = tokio::time::timeout(soon, own[0].turn()).await;
        assert!(turn.unwrap().is_some());
        held.pop();
        held.push(places.take(None, HOST).unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_has_its_own_bound_and_is_told_of_once_a_minute() {
        let places = Places::new(Bounds::of);
        let take = |address| places.take(None, address);
        let mut held: Vec<_> = (0..MAX_NEW_OF_A_NETWORK)
            .map(|_| take(HOST).unwrap())
            .collect();
        let refused = take(HOST).unwrap_err();
        let full = Refused::Network {
            tell: true,
            open: MAX_NEW_OF_A_NETWORK,
            new: MAX_NEW_OF_A_NETWORK,
        };
        assert_eq!(refused, full);
        held.iter_mut().for_each(Place::begun);
        while held.len() < MAX_OF_AN_ADDRESS {
            let mut place = take(HOST).unwrap();
            place.begun();
            held.push(place);
        }
        let quiet = Refused::Network {
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
        assert!(tells(take(HOST).unwrap_err()));
        // Whoever leaves and comes back is not told of again.
        held.clear();
        let held: Vec<_> = (0..MAX_NEW_OF_A_NETWORK)
            .map(|_| take(HOST).unwrap())
            .collect();
        assert!(!tells(take(HOST).unwrap_err()));
        drop(held);
        tokio::time::advance(TELL_EVERY).await;
        drop(take(HOST).unwrap());
        assert_eq!(places.networks(), 0);
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
        assert_eq!(places.networks(), 0);
    }
}
