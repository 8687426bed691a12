//! Tells the controller the exporter's state until it has heard it.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use rigd_proto::v1::ReportStatusRequest;
use tokio::time::sleep;
use tonic::Code;

use super::{
    answer::Answer,
    backoff::{Backoff, Trouble},
    controller::{Controller, Failed, within},
    outbox::Report,
};

/// Time for one attempt. A newer state waits for it, lest the controller hears them in the wrong
/// order.
const ATTEMPT: Duration = Duration::from_secs(10);

/// Refusals in a row after which a state is not told any more: what follows it must be.
const REFUSALS: u32 = 5;

/// Runs for as long as the link.
pub(super) async fn run(controller: Arc<Controller>) {
    let (mut backoff, mut refused) = (Backoff::default(), 0);
    let mut registered = controller.registered.subscribe();
    loop {
        // Nothing is told to a controller that does not know us yet.
        if registered.wait_for(|count| *count > 0).await.is_err() {
            return;
        }
        let changed = controller.outbox_changed.notified();
        let next = controller.outbox().next().cloned();
        let Some(report) = next else {
            changed.await;
            continue;
        };
        match tell(&controller, &report).await {
            Ok(()) => {
                (backoff, refused) = (Backoff::default(), 0);
                controller.outbox().done(&report);
                controller.outbox_changed.notify_waiters();
                controller.reached.notify_one();
            }
            Err(failed) if failed.answer != Answer::Passing && refused == REFUSALS => {
                let status = report.status.as_str_name();
                tracing::warn!(
                    status,
                    error = failed.text,
                    "The controller refuses this status for good."
                );
                refused = 0;
                controller.outbox().done(&report);
            }
            Err(failed) => {
                refused += u32::from(failed.answer != Answer::Passing);
                let status = report.status.as_str_name();
                tracing::debug!(status, error = failed.text, "The controller has not heard.");
                registered.mark_unchanged();
                // cancel-safe: all only wait. Who was away and is back is told at once; and a new state
                // does not wait for its predecessor's turn, since clients may wait for it.
                tokio::select! {
                    () = sleep(backoff.next(Trouble::Passing)) => {}
                    _ = registered.changed() => backoff = Backoff::default(),
                    () = changed => {}
                }
            }
        }
    }
}

async fn tell(controller: &Controller, report: &Report) -> Result<(), Failed> {
    if controller.has_no_reports() {
        return Ok(());
    }
    let request = ReportStatusRequest {
        status: report.status.into(),
        message: Some(report.message.clone()),
        release_lease: None,
    };
    let request = controller.request(request)?;
    match within(ATTEMPT, controller.service().report_status(request)).await {
        Ok(_) => Ok(()),
        Err(status) if status.code() == Code::Unimplemented => {
            let now = controller.registration();
            if controller.no_reports.swap(now, Ordering::Relaxed) == 0 {
                tracing::warn!("The controller is too old to be told the exporter's status.");
            }
            Ok(())
        }
        Err(status) => Err(status.into()),
    }
}
