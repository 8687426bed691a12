//! The controller of this process, and the exporters that it leases.

use std::{collections::BTreeMap, time::Duration};

use rigd_controller::{admin, leases, model::Labels};
use tokio::time::timeout;
use tonic::Code;

use super::{Access, Daemon, hosted::Planned};
use crate::{
    cli::Failure,
    config::ExporterConfig,
    embedded::{self, Running},
    tree::Plan,
};

/// How long the controller may take to keep which exporters there are: a few syncs of a slow card.
/// The service manager waits for signs of life meanwhile.
const KEEP_LIMIT: Duration = Duration::from_secs(10);

/// The exporters that the files give to the controller of this process, and their labels.
pub(super) type Own = BTreeMap<String, Labels>;

impl Daemon {
    /// Plans all exporters. The controller is started when one of them is the first that needs it, and
    /// knows all of them when this ends; those that it leased before stay known until they have ended.
    ///
    /// # Errors
    /// A mistake in any file, with nothing started or changed; or the controller cannot be started.
    pub(super) async fn plan_all(
        &mut self,
        loaded: Vec<(ExporterConfig, Plan)>,
    ) -> Result<Vec<Planned>, Failure> {
        if !self.flags.direct() {
            for (config, _) in &loaded {
                Access::check(config, &self.controller.options.namespace)?;
            }
        }
        let own = loaded.iter().map(|(config, _)| config);
        let own = own.filter(|config| Access::is_own(&self.flags, config));
        let own: Own = own
            .map(|config| (config.metadata.name.clone(), config.labels.clone()))
            .collect();
        if self.running.is_none() && (self.controller.always || !own.is_empty()) {
            let state = &self.around.directories.state;
            let running = embedded::start(&self.controller.options, state).await?;
            self.lab.send_replace(Some(running.lab.clone()));
            self.running = Some(running);
        }
        let plan = |(config, plan): (ExporterConfig, Plan)| self.plan(config.into(), plan);
        let planned: Vec<_> = loaded.into_iter().map(plan).collect::<Result<_, _>>()?;
        self.tell_controller(&own).await?;
        self.own = own;
        Ok(planned)
    }

    /// Tells the controller which exporters it leases: these, and those of before that still run.
    async fn tell_controller(&self, own: &Own) -> Result<(), Failure> {
        let Some(running) = &self.running else {
            return Ok(());
        };
        let mut all = own.clone();
        for (name, hosted) in self.hosted.iter().filter(|(_, hosted)| hosted.own) {
            let labels = || hosted.config.labels.clone();
            all.entry(name.clone()).or_insert_with(labels);
        }
        let all: Vec<_> = all.into_iter().collect();
        let wrong = |text: &str| anyhow::anyhow!("the embedded controller: {text}");
        match timeout(KEEP_LIMIT, admin::host(&running.lab.engine, &all)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => Err(match status.code() {
                Code::InvalidArgument | Code::FailedPrecondition => {
                    Failure::Usage(wrong(status.message()))
                }
                _ => Failure::Runtime(wrong(status.message())),
            }),
            Err(_) => Err(Failure::Runtime(wrong(
                "the disk of the state directory takes no change within 10 s",
            ))),
        }
    }

    /// Exporters that no file gives to the controller any more are forgotten there, once they have ended
    /// and are not leased.
    pub(super) async fn forget_at_controller(&self) {
        let Some(running) = &self.running else {
            return;
        };
        let ours = |name: &str| {
            self.own.contains_key(name) || self.hosted.get(name).is_some_and(|hosted| hosted.own)
        };
        let left = running.lab.engine.read(|world| {
            let mut hosted = world.exporters.iter().filter(|(_, one)| one.hosted);
            hosted.any(|(name, _)| !ours(name) && leases::current(world, name).is_none())
        });
        if !left {
            return;
        }
        if let Err(failure) = self.tell_controller(&self.own).await {
            let error = failure.text();
            tracing::warn!(error, "The controller still knows exporters that are gone.");
        }
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
