//! Brings the exporters to what the files say now.

use std::collections::BTreeSet;

use super::{Ask, Daemon, Planned, Then, handle::Reloaded};

impl Daemon {
    /// Reads the files again. Exporters without a change go on untouched; the others change at once
    /// when they are not leased, else when their lease ends. With a mistake in any file nothing
    /// changes.
    pub(super) async fn reload(&mut self) -> Reloaded {
        if self.stop.begin.is_cancelled() {
            return Err("the daemon is stopping".into());
        }
        self.notify.reloading();
        let done = self.reload_files().await;
        self.notify.ready();
        done
    }

    async fn reload_files(&mut self) -> Reloaded {
        let loaded = (self.load)().map_err(|failure| failure.text())?;
        if self.flags.direct() && loaded.len() != 1 {
            return Err(
                "--unix and --tls-grpc-listener serve one exporter; several were found".into(),
            );
        }
        let wanted = self.plan_all(loaded).await;
        let wanted = wanted.map_err(|failure| failure.text())?;
        let names: BTreeSet<String> = wanted
            .iter()
            .map(|planned| planned.config.metadata.name.clone())
            .collect();
        let mut changes = Vec::new();
        // Whoever waits to be started again is started anew, or not at all.
        self.restarts.clear();
        for (name, _) in self.exporters.all() {
            if names.contains(&name) {
                continue;
            }
            let when = self.retire(&name, Then::Forget).await;
            if when.is_none() {
                self.exporters.remove(&name);
            }
            changes.push(format!(
                "{name}: no longer served{}",
                when.unwrap_or_default()
            ));
        }
        for planned in wanted {
            changes.extend(self.bring(planned).await);
        }
        Ok(changes)
    }

    /// One exporter to its new configuration; tells what that means.
    async fn bring(&mut self, planned: Planned) -> Option<String> {
        let name = planned.config.metadata.name.clone();
        let Some(hosted) = self.hosted.get(&name) else {
            self.crashes.remove(&name);
            self.start_one(planned);
            return Some(format!("{name}: started"));
        };
        let same = hosted.config.source.is_as(&planned.config.source);
        if same && !self.then.contains_key(&name) {
            return None;
        }
        let when = self.retire(&name, Then::Replace(planned.into())).await;
        Some(format!("{name}: changed{}", when.unwrap_or_default()))
    }

    /// Ends an exporter when it is free; tells when that is. None when there is nothing to end.
    async fn retire(&mut self, name: &str, then: Then) -> Option<String> {
        let hosted = self.hosted.get(name)?;
        let succeeded = matches!(then, Then::Replace(_));
        self.then.insert(name.into(), then);
        if hosted.direct {
            hosted.stop.begin.cancel();
            return Some(", at once".into());
        }
        let now = hosted.handle.snapshot().await;
        if hosted.handle.ask(Ask::Retire { succeeded }).await.is_err()
            && !hosted.handle.has_stopped()
        {
            // It does not answer: it would not end by itself either.
            hosted.stop.begin.cancel();
        }
        Some(match now.map(|now| now.lease) {
            Ok(Some(lease)) => format!(", when the lease of '{}' ends", lease.client),
            Ok(None) => ", at once".into(),
            Err(_) => ", when it answers again and is free".into(),
        })
    }
}
