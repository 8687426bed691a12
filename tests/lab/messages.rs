//! Exporters and leases as clients see them.

use std::time::SystemTime;

use rigd_proto::{
    client::v1 as client,
    v1::{Condition, ExporterStatus, Time},
};

use super::{NAMESPACE, leases::Lease, state::Exporter};

pub(super) fn exporter(name: &str, exporter: &Exporter) -> client::Exporter {
    client::Exporter {
        name: format!("namespaces/{NAMESPACE}/exporters/{name}"),
        labels: exporter.labels.clone(),
        online: exporter.online(),
        status: exporter
            .status
            .unwrap_or(ExporterStatus::Unspecified)
            .into(),
        status_message: exporter.message.clone(),
        ..client::Exporter::default()
    }
}

pub(super) fn lease(lease: &Lease) -> client::Lease {
    let until = lease.ended.unwrap_or_else(SystemTime::now);
    let effective = lease.begun.and_then(|it| until.duration_since(it).ok());
    client::Lease {
        name: format!("namespaces/{NAMESPACE}/leases/{}", lease.name),
        selector: lease.selector.canonical(),
        duration: prost_types::Duration::try_from(lease.duration).ok(),
        effective_duration: effective.and_then(|it| it.try_into().ok()),
        effective_begin_time: lease.begun.map(Into::into),
        effective_end_time: lease.begun.and(lease.ended).map(Into::into),
        client: Some(format!("namespaces/{NAMESPACE}/clients/{}", lease.client)),
        exporter: (lease.exporter.as_ref())
            .map(|it| format!("namespaces/{NAMESPACE}/exporters/{it}")),
        conditions: conditions(lease),
        exporter_name: lease.pinned.clone(),
        tags: lease.tags.clone(),
        ..client::Lease::default()
    }
}

/// Ready comes last: clients look at the last one.
fn conditions(lease: &Lease) -> Vec<Condition> {
    let at: prost_types::Timestamp = lease.ended.or(lease.begun).unwrap_or(lease.created).into();
    let condition = |kind: &str, status: bool, reason: &str, message: &str| Condition {
        r#type: Some(kind.to_owned()),
        status: Some(if status { "True" } else { "False" }.to_owned()),
        observed_generation: Some(1),
        last_transition_time: Some(Time {
            seconds: Some(at.seconds),
            nanos: Some(at.nanos),
        }),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
    };
    let mut all = Vec::new();
    if let Some((kind, reason, message)) = &lease.waits {
        all.push(condition(kind, true, reason, message));
    }
    let message = "An exporter has been acquired for the client";
    match (lease.released, lease.ended, lease.begun) {
        (true, ..) => all.push(condition(
            "Ready",
            false,
            "Released",
            "The lease was released",
        )),
        (_, Some(_), Some(_)) => {
            all.push(condition("Ready", false, "Expired", "The lease has ended"));
        }
        (_, None, Some(_)) => all.push(condition("Ready", true, "Ready", message)),
        _ => {}
    }
    all
}
