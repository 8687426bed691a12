//! One change of what is kept.

use crate::model::{AccessPolicy, Client, Exporter, Lease, World};

use super::{
    StoreError,
    rows::{Row, Table},
};

/// One object as it is from now on; `None` takes it away.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// By name.
    Client(String, Option<Client>),
    /// By name. Its presence is not kept.
    Exporter(String, Option<Exporter>),
    /// By name. The number of a lease is kept as the last one that was given when it is the highest,
    /// also after the lease itself is gone.
    Lease(String, Option<Lease>),
    /// By name.
    Policy(String, Option<AccessPolicy>),
}

impl Change {
    /// Makes the same change in memory.
    pub fn apply(self, world: &mut World) {
        match self {
            Self::Client(name, Some(one)) => drop(world.clients.insert(name, one)),
            Self::Client(name, None) => drop(world.clients.remove(&name)),
            Self::Exporter(name, Some(one)) => drop(world.exporters.insert(name, one)),
            Self::Exporter(name, None) => drop(world.exporters.remove(&name)),
            Self::Lease(name, Some(one)) => {
                world.last_number = world.last_number.max(one.number);
                world.leases.insert(name, one);
            }
            Self::Lease(name, None) => drop(world.leases.remove(&name)),
            Self::Policy(name, Some(one)) => drop(world.policies.insert(name, one)),
            Self::Policy(name, None) => drop(world.policies.remove(&name)),
        }
    }

    /// Every object of a world.
    pub(super) fn all(world: &World) -> Vec<Self> {
        let mut all = Vec::new();
        let named = |name: &String| name.clone();
        all.extend(
            world
                .clients
                .iter()
                .map(|(n, one)| Self::Client(named(n), Some(one.clone()))),
        );
        let exporters = world.exporters.iter();
        all.extend(exporters.map(|(n, one)| Self::Exporter(named(n), Some(one.clone()))));
        all.extend(
            world
                .leases
                .iter()
                .map(|(n, one)| Self::Lease(named(n), Some(one.clone()))),
        );
        all.extend(
            world
                .policies
                .iter()
                .map(|(n, one)| Self::Policy(named(n), Some(one.clone()))),
        );
        all
    }

    pub(super) fn row(&self) -> Result<Row, StoreError> {
        match self {
            Self::Client(name, one) => Row::new(Table::Clients, name, one.as_ref()),
            Self::Exporter(name, one) => Row::new(Table::Exporters, name, one.as_ref()),
            Self::Lease(name, one) => Row::new(Table::Leases, name, one.as_ref()),
            Self::Policy(name, one) => Row::new(Table::Policies, name, one.as_ref()),
        }
    }

    /// The number of a lease that is put.
    pub(super) fn number(&self) -> Option<u64> {
        match self {
            Self::Lease(_, Some(lease)) => Some(lease.number),
            _ => None,
        }
    }
}
