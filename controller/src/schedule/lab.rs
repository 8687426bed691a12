//! The exporters of a lab as the schedule sees them: sets by state, and by label as selectors ask.

use std::{cell::RefCell, collections::HashMap};

use super::bits::Bits;
use crate::{
    model::{Exporter, World},
    presence,
    selector::{Operator, Requirement, Selector},
};

type Values<'a> = HashMap<&'a str, Vec<usize>>;

/// Built for one step. Places are those of the order of names.
#[derive(Debug)]
pub(super) struct Lab<'a> {
    pub(super) names: Vec<&'a str>,
    exporters: Vec<&'a Exporter>,
    all: Bits,
    /// Not disabled.
    pub(super) enabled: Bits,
    /// Would hear of a lease.
    pub(super) there: Bits,
    /// Done with their last lease.
    pub(super) ready: Bits,
    /// Not to be given out for now.
    pub(super) on_hold: Bits,
    /// Leased.
    pub(super) busy: Bits,
    /// Places by value, for each key that somebody asked for; `None` when it was asked for once: one
    /// look at all exporters costs less than such a table, and mostly one lease waits at a time.
    labels: RefCell<HashMap<&'a str, Option<Values<'a>>>>,
    /// What requirements name, as many leases have the same ones.
    sets: RefCell<HashMap<&'a Requirement, Bits>>,
}

impl<'a> Lab<'a> {
    pub(super) fn new(world: &'a World) -> Self {
        let size = world.exporters.len();
        let none = || Bits::none(size);
        let mut lab = Self {
            names: Vec::with_capacity(size),
            exporters: Vec::with_capacity(size),
            all: none(),
            enabled: none(),
            there: none(),
            ready: none(),
            on_hold: none(),
            busy: none(),
            labels: RefCell::default(),
            sets: RefCell::default(),
        };
        for (place, (name, exporter)) in world.exporters.iter().enumerate() {
            lab.names.push(name);
            lab.exporters.push(exporter);
            for (set, yes) in [
                (&mut lab.all, true),
                (&mut lab.enabled, exporter.enabled),
                (&mut lab.there, presence::is_there(exporter)),
                (&mut lab.ready, presence::is_ready(exporter)),
                (&mut lab.on_hold, exporter.held.is_some()),
            ] {
                if yes {
                    set.insert(place);
                }
            }
        }
        let open = world.leases.values().filter(|lease| lease.over.is_none());
        for held in open.filter_map(|lease| lease.held.as_ref()) {
            if let Some(place) = lab.place(&held.exporter) {
                lab.busy.insert(place);
            }
        }
        lab
    }

    pub(super) fn size(&self) -> usize {
        self.names.len()
    }

    pub(super) fn place(&self, name: &str) -> Option<usize> {
        // They are in their order.
        self.names.binary_search(&name).ok()
    }

    pub(super) fn exporter(&self, place: usize) -> Option<(&'a str, &'a Exporter)> {
        Some((*self.names.get(place)?, *self.exporters.get(place)?))
    }

    pub(super) fn none(&self) -> Bits {
        Bits::none(self.size())
    }

    /// Exporters that can be given out now.
    pub(super) fn free(&self) -> Bits {
        let mut free = self.there.and(&self.ready);
        free.drop(&self.on_hold);
        free.drop(&self.busy);
        free
    }

    /// Exporters whose labels are as asked.
    pub(super) fn matching(&self, selector: &'a Selector) -> Bits {
        let mut found = self.all.clone();
        let mut sets = self.sets.borrow_mut();
        for requirement in &selector.requirements {
            let those = sets
                .entry(requirement)
                .or_insert_with(|| self.named_by(requirement));
            match requirement.operator {
                Operator::NotIn(_) | Operator::DoesNotExist => found.drop(those),
                Operator::Equals(_) | Operator::In(_) | Operator::Exists => found.keep(those),
            }
        }
        found
    }

    /// Those with the key, and with one of the values that are named, if any are.
    fn named_by(&self, requirement: &'a Requirement) -> Bits {
        let mut labels = self.labels.borrow_mut();
        let key = requirement.key.as_str();
        let Some(values) = labels.get_mut(key) else {
            labels.insert(key, None);
            return self.scanned(requirement);
        };
        let values = values.get_or_insert_with(|| self.values_of(key));
        let mut those = self.none();
        let mut insert = |places: &[usize]| places.iter().for_each(|at| those.insert(*at));
        let mut add = |value: &str| insert(values.get(value).map_or(&[], Vec::as_slice));
        match &requirement.operator {
            Operator::Equals(value) => add(value),
            Operator::In(values) | Operator::NotIn(values) => {
                values.iter().for_each(|value| add(value));
            }
            Operator::Exists | Operator::DoesNotExist => {
                values.values().for_each(|places| insert(places));
            }
        }
        those
    }

    /// The same by a look at all of them.
    fn scanned(&self, requirement: &Requirement) -> Bits {
        let mut those = self.none();
        for (place, exporter) in self.exporters.iter().enumerate() {
            let Some(value) = exporter.labels.get(&requirement.key) else {
                continue;
            };
            let named = match &requirement.operator {
                Operator::Equals(wanted) => value == wanted,
                Operator::In(all) | Operator::NotIn(all) => all.contains(value),
                Operator::Exists | Operator::DoesNotExist => true,
            };
            if named {
                those.insert(place);
            }
        }
        those
    }

    fn values_of(&self, key: &str) -> Values<'a> {
        let mut values = Values::new();
        for (place, exporter) in self.exporters.iter().enumerate() {
            if let Some(value) = exporter.labels.get(key) {
                values.entry(value).or_default().push(place);
            }
        }
        values
    }
}
