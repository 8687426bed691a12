//! The controller of this process, and the exporters that it leases.

use rigd_controller::admin;

use super::{Access, Daemon, Then, hosted::Planned};
use crate::{
    cli::Failure,
    config::ExporterConfig,
    embedded::{self, Running},
    tree::Plan,
};

impl Daemon {
    /// Plans all exporters. The controller is started when one of them is the first that needs it, and
    /// knows all of them when this ends; those that it leased before stay known for now.
    ///
    /// # Errors
    /// A mistake in any file, with nothing started or changed; or the controller cannot be started.
    pub(super) async fn plan_all(
        &mut self,
        loaded: Vec<(ExporterConfig, Plan)>,
    ) -> Result<Vec<Planned>, Failure> {
        let own = |config: &&ExporterConfig| Access::is_own(&self.flags, config);
        let configs = || loaded.iter().map(|(config, _)| config);
        for config in configs().filter(own) {
            Access::check(config, &self.controller.options.namespace)?;
        }
        let wanted = self.controller.always || configs().any(|config| own(&config));
        if wanted && self.running.is_none() {
            let state = &self.around.directories.state;
            let running = embedded::start(&self.controller.options, state).await?;
            self.lab.send_replace(Some(running.lab.clone()));
            self.running = Some(running);
        }
        let plan = |(config, plan): (ExporterConfig, Plan)| self.plan(config.into(), plan);
        let planned: Vec<_> = loaded.into_iter().map(plan).collect::<Result<_, _>>()?;
        self.tell_controller(&planned).await?;
        Ok(planned)
    }

    /// Tells the controller which exporters it leases: those of `planned`, and those that run. Others of
    /// this process are forgotten.
    pub(super) async fn tell_controller(&self, planned: &[Planned]) -> Result<(), Failure> {
        let Some(running) = &self.running else {
            return Ok(());
        };
        let planned = planned.iter().filter(|planned| planned.access.is_own_lab());
        let mut exporters = embedded::hosted(planned.map(|planned| &*planned.config));
        let run = self.hosted.iter().filter(|(_, hosted)| hosted.own);
        let run = run.map(|(name, hosted)| match self.then.get(name) {
            // It goes on as it is while it is leased; its labels are those of the new file already.
            Some(Then::Replace(next)) if next.access.is_own_lab() => &*next.config,
            _ => &*hosted.config,
        });
        for (name, labels) in embedded::hosted(run) {
            if !exporters.iter().any(|(known, _)| *known == name) {
                exporters.push((name, labels));
            }
        }
        let told = admin::host(&running.lab.engine, &exporters).await;
        told.map(drop).map_err(|status| {
            let text = format!("the embedded controller: {}", status.message());
            Failure::Runtime(anyhow::Error::msg(text))
        })
    }

    /// Stops it, after all that it leases.
    pub(super) async fn stop_controller(&mut self) {
        self.lab.send_replace(None);
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    /// It has ended by itself: the exporters end as at a stop, and a restart may mend it.
    pub(super) fn controller_failed(&mut self, reason: &str) {
        tracing::error!(reason, "The embedded controller failed: stopping.");
        self.lab.send_replace(None);
        self.running = None;
        self.hurried = true;
        if !self.stop.begin.is_cancelled() {
            self.begin_stop();
        }
    }
}

/// Waits for the end of a controller that nobody stopped; for ever without one. Cancel-safe.
pub(super) async fn failed(running: &mut Option<Running>) -> String {
    match running {
        Some(running) => running.failed().await,
        None => std::future::pending().await,
    }
}
