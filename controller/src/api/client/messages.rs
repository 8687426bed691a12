//! What is told of exporters and leases: the model as messages.

use std::time::SystemTime;

use rigd_proto::{client::v1 as message, v1};

use super::resource::{Collection, Names};
use crate::{
    api::condition,
    leases,
    model::{self, ExporterState, Labels},
    presence,
};

/// Makes messages, all of one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown<'a> {
    names: Names<'a>,
    now: SystemTime,
}

impl<'a> Shown<'a> {
    /// Of this moment.
    pub(super) fn now(names: Names<'a>) -> Self {
        Self {
            names,
            now: SystemTime::now(),
        }
    }

    pub(super) fn at(&self) -> SystemTime {
        self.now
    }

    pub(super) fn exporter(&self, name: &str, exporter: &model::Exporter) -> message::Exporter {
        let shown = presence::shown(exporter, self.now);
        message::Exporter {
            name: self.names.write(Collection::Exporters, name),
            labels: exporter.labels.clone(),
            online: shown.online,
            status: status(shown.status).into(),
            status_message: shown.message.to_owned(),
            enabled: Some(exporter.enabled),
            deprecated_labels: Labels::new(),
        }
    }

    /// `conditions` are those that are to be told of it.
    pub(super) fn lease(
        &self,
        name: &str,
        lease: &model::Lease,
        conditions: &[model::Condition],
    ) -> message::Lease {
        let really = leases::effective(lease, self.now);
        let held = lease.held.as_ref();
        message::Lease {
            name: self.names.write(Collection::Leases, name),
            selector: lease.selector.to_string(),
            duration: lease.duration.map(length),
            effective_duration: really.duration.map(length),
            begin_time: lease.begin.map(Into::into),
            effective_begin_time: really.begin.map(Into::into),
            end_time: lease.end.map(Into::into),
            effective_end_time: really.end.map(Into::into),
            client: Some(self.names.write(Collection::Clients, &lease.client)),
            exporter: held.map(|held| self.names.write(Collection::Exporters, &held.exporter)),
            conditions: conditions.iter().map(condition::told).collect(),
            exporter_name: lease.pinned.clone(),
            tags: lease.tags.clone(),
            allow_disabled: lease.allow_disabled,
            context: lease.context.clone(),
            deprecated_labels: Labels::new(),
        }
    }
}

/// A lease is shorter than a century; a clock that jumped makes the rest of it the longest there is.
fn length(duration: std::time::Duration) -> prost_types::Duration {
    prost_types::Duration::try_from(duration).unwrap_or(prost_types::Duration {
        seconds: i64::MAX,
        nanos: 0,
    })
}

fn status(state: Option<ExporterState>) -> v1::ExporterStatus {
    match state {
        None => v1::ExporterStatus::Unspecified,
        Some(ExporterState::Offline) => v1::ExporterStatus::Offline,
        Some(ExporterState::Available) => v1::ExporterStatus::Available,
        Some(ExporterState::BeforeLeaseHook) => v1::ExporterStatus::BeforeLeaseHook,
        Some(ExporterState::LeaseReady) => v1::ExporterStatus::LeaseReady,
        Some(ExporterState::AfterLeaseHook) => v1::ExporterStatus::AfterLeaseHook,
        Some(ExporterState::BeforeLeaseHookFailed) => v1::ExporterStatus::BeforeLeaseHookFailed,
        Some(ExporterState::AfterLeaseHookFailed) => v1::ExporterStatus::AfterLeaseHookFailed,
    }
}
