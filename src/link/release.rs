//! Gives a lease back to the controller.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rigd_proto::v1::{ExporterStatus, ReleaseLeaseRequest, ReportStatusRequest};
use tokio::{sync::mpsc, time::sleep};
use tonic::{Code, Status};

use super::{
    backoff::{Backoff, Trouble},
    controller::{Controller, Failed, within},
};
use crate::lease::machine::Event;

/// Time for one attempt.
const ATTEMPT: Duration = Duration::from_secs(30);
/// What old controllers are told instead.
const COMPAT: &str = "Lease released (compat: ReportStatus with release_lease)";

/// Asks until the controller has answered, whatever it said, and tells the lease machine.
pub(super) async fn run(controller: Arc<Controller>, lease: String, events: mpsc::Sender<Event>) {
    let mut backoff = Backoff::default();
    let mut registered = controller.registered.subscribe();
    while let Err(failed) = attempt(&controller, &lease).await {
        tracing::debug!(lease, error = failed.text, "The lease is not released yet.");
        registered.mark_unchanged();
        // cancel-safe: both only wait.
        tokio::select! {
            () = sleep(backoff.next(Trouble::Passing)) => {}
            _ = registered.changed() => backoff = Backoff::default(),
        }
    }
    controller.reached.notify_one();
    // A machine that is gone has stopped waiting.
    events.send(Event::ReleaseAnswered(lease)).await.ok();
}

async fn attempt(controller: &Controller, lease: &str) -> Result<(), Failed> {
    if !controller.no_release.load(Ordering::Relaxed) {
        let name = lease.to_owned();
        let request = controller.request(ReleaseLeaseRequest { name })?;
        let answer = within(ATTEMPT, controller.service().release_lease(request)).await;
        match answer {
            Ok(_) => return Ok(()),
            Err(status) if not_ours(&status) => {
                tracing::debug!(lease, answer = status.message(), "Nothing to release.");
                return Ok(());
            }
            Err(status) if too_old(&status) => {
                tracing::info!(
                    answer = status.message(),
                    "The controller does not let exporters release leases: telling it by the status."
                );
                // A token that is not accepted for a moment says nothing about age.
                let lasting = matches!(status.code(), Code::Unimplemented | Code::InvalidArgument);
                controller.no_release.fetch_or(lasting, Ordering::Relaxed);
            }
            Err(status) => return Err(status.into()),
        }
    }
    compat(controller).await
}

/// The lease is gone, or is somebody else's.
fn not_ours(status: &Status) -> bool {
    matches!(status.code(), Code::NotFound | Code::FailedPrecondition)
}

/// What controllers without ReleaseLease for exporters answer.
fn too_old(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::PermissionDenied
            | Code::InvalidArgument
            | Code::Unauthenticated
            | Code::Unimplemented
    )
}

async fn compat(controller: &Controller) -> Result<(), Failed> {
    let now = controller.outbox().newest().map(|report| report.status);
    let status = match now {
        // A controller must not take it for free while it holds the lease.
        None | Some(ExporterStatus::Available) => ExporterStatus::AfterLeaseHook,
        Some(status) => status,
    };
    let request = ReportStatusRequest {
        status: status.into(),
        message: Some(COMPAT.into()),
        release_lease: Some(true),
    };
    let request = controller.request(request)?;
    match within(ATTEMPT, controller.service().report_status(request)).await {
        Ok(_) => Ok(()),
        // Older still: nothing but the client ends a lease there.
        Err(status) if status.code() == Code::Unimplemented => Ok(()),
        Err(status) => Err(status.into()),
    }
}
