//! Owns the form of `rigd status -o json`.

use rigd_proto::control::v1::{Exporter, Health, Instance, StatusResponse};
use serde_json::{Value, json};

/// Everything; what is not there is null.
pub(super) fn value(status: &StatusResponse) -> Value {
    json!({
        "version": status.version,
        "pid": status.pid,
        "started": status.started.as_ref().map(ToString::to_string),
        "controller": status.controller.as_ref().map(|controller| json!({
            "endpoint": controller.endpoint,
            "exporters": controller.exporters,
            "online": controller.online,
            "leases": controller.leases,
        })),
        "exporters": status.exporters.iter().map(exporter).collect::<Vec<_>>(),
    })
}

fn exporter(exporter: &Exporter) -> Value {
    json!({
        "name": exporter.name,
        "state": exporter.state,
        "message": exporter.message,
        "lease": exporter.lease.as_ref().map(|lease| json!({
            "name": lease.name,
            "client": lease.client,
        })),
        "link": exporter.link.as_ref().map(|link| json!({
            "endpoint": link.endpoint,
            "connected": link.connected,
            "detail": link.detail,
            "tunnels": link.tunnels,
        })),
        "hold": some(&exporter.hold),
        "retiring": exporter.retiring,
        "sockets": exporter.sockets,
        "instances": exporter.instances.iter().map(instance).collect::<Vec<_>>(),
        "exitCode": exporter.exit_code,
    })
}

fn instance(instance: &Instance) -> Value {
    json!({
        "path": instance.path,
        "type": instance.r#type,
        "health": match instance.health() {
            Health::Unspecified => "unknown",
            Health::Ready => "ready",
            Health::Absent => "absent",
            Health::Faulty => "faulty",
        },
        "reason": some(&instance.reason),
        "busy": instance.busy.as_ref().map(|busy| json!({
            "method": busy.method,
            "seconds": busy.since.as_ref().map_or(0, |since| since.seconds),
        })),
    })
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
