//! From the objects of the cluster to those of the package.

use super::{
    super::{Client, Condition, Exporter, Lease, List, ObjectMeta, ObjectReference, Pairs},
    DumpCondition, Metadata, Reference, V1Alpha1Client, V1Alpha1ClientStatus, V1Alpha1Exporter,
    V1Alpha1ExporterDevice, V1Alpha1ExporterStatus, V1Alpha1Lease, V1Alpha1LeaseSelector,
    V1Alpha1LeaseSpec, V1Alpha1LeaseStatus,
};

impl From<&ObjectMeta> for Metadata {
    /// What the package takes over: no labels, no annotations.
    fn from(meta: &ObjectMeta) -> Self {
        Self {
            creation_timestamp: meta.creation_timestamp.map(|time| time.to_string()),
            generation: meta.generation,
            name: Some(meta.name.clone()),
            namespace: meta.namespace.clone(),
            resource_version: meta.resource_version.clone(),
            uid: meta.uid.clone(),
            ..Self::default()
        }
    }
}

impl From<&ObjectReference> for Reference {
    fn from(reference: &ObjectReference) -> Self {
        Self::to(&reference.name)
    }
}

impl From<&Condition> for DumpCondition {
    fn from(condition: &Condition) -> Self {
        Self {
            last_transition_time: condition.last_transition_time.to_string(),
            message: condition.message.clone(),
            observed_generation: condition.observed_generation,
            reason: condition.reason.clone(),
            status: condition.status.clone(),
            kind: condition.kind.clone(),
        }
    }
}

impl From<&Lease> for V1Alpha1Lease {
    fn from(lease: &Lease) -> Self {
        let status = lease.status.clone().unwrap_or_default();
        let managed = Some(&lease.metadata.managed_fields).filter(|fields| !fields.is_empty());
        Self {
            metadata: Metadata {
                managed_fields: managed.cloned(),
                ..Metadata::from(&lease.metadata)
            },
            spec: V1Alpha1LeaseSpec {
                client: (&lease.spec.client_ref).into(),
                duration: lease.spec.duration.map(|duration| duration.to_string()),
                selector: V1Alpha1LeaseSelector {
                    match_labels: Pairs::from(&lease.spec.selector.match_labels),
                },
            },
            status: V1Alpha1LeaseStatus {
                begin_time: status.begin_time.map(|time| time.to_string()),
                conditions: status.conditions.iter().map(DumpCondition::from).collect(),
                end_time: status.end_time.map(|time| time.to_string()),
                ended: status.ended,
                exporter: status.exporter_ref.as_ref().map(Reference::from),
            },
        }
    }
}

impl From<&Exporter> for V1Alpha1Exporter {
    fn from(exporter: &Exporter) -> Self {
        let status = exporter.status.clone().unwrap_or_default();
        let devices = status.devices.iter().map(|device| V1Alpha1ExporterDevice {
            labels: Pairs::from(&device.labels),
            uuid: device.uuid.clone(),
        });
        Self {
            metadata: (&exporter.metadata).into(),
            status: V1Alpha1ExporterStatus {
                credential: status
                    .credential
                    .as_ref()
                    .map(Reference::from)
                    .unwrap_or_default(),
                devices: devices.collect(),
                endpoint: status.endpoint,
                exporter_status: status.exporter_status,
                status_message: status.status_message,
            },
        }
    }
}

impl From<&Client> for V1Alpha1Client {
    fn from(client: &Client) -> Self {
        let status = client.status.as_ref().map(|status| V1Alpha1ClientStatus {
            credential: status.credential.as_ref().map(Reference::from),
            endpoint: status.endpoint.clone(),
        });
        Self {
            metadata: (&client.metadata).into(),
            status,
        }
    }
}

impl<'a, T, U: From<&'a T>> From<&'a [T]> for List<U> {
    fn from(objects: &'a [T]) -> Self {
        Self {
            items: objects.iter().map(U::from).collect(),
        }
    }
}
