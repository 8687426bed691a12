//! The object of an exporter.

use std::time::SystemTime;

use serde::Deserialize;

use super::{
    Condition, Detail, Lab, Node, ObjectMeta, ObjectReference, ReadError, Row, Timestamp, age,
    condition, de,
    node::{ToNode, map, unless_empty},
    object::Kind,
    table,
};
use crate::model::{self, Device, ExporterState, Labels, Presence};

/// A leasable board.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Exporter {
    /// Name and labels.
    pub metadata: ObjectMeta,
    /// What is wanted.
    #[serde(default)]
    pub spec: ExporterSpec,
    /// What is.
    pub status: Option<ExporterStatus>,
}

/// What is wanted of an exporter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExporterSpec {
    /// Whether it is leased to those who do not ask for it by name; yes unless said otherwise.
    pub enabled: Option<bool>,
    /// Its name at an identity provider.
    pub username: Option<String>,
}

/// How an exporter is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExporterStatus {
    /// Whether it is registered and online.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// Name of its token.
    pub credential: Option<ObjectReference>,
    /// Its instances.
    #[serde(default)]
    pub devices: Vec<ExporterDevice>,
    /// Where the controller is.
    #[serde(default)]
    pub endpoint: String,
    /// What it said of itself last.
    pub exporter_status: Option<String>,
    /// When it was heard of last.
    pub last_seen: Option<Timestamp>,
    /// The lease that holds it.
    pub lease_ref: Option<ObjectReference>,
    /// What it said beside its status.
    pub status_message: Option<String>,
}

/// An instance of an exporter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExporterDevice {
    /// As the exporter gave them.
    #[serde(default)]
    pub labels: Labels,
    /// That of the instance above it.
    pub parent_uuid: Option<String>,
    /// Its id.
    pub uuid: String,
}

/// The names of states in objects.
const STATES: [(ExporterState, &str); 7] = [
    (ExporterState::Offline, "Offline"),
    (ExporterState::Available, "Available"),
    (ExporterState::BeforeLeaseHook, "BeforeLeaseHook"),
    (ExporterState::LeaseReady, "LeaseReady"),
    (ExporterState::AfterLeaseHook, "AfterLeaseHook"),
    (
        ExporterState::BeforeLeaseHookFailed,
        "BeforeLeaseHookFailed",
    ),
    (ExporterState::AfterLeaseHookFailed, "AfterLeaseHookFailed"),
];
/// That of an exporter that has told none.
const UNSPECIFIED: &str = "Unspecified";

impl Exporter {
    /// The object of an exporter of a lab, and the name of the lease that holds it.
    pub fn from_model(
        name: &str,
        exporter: &model::Exporter,
        lease: Option<&str>,
        lab: &Lab<'_>,
    ) -> Self {
        let labels = exporter.labels.clone();
        let presence = &exporter.presence;
        let state = presence.status.and_then(state_name);
        let status = ExporterStatus {
            conditions: conditions(presence, exporter.created),
            credential: Some(ObjectReference::to(format!("{name}-exporter"))),
            devices: exporter.devices.iter().map(ExporterDevice::from).collect(),
            endpoint: lab.endpoint.to_owned(),
            exporter_status: state.map(str::to_owned),
            last_seen: presence.last_seen.map(Timestamp::from),
            lease_ref: lease.map(ObjectReference::to),
            status_message: Some(presence.message.clone()).filter(|text| !text.is_empty()),
        };
        Self {
            metadata: ObjectMeta::of(name, exporter.uid, exporter.created, labels, lab),
            spec: ExporterSpec {
                enabled: Some(exporter.enabled),
                username: None,
            },
            status: Some(status),
        }
    }

    /// The exporter of an object. Whether it is there now is not taken over, its last words are;
    /// objects have no place for a hold.
    ///
    /// # Errors
    /// Labels, the uid or the status make no sense.
    pub fn to_model(&self, now: SystemTime) -> Result<model::Exporter, ReadError> {
        let created = self.metadata.created(now);
        let status = self.status.clone().unwrap_or_default();
        let state = match status.exporter_status.as_deref() {
            None | Some("" | UNSPECIFIED) => None,
            Some(name) => Some(state(name)?),
        };
        Ok(model::Exporter {
            uid: self.metadata.uid()?,
            labels: self.metadata.labels()?,
            created,
            tokens_from: created,
            enabled: self.spec.enabled.unwrap_or(true),
            held: None,
            hosted: false,
            devices: status.devices.into_iter().map(Device::from).collect(),
            presence: Presence {
                status: state,
                message: status.status_message.unwrap_or_default(),
                last_seen: status.last_seen.map(SystemTime::from),
                ..Presence::default()
            },
        })
    }
}

fn state_name(state: ExporterState) -> Option<&'static str> {
    let known = STATES.iter().find(|(known, _)| *known == state);
    known.map(|(_, name)| *name)
}

fn state(name: &str) -> Result<ExporterState, ReadError> {
    let known = STATES.iter().find(|(_, known)| *known == name);
    known.map(|(state, _)| *state).ok_or_else(|| {
        let hint = de::hint(name, &STATES.map(|(_, name)| name));
        let error = ReadError::new(format!("unknown value `{name}`: {hint}"));
        error.under("exporterStatus").under("status")
    })
}

fn conditions(presence: &Presence, created: SystemTime) -> Vec<Condition> {
    let seen = presence.last_seen.unwrap_or(created);
    let of = |kind: &str, is: bool, reason: &str, message: &str| Condition {
        last_transition_time: seen.into(),
        message: message.to_owned(),
        observed_generation: None,
        reason: reason.to_owned(),
        status: condition::status(is).to_owned(),
        kind: kind.to_owned(),
    };
    let registered = match presence.registered {
        true => of("Registered", true, "Register", ""),
        false => of("Registered", false, "Unregister", ""),
    };
    let online = presence.streams > 0 && presence.status != Some(ExporterState::Offline);
    let online = match presence.last_seen {
        _ if online => of("Online", true, "Seen", ""),
        Some(_) => of("Online", false, "Offline", "not connected"),
        None => of("Online", false, "Offline", "Never seen"),
    };
    vec![registered, online]
}

impl From<&Device> for ExporterDevice {
    fn from(device: &Device) -> Self {
        Self {
            labels: device.labels.clone(),
            parent_uuid: device.parent_uuid.clone(),
            uuid: device.uuid.clone(),
        }
    }
}

impl From<ExporterDevice> for Device {
    fn from(device: ExporterDevice) -> Self {
        Self {
            uuid: device.uuid,
            parent_uuid: device.parent_uuid,
            labels: device.labels,
        }
    }
}

impl Kind for Exporter {
    const KIND: &'static str = "Exporter";

    fn parts(&self) -> [Option<Node>; 3] {
        [
            self.metadata.to_node(),
            self.spec.to_node(),
            self.status.to_node(),
        ]
    }
}

impl ToNode for ExporterSpec {
    fn to_node(&self) -> Option<Node> {
        Some(map([
            ("enabled", self.enabled.to_node()),
            ("username", self.username.to_node()),
        ]))
    }
}

impl ToNode for ExporterStatus {
    fn to_node(&self) -> Option<Node> {
        Some(map([
            ("conditions", unless_empty(&self.conditions)),
            ("credential", self.credential.to_node()),
            ("devices", unless_empty(&self.devices)),
            ("endpoint", self.endpoint.to_node()),
            ("exporterStatus", self.exporter_status.to_node()),
            ("lastSeen", self.last_seen.to_node()),
            ("leaseRef", self.lease_ref.to_node()),
            ("statusMessage", self.status_message.to_node()),
        ]))
    }
}

impl ToNode for ExporterDevice {
    fn to_node(&self) -> Option<Node> {
        Some(map([
            // The Python package needs them, also when there are none.
            ("labels", self.labels.to_node()),
            ("parent_uuid", self.parent_uuid.to_node()),
            ("uuid", self.uuid.to_node()),
        ]))
    }
}

impl Row for Exporter {
    fn full_name(&self) -> String {
        format!("exporter.jumpstarter.dev/{}", self.metadata.name)
    }

    fn columns(detail: Detail) -> Vec<&'static str> {
        match detail {
            Detail::Brief => vec!["NAME", "STATUS", "ENDPOINT", "DEVICES", "AGE"],
            Detail::Wide => vec!["NAME", "STATUS", "ENDPOINT", "AGE", "LABELS", "UUID"],
        }
    }

    fn rows(&self, detail: Detail, now: SystemTime) -> Vec<Vec<String>> {
        let status = self.status.clone().unwrap_or_default();
        let state = status.exporter_status.filter(|state| !state.is_empty());
        let state = state.unwrap_or_else(|| "Unknown".into());
        let age = age::since(self.metadata.creation_timestamp, now);
        let head = vec![self.metadata.name.clone(), state, status.endpoint];
        let row = |rest: [String; 3]| [head.clone(), rest.to_vec()].concat();
        match detail {
            Detail::Brief => vec![[head, vec![status.devices.len().to_string(), age]].concat()],
            Detail::Wide => status
                .devices
                .iter()
                .map(|d| row([age.clone(), table::labels(&d.labels), d.uuid.clone()]))
                .collect(),
        }
    }
}
