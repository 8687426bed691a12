//! A lab that runs: the controller, all its exporters, and clients that wait for their turn.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::{sync::mpsc, time::Instant};

use crate::{
    Effort, Failure,
    client::{Client, Turn},
    controller,
    exporter::Exporter,
    load::{Pace, open_loop, percentile},
    process::{Process, cpu_of},
    site::Site,
};

/// As many as use a lab at once.
pub(crate) const CLIENTS: usize = 50;
/// Peers that connect at once: a lab whose power comes back.
const JOINING: usize = 32;
/// Of the issue that turns are counted for.
const RATE: f64 = 50.0;
/// Before the turns that count.
const WARM_UP: Duration = Duration::from_secs(1);

pub(crate) struct Running {
    pub(crate) clients: Vec<Client>,
    pub(crate) exporters: Vec<Exporter>,
    pub(crate) process: Process,
    troubles: mpsc::Receiver<String>,
    pub(crate) site: Arc<Site>,
}

/// What is seen of one lab.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) exporters: usize,
    /// All exporters, from the first connection until the last can be leased.
    pub(crate) joined: f64,
    /// Resident, without exporters and with all of them.
    pub(crate) empty: f64,
    pub(crate) full: f64,
    /// After the load.
    pub(crate) used: f64,
    /// Shares of one core.
    pub(crate) idle_cpu: f64,
    pub(crate) cpu: f64,
    pub(crate) driver_cpu: f64,
    /// Of the turns.
    pub(crate) turns: Vec<Turn>,
}

impl Running {
    /// A lab of so many exporters, and what it shows at [`RATE`].
    pub(crate) async fn measure(
        exporters: usize,
        effort: &Effort,
    ) -> Result<(Self, Figures), Failure> {
        let site = Arc::new(Site::make(exporters, CLIENTS).await?);
        let process = controller::start(&site).await?;
        let clients: Vec<Client> = stream::iter(site.clients.clone())
            .map(|who| Client::connect(Arc::clone(&site), who))
            .buffered(JOINING)
            .try_collect()
            .await?;
        tokio::time::sleep(effort.settle).await;
        let empty = process.memory()?.rss;
        let (trouble, troubles) = mpsc::channel(1);
        let began = Instant::now();
        let all: Vec<Exporter> = stream::iter(site.exporters.clone())
            .map(|who| Exporter::join(Arc::clone(&site), who, trouble.clone()))
            .buffer_unordered(JOINING)
            .try_collect()
            .await?;
        let joined = began.elapsed().as_secs_f64();
        let mut running = Self {
            clients,
            exporters: all,
            process,
            troubles,
            site,
        };
        tokio::time::sleep(effort.settle).await;
        let full = running.process.memory()?.rss;
        let (before, began) = (running.process.cpu()?, Instant::now());
        tokio::time::sleep(effort.idle).await;
        let idle_cpu = (running.process.cpu()? - before) / began.elapsed().as_secs_f64();
        running.load(RATE, WARM_UP).await?;
        let own = std::process::id();
        let (before, before_own) = (running.process.cpu()?, cpu_of(own)?);
        let began = Instant::now();
        let turns = running.load(RATE, effort.load).await?;
        let took = began.elapsed().as_secs_f64();
        let figures = Figures {
            exporters,
            joined,
            empty,
            full,
            used: running.process.memory()?.rss,
            idle_cpu,
            cpu: (running.process.cpu()? - before) / took,
            driver_cpu: (cpu_of(own)? - before_own) / took,
            turns,
        };
        Ok((running, figures))
    }

    /// Turns at a rate, none of which failed.
    pub(crate) async fn load(&mut self, rate: f64, lasts: Duration) -> Result<Vec<Turn>, Failure> {
        let pace = Pace { rate, lasts };
        let turns = open_loop(&self.clients, self.exporters.len(), pace).await;
        // Why a turn failed is best known to these two.
        self.process.check()?;
        if let Ok(trouble) = self.troubles.try_recv() {
            return Err(trouble.into());
        }
        turns
    }
}

impl Figures {
    pub(crate) fn of(&self, what: impl Fn(&Turn) -> Duration, percent: usize) -> f64 {
        percentile(&self.turns, what, percent).unwrap_or(f64::NAN)
    }

    /// Bytes for each exporter.
    pub(crate) fn each(&self) -> f64 {
        (self.full - self.empty) / self.exporters as f64
    }
}
