//! The objects of Jumpstarter's Python package for Kubernetes, and its texts byte for byte.
//!
//! They say less than the objects of the cluster, and partly under other names. All times and
//! durations are texts as they came. In [`Metadata`], [`Reference`] and [`DumpCondition`] what is
//! not there is left out; elsewhere it is `null`.

mod convert;
mod from_dict;
mod parts;

use serde::Deserialize;

pub use from_dict::FromDict;
pub use parts::{DumpCondition, Metadata, Reference};

use super::{
    List, Node, Pairs,
    node::{ToNode, map, or_null},
    object::Kind,
};

/// A lease. Expressions of its selector and its tags are lost.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct V1Alpha1Lease {
    /// Name and properties.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: V1Alpha1LeaseSpec,
    /// What is.
    pub status: V1Alpha1LeaseStatus,
}

/// What is wanted of a lease.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct V1Alpha1LeaseSpec {
    /// Who holds or wants it.
    pub client: Reference,
    /// How long, in Go's text form.
    pub duration: Option<String>,
    /// What the exporter must be like.
    pub selector: V1Alpha1LeaseSelector,
}

/// What the exporter of a lease must be like.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct V1Alpha1LeaseSelector {
    /// In the order in which they came; YAML sorts them.
    #[serde(default)]
    pub match_labels: Pairs,
}

/// How a lease is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct V1Alpha1LeaseStatus {
    /// Since when it is held.
    pub begin_time: Option<String>,
    /// What is told of it.
    pub conditions: Vec<DumpCondition>,
    /// When it ended.
    pub end_time: Option<String>,
    /// It is over.
    pub ended: bool,
    /// The exporter that it holds or held.
    pub exporter: Option<Reference>,
}

/// An exporter with its devices and status.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct V1Alpha1Exporter {
    /// Name and properties.
    pub metadata: Metadata,
    /// What is.
    pub status: V1Alpha1ExporterStatus,
}

/// How an exporter is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct V1Alpha1ExporterStatus {
    /// Name of its token.
    pub credential: Reference,
    /// Its instances.
    pub devices: Vec<V1Alpha1ExporterDevice>,
    /// Where the controller is.
    pub endpoint: String,
    /// What it said of itself last.
    pub exporter_status: Option<String>,
    /// What it said beside its status.
    pub status_message: Option<String>,
}

/// An instance of an exporter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct V1Alpha1ExporterDevice {
    /// In the order in which they came; YAML sorts them.
    pub labels: Pairs,
    /// Its id.
    pub uuid: String,
}

/// A client.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct V1Alpha1Client {
    /// Name and properties.
    pub metadata: Metadata,
    /// What is.
    pub status: Option<V1Alpha1ClientStatus>,
}

/// What a client has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct V1Alpha1ClientStatus {
    /// Name of its token.
    pub credential: Option<Reference>,
    /// Where the controller is.
    pub endpoint: String,
}

/// Leases.
pub type V1Alpha1LeaseList = List<V1Alpha1Lease>;
/// Exporters.
pub type V1Alpha1ExporterList = List<V1Alpha1Exporter>;
/// Clients.
pub type V1Alpha1ClientList = List<V1Alpha1Client>;

impl Kind for V1Alpha1Lease {
    const KIND: &'static str = "Lease";

    fn parts(&self) -> [Option<Node>; 3] {
        let selector = map([("matchLabels", self.spec.selector.match_labels.to_node())]);
        let spec = map([
            ("client", self.spec.client.to_node()),
            ("duration", or_null(&self.spec.duration)),
            ("selector", Some(selector)),
        ]);
        let status = map([
            ("beginTime", or_null(&self.status.begin_time)),
            ("conditions", self.status.conditions.to_node()),
            ("endTime", or_null(&self.status.end_time)),
            ("ended", self.status.ended.to_node()),
            ("exporter", or_null(&self.status.exporter)),
        ]);
        [self.metadata.to_node(), Some(spec), Some(status)]
    }
}

impl Kind for V1Alpha1Exporter {
    const KIND: &'static str = "Exporter";

    fn parts(&self) -> [Option<Node>; 3] {
        let status = map([
            ("credential", self.status.credential.to_node()),
            ("devices", self.status.devices.to_node()),
            ("endpoint", self.status.endpoint.to_node()),
            ("exporterStatus", or_null(&self.status.exporter_status)),
            ("statusMessage", or_null(&self.status.status_message)),
        ]);
        [self.metadata.to_node(), None, Some(status)]
    }
}

impl ToNode for V1Alpha1ExporterDevice {
    fn to_node(&self) -> Option<Node> {
        Some(map([
            ("labels", self.labels.to_node()),
            ("uuid", self.uuid.to_node()),
        ]))
    }
}

impl Kind for V1Alpha1Client {
    const KIND: &'static str = "Client";

    fn parts(&self) -> [Option<Node>; 3] {
        [self.metadata.to_node(), None, or_null(&self.status)]
    }
}

impl ToNode for V1Alpha1ClientStatus {
    fn to_node(&self) -> Option<Node> {
        Some(map([
            ("credential", or_null(&self.credential)),
            ("endpoint", self.endpoint.to_node()),
        ]))
    }
}
