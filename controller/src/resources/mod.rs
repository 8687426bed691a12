//! Objects of `jumpstarter.dev/v1alpha1`: what a lab is made of, as texts that other tools read.
//!
//! Two families, one tree ([`Node`]) and one set of writers:
//!
//! ```text
//!   model ── from_model/to_model ── Exporter, Lease, Client, ExporterAccessPolicy    (kubectl)
//!                                        │ From
//!                                        v
//!                                   dumps::V1Alpha1{Exporter, Lease, Client}         (jmp admin)
//! ```
//!
//! The first are complete, and `kubectl apply` takes them. The second are those that Jumpstarter's
//! Python package prints: fewer fields under partly other names, byte for byte the same text.

mod age;
mod client;
mod condition;
mod de;
pub mod dumps;
mod duration;
mod exporter;
mod lease;
mod lease_model;
mod meta;
mod node;
mod object;
mod policy;
mod selector;
mod table;
mod timestamp;
mod yaml;

#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod tests;

pub use client::{Client, ClientSpec, ClientStatus};
pub use condition::Condition;
pub use de::ReadError;
pub use duration::GoDuration;
pub use exporter::{Exporter, ExporterDevice, ExporterSpec, ExporterStatus};
pub use lease::{Lease, LeaseSpec, LeaseStatus};
pub(crate) use lease_model::ENDED;
pub(crate) use meta::checked as checked_labels;
pub use meta::{Lab, ObjectMeta, ObjectReference};
pub use node::{Node, Pairs};
pub use object::{List, Object, Resource, read_objects};
pub use policy::{ExporterAccessPolicy, ExporterAccessPolicySpec, Policy, PolicySource};
pub use selector::{LabelSelector, SelectorOperator, SelectorRequirement};
pub use table::{Detail, Row, names, table};
pub use timestamp::Timestamp;

/// Exporters, as `kubectl get exporters` gives them.
pub type ExporterList = List<Exporter>;
/// Leases, as `kubectl get leases` gives them.
pub type LeaseList = List<Lease>;
/// Clients, as `kubectl get clients` gives them.
pub type ClientList = List<Client>;
