//! What follows when an exporter ends: another configuration, another try, or nothing.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{
    Daemon, Then,
    handle::Served,
    hosted::{Ended, Hosted},
};
use crate::{config::ExporterConfig, registry::Registry, tree::Plan};

/// An exporter whose thread died, until it is tried again.
#[derive(Debug)]
pub(super) struct Restart {
    config: Arc<ExporterConfig>,
    at: Instant,
}

impl Daemon {
    pub(super) async fn ended(&mut self, Ended { name, id, code }: Ended) {
        if self.hosted.get(&name).is_none_or(|hosted| hosted.id != id) {
            return;
        }
        let Some(hosted) = self.hosted.remove(&name) else {
            return;
        };
        let stopping = self.stop.begin.is_cancelled();
        match (self.then.remove(&name), code) {
            (Some(Then::Replace(planned)), _) if !stopping => {
                tracing::info!(exporter = name, "Starting with its new configuration.");
                self.start_one(*planned);
                self.forget_at_controller().await;
            }
            (Some(Then::Forget), _) => {
                tracing::info!(exporter = name, "No longer served.");
                self.exporters.remove(&name);
                self.forget_at_controller().await;
            }
            (_, Some(code)) => {
                match code {
                    0 if stopping => {}
                    0 => tracing::info!(exporter = name, "The exporter has ended."),
                    code => tracing::error!(exporter = name, code, "The exporter has ended."),
                }
                self.exporters.set(&name, Served::Ended(code));
            }
            (_, None) => self.died(name, &hosted),
        }
    }

    /// The thread of an exporter panicked: a mistake of ours. The journal knows what it left.
    fn died(&mut self, name: String, hosted: &Hosted) {
        let limits = &hosted.config.failure_detection;
        let window = Duration::from_secs(u64::try_from(limits.rapid_failure_window).unwrap_or(0));
        let rapid = hosted.started.elapsed() < window;
        let deaths = self.crashes.entry(name.clone()).or_default();
        *deaths = if rapid { *deaths + 1 } else { 1 };
        let again = i64::from(*deaths) < limits.max_rapid_failures;
        self.exporters.set(&name, Served::Ended(1));
        if self.stop.begin.is_cancelled() || !again {
            tracing::error!(
                exporter = name,
                deaths,
                "An exporter failed unexpectedly: given up."
            );
            return;
        }
        let delay = Duration::from_secs(1 << (*deaths).min(5));
        let in_s = delay.as_secs();
        tracing::error!(
            exporter = name,
            in_s,
            "An exporter failed unexpectedly: starting it again."
        );
        self.restarts.push(Restart {
            config: hosted.config.clone(),
            at: Instant::now() + delay,
        });
    }

    pub(super) fn restart(&mut self, config: &Arc<ExporterConfig>) {
        let name = config.metadata.name.clone();
        if self.hosted.contains_key(&name) {
            return;
        }
        let planned = Plan::new(config, &Registry::native())
            .map_err(|problems| format!("{} mistakes in its file", problems.len()))
            .and_then(|plan| {
                self.plan(config.clone(), plan)
                    .map_err(|failure| failure.text())
            });
        match planned {
            Ok(planned) => self.start_one(planned),
            Err(error) => {
                tracing::error!(exporter = name, error, "Cannot be started again.");
            }
        }
    }
}

/// The next exporter whose wait is over; for ever without one. Cancel-safe.
pub(super) async fn next_restart(restarts: &mut Vec<Restart>) -> Arc<ExporterConfig> {
    let next = restarts.iter().enumerate().min_by_key(|(_, wait)| wait.at);
    let Some((place, at)) = next.map(|(place, wait)| (place, wait.at)) else {
        return std::future::pending().await;
    };
    sleep_until(at).await;
    restarts.swap_remove(place).config
}
