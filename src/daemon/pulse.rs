//! Proves to the service manager that every exporter's owner task answers.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use rigd_proto::v1::ExporterStatus;

use super::handle::{Exporters, Served, Snapshot};
use crate::os::notify::Notify;

/// How often the status line is brought up to date without a watchdog.
const PERIOD: Duration = Duration::from_secs(10);

/// Time between two proofs: a third of what the service manager allows, so that one may be late.
pub(super) fn period(watchdog: Option<Duration>) -> Duration {
    watchdog.map_or(PERIOD, |limit| {
        (limit / 3).clamp(Duration::from_millis(100), PERIOD)
    })
}

/// Asks them side by side, in the background.
pub(super) fn beat(exporters: &Exporters, notify: &Arc<Notify>) {
    let (exporters, notify) = (exporters.all(), notify.clone());
    tokio::spawn(async move {
        let asked = exporters.iter().map(|(name, served)| async move {
            match served {
                Served::Running(handle) => match handle.snapshot().await {
                    Ok(snapshot) => Some(Some(snapshot)),
                    // Its end is on its way.
                    Err(_) if handle.has_stopped() => Some(None),
                    Err(_) => {
                        tracing::error!(exporter = name, "The exporter does not answer.");
                        None
                    }
                },
                Served::Ended(_) => Some(None),
            }
        });
        let answers: Option<Vec<Option<Snapshot>>> = join_all(asked).await.into_iter().collect();
        if let Some(answers) = answers {
            notify.alive();
            notify.status(&line(&answers));
        }
    });
}

/// `3 exporters: 1 leased, 1 available, 1 ended`
fn line(answers: &[Option<Snapshot>]) -> String {
    let count = |wanted: &dyn Fn(&Snapshot) -> bool| {
        answers
            .iter()
            .flatten()
            .filter(|found| wanted(found))
            .count()
    };
    let leased = count(&|s| s.lease.is_some());
    let held = count(&|s| s.lease.is_none() && s.hold.is_some());
    let away = count(&|s| s.link.as_ref().is_some_and(|link| !link.connected));
    let free =
        count(&|s| s.lease.is_none() && s.hold.is_none() && s.status != ExporterStatus::Offline);
    let ended = answers.iter().filter(|answer| answer.is_none()).count();
    let total = answers.len();
    let mut line = format!("{total} exporter{}", if total == 1 { "" } else { "s" });
    let mut separator = ": ";
    for (count, word) in [
        (leased, "leased"),
        (free, "free"),
        (held, "held"),
        (away, "without their controller"),
        (ended, "ended"),
    ] {
        if count > 0 {
            line.push_str(&format!("{separator}{count} {word}"));
            separator = ", ";
        }
    }
    line
}
