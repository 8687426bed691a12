//! Where a target's console is at the moment: a pseudo-terminal that the demuxer names.

use std::{path::PathBuf, time::Duration};

use rigd_driver::{OpenError, async_trait};
use tokio::{
    sync::{Mutex, watch},
    time::timeout,
};

use super::{NvDemuxConfig, demuxer::Map};
use crate::{
    open_tty,
    orders::OnThread,
    settings::Settings,
    tty,
    wire::{OPEN_LIMIT, Source, Wire},
};

/// The longest that one attempt waits for the console to be named; the rest of its time is for the
/// opening.
const MAX_WAIT: Duration = Duration::from_secs(OPEN_LIMIT.as_secs() - 1);

#[derive(Debug)]
pub(super) struct NvDemuxSource {
    device: String,
    target: String,
    wait: Duration,
    // One caller at a time, see `hint`.
    map: Mutex<watch::Receiver<Map>>,
    opening: OnThread,
}

impl NvDemuxSource {
    pub(super) fn new(config: &NvDemuxConfig, map: watch::Receiver<Map>) -> Self {
        let wait = Duration::try_from_secs_f64(config.timeout).unwrap_or(MAX_WAIT);
        Self {
            device: config.device.clone(),
            target: config.target.clone(),
            wait: wait.min(MAX_WAIT),
            map: Mutex::new(map),
            opening: OnThread::new("rigd:tty-open"),
        }
    }

    /// The path of the console, waited for.
    async fn place(&self) -> Result<PathBuf, OpenError> {
        let mut map = self.map.lock().await;
        let decided = map.wait_for(|map| match map {
            Map::Running(targets) => targets.contains_key(&self.target),
            Map::Faulty(_) => true,
            Map::Absent(_) => false,
        });
        if let Ok(Ok(decided)) = timeout(self.wait, decided).await {
            match &*decided {
                Map::Running(targets) => {
                    if let Some(path) = targets.get(&self.target) {
                        return Ok(path.clone());
                    }
                }
                Map::Faulty(reason) => return Err(OpenError::Faulty(reason.clone())),
                Map::Absent(_) => {}
            }
        }
        let reason = self.missing(&map.borrow_and_update());
        // Clients know the words of the first half.
        Err(OpenError::Absent(format!(
            "Timeout waiting for demuxer to become ready (device pattern: {}): {reason}",
            self.device
        )))
    }

    fn missing(&self, map: &Map) -> String {
        match map {
            Map::Absent(reason) | Map::Faulty(reason) => reason.clone(),
            Map::Running(targets) if targets.is_empty() => "it has named no target yet".into(),
            Map::Running(targets) => {
                let names: Vec<_> = targets.keys().map(|name| format!("{name:?}")).collect();
                let target = &self.target;
                format!("it has no target {target:?}, only {}", names.join(", "))
            }
        }
    }
}

#[async_trait]
impl Source for NvDemuxSource {
    async fn open(&self, settings: &Settings) -> Result<Box<dyn Wire>, OpenError> {
        let path = self.place().await?;
        let settings = *settings;
        let work = move || {
            let opened = open_tty::open(&path, &settings, false)?;
            Ok((path.display().to_string(), opened))
        };
        tty::open(&self.opening, work).await
    }

    /// The demuxer has said something since the last attempt.
    async fn hint(&self) {
        let ended = self.map.lock().await.changed().await.is_err();
        if ended {
            std::future::pending().await
        }
    }
}
