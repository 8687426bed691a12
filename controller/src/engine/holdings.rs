//! Who holds which exporter, and who is told so.
//!
//! A step costs as much as there are open leases, however many exporters listen: only those that serve
//! a lease, or were told of one, can have news.

use std::collections::{HashMap, HashSet};

use tokio::sync::watch;

use crate::{
    leases,
    model::{Labels, Lease, World},
};

/// Who holds an exporter, as its Status stream tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holding {
    /// Name of the lease; empty when nobody does.
    pub lease: String,
    /// Name of the client.
    pub client: String,
    /// What the lease tells its exporter.
    pub context: Labels,
}

/// Those who follow exporters.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    told: HashMap<String, watch::Sender<Holding>>,
    /// Exporters whose followers know of a lease, and perhaps others.
    busy: HashSet<String>,
}

impl Holdings {
    /// The first value is that of this moment. Of an exporter that does not exist there is no news.
    pub(super) fn follow(&mut self, world: &World, exporter: &str) -> watch::Receiver<Holding> {
        if !world.exporters.contains_key(exporter) {
            return watch::Sender::default().subscribe();
        }
        let sender = self.told.entry(exporter.to_owned()).or_insert_with(|| {
            let now = Holding::of(leases::current(world, exporter));
            if !now.lease.is_empty() {
                self.busy.insert(exporter.to_owned());
            }
            watch::Sender::new(now)
        });
        sender.subscribe()
    }

    /// Tells what has changed. `transferred` is called with each lease that has another client than
    /// its exporter knew, before that is told.
    pub(super) fn tell(&mut self, world: &World, transferred: impl Fn(&str)) {
        let serving = serving(world);
        let mut concerned = std::mem::take(&mut self.busy);
        concerned.extend(serving.keys().map(|exporter| (*exporter).to_owned()));
        for exporter in concerned {
            let Some(told) = self.told.get(&exporter) else {
                continue;
            };
            let now = Holding::of(serving.get(exporter.as_str()).copied());
            if !now.lease.is_empty() {
                self.busy.insert(exporter);
            }
            let before = told.borrow().clone();
            if now == before {
                continue;
            }
            if now.lease == before.lease {
                transferred(&now.lease);
            }
            told.send_replace(now);
        }
    }

    /// The exporter is gone: whoever follows it is told so, also when there will be another one of its
    /// name.
    pub(super) fn forget(&mut self, exporter: &str) {
        self.told.remove(exporter);
    }
}

/// The lease that each exporter serves: one look at the leases for all exporters.
pub(crate) fn serving(world: &World) -> HashMap<&str, (&str, &Lease)> {
    let open = world
        .leases
        .iter()
        .filter(|(_, lease)| lease.over.is_none());
    open.filter_map(|(name, lease)| {
        let held = lease.held.as_ref()?;
        Some((held.exporter.as_str(), (name.as_str(), lease)))
    })
    .collect()
}

impl Holding {
    fn of(lease: Option<(&str, &Lease)>) -> Self {
        lease.map_or_else(Self::default, |(name, lease)| Self {
            lease: name.to_owned(),
            client: lease.client.clone(),
            context: lease.context.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    /// `rig` is leased by alice from its first step on.
    fn lab() -> World {
        let mut world = World::default();
        sample::client(&mut world, "alice", &[]);
        sample::client(&mut world, "bob", &[]);
        sample::exporter(&mut world, "rig", &[("board", "rpi4")]);
        sample::exporter(&mut world, "spare", &[("board", "rpi5")]);
        let request = sample::request("board=rpi4");
        sample::ask(&mut world, "one", "alice", request, sample::at(0));
        sample::step(&mut world, sample::at(0));
        world
    }

    fn never(lease: &str) {
        panic!("{lease} was not transferred");
    }

    #[test]
    fn whoever_begins_to_follow_during_a_lease_hears_of_its_end() {
        let mut world = lab();
        for steps_before in [0, 1] {
            let mut holdings = Holdings::default();
            for _ in 0..steps_before {
                holdings.tell(&world, never);
            }
            let mut rig = holdings.follow(&world, "rig");
            let idle = holdings.follow(&world, "spare");
            assert_eq!(rig.borrow_and_update().lease, "one");
            let held = world.leases.get_mut("one").and_then(|one| one.held.take());
            holdings.tell(&world, never);
            assert!(rig.has_changed().unwrap(), "{steps_before}");
            assert_eq!(*rig.borrow_and_update(), Holding::default());
            if let Some(one) = world.leases.get_mut("one") {
                one.held = held;
            }
            holdings.tell(&world, never);
            assert_eq!(rig.borrow_and_update().client, "alice");
            assert!(!idle.has_changed().unwrap());
        }
    }

    #[test]
    fn another_client_of_the_same_lease_is_told_and_cut_for() {
        let mut world = lab();
        let mut holdings = Holdings::default();
        let rig = holdings.follow(&world, "rig");
        if let Some(one) = world.leases.get_mut("one") {
            one.client = "bob".to_owned();
        }
        let cut = std::cell::RefCell::new(Vec::new());
        holdings.tell(&world, |lease| {
            assert_eq!(rig.borrow().client, "alice", "told before it was cut");
            cut.borrow_mut().push(lease.to_owned());
        });
        assert_eq!(cut.into_inner(), ["one"]);
        assert_eq!(rig.borrow().client, "bob");
    }

    #[test]
    fn whoever_follows_an_exporter_that_is_gone_is_told_so() {
        let world = lab();
        let mut holdings = Holdings::default();
        let rig = holdings.follow(&world, "rig");
        holdings.forget("rig");
        assert!(rig.has_changed().is_err());
        holdings.tell(&world, never);
        assert_eq!(holdings.follow(&world, "rig").borrow().lease, "one");
    }

    #[test]
    fn whoever_follows_an_exporter_that_never_was_is_told_so_and_costs_nothing() {
        let mut holdings = Holdings::default();
        let nobody = holdings.follow(&lab(), "nobody");
        assert!(nobody.has_changed().is_err());
        assert!(holdings.told.is_empty());
    }
}
