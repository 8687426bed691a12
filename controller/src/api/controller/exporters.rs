//! What an exporter says of itself.

use rigd_proto::v1::{DriverInstanceReport, ExporterStatus, RegisterRequest, ReportStatusRequest};
use tonic::Status;

use super::ControllerService;
use crate::{
    auth::Kind,
    leases,
    model::{Device, ExporterState, Labels},
    presence::OWN_LABELS,
    selector,
    store::Change,
};

/// Own labels and devices of one exporter: far more than a board has, and few enough to keep for a
/// thousand boards.
const MAX_LABELS: usize = 64;
const MAX_DEVICES: usize = 1024;
/// Bytes of all labels of devices.
const MAX_DEVICE_TEXT: usize = 256 * 1024;
/// Bytes of a status text or a reason; longer ones are cut.
const MAX_TEXT: usize = 1024;

impl ControllerService {
    /// Gives its uid.
    pub(super) async fn do_register(
        &self,
        name: &str,
        request: RegisterRequest,
    ) -> Result<String, Status> {
        let labels = own_labels(request.labels)?;
        let devices = devices(request.reports)?;
        let known = self.engine.presence(name, |exporter, now| {
            let mut next = exporter.clone();
            next.register(labels.clone(), devices.clone(), now);
            let same = next.labels == exporter.labels && next.devices == exporter.devices;
            // Exporters register after each break of their connection: there is nothing to keep.
            same.then(|| {
                *exporter = next;
                exporter.uid
            })
        });
        if let Some(uid) = known.flatten() {
            tracing::debug!(exporter = name, "An exporter registered as it was.");
            return Ok(uid.to_string());
        }
        let uid = self.engine.change(|world, now| {
            let exporter = world.exporters.get(name);
            let exporter = exporter.ok_or_else(|| self.vanished(Kind::Exporter, name))?;
            let mut exporter = exporter.clone();
            exporter.register(labels, devices, now);
            let uid = exporter.uid;
            Ok((uid, vec![Change::Exporter(name.to_owned(), Some(exporter))]))
        });
        let uid = uid.await?;
        tracing::info!(exporter = name, "An exporter registered.");
        Ok(uid.to_string())
    }

    pub(super) async fn do_unregister(&self, name: &str, reason: &str) -> Result<(), Status> {
        let reason = cut(reason);
        let change = self.engine.change(|world, now| {
            let exporter = world.exporters.get(name);
            let exporter = exporter.ok_or_else(|| self.vanished(Kind::Exporter, name))?;
            let mut exporter = exporter.clone();
            exporter.unregister(reason, now);
            let change = Change::Exporter(name.to_owned(), Some(exporter));
            Ok(((), vec![change]))
        });
        change.await?;
        tracing::info!(exporter = name, reason, "An exporter signed off.");
        Ok(())
    }

    pub(super) async fn do_report(
        &self,
        name: &str,
        request: ReportStatusRequest,
    ) -> Result<(), Status> {
        let state = state(request.status());
        let message = cut(request.message()).to_owned();
        let told = self.engine.presence(name, |exporter, now| {
            exporter.presence.reported(state, message, now);
        });
        told.ok_or_else(|| self.vanished(Kind::Exporter, name))?;
        if !request.release_lease() {
            return Ok(());
        }
        // No lease, somebody else's, one that is over: there is nothing to do then.
        let released = self.engine.change(|world, now| {
            let released = leases::release_current(world, name, now);
            let change = released.map(|(lease, over)| Change::Lease(lease, Some(over)));
            Ok(((), Vec::from_iter(change)))
        });
        released.await
    }
}

/// Those that an exporter may give itself; Jumpstarter's sends others too, which are not looked at.
#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
fn own_labels(labels: impl IntoIterator<Item = (String, String)>) -> Result<Labels, Status> {
    let own = labels
        .into_iter()
        .filter(|(key, _)| key.starts_with(OWN_LABELS));
    let mut checked = Labels::new();
    for (key, value) in own {
        if checked.len() == MAX_LABELS {
            return Err(Status::invalid_argument(format!(
                "too many labels with the prefix {OWN_LABELS}: at most {MAX_LABELS} are kept"
            )));
        }
        let wrong = |error: selector::SelectorError| Status::invalid_argument(error.to_string());
        let key = selector::key(&key).map_err(wrong)?;
        checked.insert(key, selector::value(&value).map_err(wrong)?);
    }
    Ok(checked)
}

#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
fn devices(reports: Vec<DriverInstanceReport>) -> Result<Vec<Device>, Status> {
    if reports.len() > MAX_DEVICES {
        return Err(Status::invalid_argument(format!(
            "{} driver instances: at most {MAX_DEVICES} of an exporter are kept",
            reports.len()
        )));
    }
    let mut bytes = 0;
    let devices = reports.into_iter().map(|report| {
        let parent = report.parent_uuid.as_ref().map_or(0, String::len);
        let labels = report.labels.iter();
        let labels: usize = labels.map(|(key, value)| key.len() + value.len()).sum();
        bytes += report.uuid.len() + parent + labels;
        Device {
            uuid: report.uuid,
            parent_uuid: report.parent_uuid,
            labels: report.labels,
        }
    });
    let devices = devices.collect();
    if bytes > MAX_DEVICE_TEXT {
        return Err(Status::invalid_argument(format!(
            "labels of driver instances take {bytes} bytes: at most {MAX_DEVICE_TEXT} are kept"
        )));
    }
    Ok(devices)
}

/// "Unspecified" is no state, and neither is one that is not known yet.
fn state(status: ExporterStatus) -> Option<ExporterState> {
    Some(match status {
        ExporterStatus::Unspecified => return None,
        ExporterStatus::Offline => ExporterState::Offline,
        ExporterStatus::Available => ExporterState::Available,
        ExporterStatus::BeforeLeaseHook => ExporterState::BeforeLeaseHook,
        ExporterStatus::LeaseReady => ExporterState::LeaseReady,
        ExporterStatus::AfterLeaseHook => ExporterState::AfterLeaseHook,
        ExporterStatus::BeforeLeaseHookFailed => ExporterState::BeforeLeaseHookFailed,
        ExporterStatus::AfterLeaseHookFailed => ExporterState::AfterLeaseHookFailed,
    })
}

/// As much of a text as is kept.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
