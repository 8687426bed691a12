//! The exporter status that clients of a session see, and the gate in front of driver work.
//!
//! ```text
//!   AVAILABLE, BEFORE_LEASE_HOOK ── hold ──┐
//!   LEASE_READY ─────────────────── pass   ├─> LEASE_READY: served
//!   AFTER_LEASE_HOOK, *_FAILED, OFFLINE ── refuse <─┘ or the deadline
//! ```

use std::time::Duration;

use rigd_driver::DriverError;
use rigd_proto::v1::{ExporterStatus, GetStatusResponse};
use tokio::{sync::watch, time::timeout};

/// How long driver work waits for LEASE_READY when no beforeLease hook says how long it may take.
/// The client itself waits as long.
const MAX_HOLD: Duration = Duration::from_secs(300);

#[derive(Debug, Clone)]
struct Now {
    status: ExporterStatus,
    message: String,
    version: u64,
    previous: Option<ExporterStatus>,
}

/// What a session tells of the exporter's state. The version rises by one with every change.
#[derive(Debug)]
pub struct StatusBoard {
    now: watch::Sender<Now>,
    max_hold: Duration,
}

impl Default for StatusBoard {
    fn default() -> Self {
        Self::new(MAX_HOLD)
    }
}

enum Gate {
    Pass,
    Hold,
    Refuse,
}

fn gate(status: ExporterStatus) -> Gate {
    match status {
        ExporterStatus::LeaseReady => Gate::Pass,
        ExporterStatus::Available | ExporterStatus::BeforeLeaseHook => Gate::Hold,
        _ => Gate::Refuse,
    }
}

impl StatusBoard {
    /// A board in front of work that waits at most `max_hold` for LEASE_READY.
    pub fn new(max_hold: Duration) -> Self {
        let now = watch::Sender::new(Now {
            status: ExporterStatus::Available,
            message: String::new(),
            version: 0,
            previous: None,
        });
        Self { now, max_hold }
    }

    /// Sets the state; every call counts as a change.
    pub fn set(&self, status: ExporterStatus, message: impl Into<String>) {
        let message = message.into();
        self.now.send_modify(|now| {
            let previous = Some(now.status);
            *now = Now {
                status,
                message,
                version: now.version + 1,
                previous,
            };
        });
    }

    /// The answer to GetStatus.
    pub fn response(&self) -> GetStatusResponse {
        let now = self.now.borrow();
        GetStatusResponse {
            status: now.status.into(),
            message: Some(now.message.clone()),
            status_version: now.version,
            previous_status: now.previous.map(Into::into),
        }
    }

    /// Waits until driver work of a client may start. Cancel-safe.
    ///
    /// # Errors
    /// The lease is over or failed, or did not become ready in time. The text is upstream's.
    pub async fn ready(&self) -> Result<(), DriverError> {
        let mut now = self.now.subscribe();
        let decided = now.wait_for(|now| !matches!(gate(now.status), Gate::Hold));
        let status = match timeout(self.max_hold, decided).await {
            Ok(Ok(now)) => now.status,
            _ => self.now.borrow().status,
        };
        match gate(status) {
            Gate::Pass => Ok(()),
            Gate::Hold | Gate::Refuse => {
                let name = status.as_str_name().trim_start_matches("EXPORTER_STATUS_");
                Err(DriverError::FailedPrecondition(format!(
                    "Exporter not ready for driver calls (status: {name})"
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_rise_by_one_and_the_previous_state_is_kept() {
        let board = StatusBoard::default();
        assert_eq!(board.response().status_version, 0);
        assert_eq!(board.response().previous_status, None);
        board.set(ExporterStatus::LeaseReady, "Ready for commands");
        board.set(ExporterStatus::LeaseReady, "Ready for commands");
        let response = board.response();
        assert_eq!(response.status_version, 2);
        assert_eq!(response.previous_status(), ExporterStatus::LeaseReady);
        assert_eq!(response.message.as_deref(), Some("Ready for commands"));
    }

    #[tokio::test(start_paused = true)]
    async fn work_is_held_until_ready_and_refused_after_a_failure() {
        let board = std::sync::Arc::new(StatusBoard::default());
        let held = tokio::spawn({
            let board = board.clone();
            async move { board.ready().await }
        });
        tokio::task::yield_now().await;
        assert!(!held.is_finished());
        board.set(ExporterStatus::LeaseReady, "");
        held.await.unwrap().unwrap();
        board.set(ExporterStatus::BeforeLeaseHookFailed, "");
        let text = board.ready().await.unwrap_err().to_string();
        assert_eq!(
            text,
            "Exporter not ready for driver calls (status: BEFORE_LEASE_HOOK_FAILED)"
        );
        board.set(ExporterStatus::Available, "");
        assert!(
            board
                .ready()
                .await
                .unwrap_err()
                .to_string()
                .ends_with("AVAILABLE)")
        );
    }
}
