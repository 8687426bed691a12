//! Keeps the port of a console open while it is wanted, and reads it: the one reader of a port.
//!
//! ```text
//!   idle ──wanted──> opening ──ok──> reading ──lost──> waiting ──hint, back-off──> opening
//!     ^                  └──failed──────────────────────^
//!     └───────────────── nobody wants it any more ─── (from everywhere)
//! ```

use std::{io, sync::Arc, time::Duration};

use rigd_driver::{HealthHandle, OpenError};
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, sleep, timeout},
};
use tracing::info;

use crate::{
    console::Console,
    port::Port,
    wire::{OPEN_LIMIT, Source},
};

/// The most that is taken from the port at once: sixteen of the pages that the tty layer hands out.
const READ_SIZE: usize = 64 * 1024;
/// Shortest and longest wait between two attempts to open a port that is not there.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long a device that was plugged in has to become usable: udev sets its owner and its links.
const SETTLE: Duration = Duration::from_millis(200);
/// A port that was open for so long did work: the next attempt comes soon again.
const STEADY: Duration = Duration::from_secs(5);

/// How an opening ended.
enum End {
    Lost(String),
    Unwanted,
    Closed,
}

/// Resolves when nobody wants the port any more. Cancel-safe.
async fn unwanted(wanted: &mut watch::Receiver<usize>) {
    // The console, which holds the sender, outlives its keeper.
    wanted.wait_for(|count| *count == 0).await.ok();
}

/// Owns the opening and reading of a port.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) console: Arc<Console>,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) health: HealthHandle,
    /// Hears how the first attempt ended.
    pub(crate) tried: Option<oneshot::Sender<Result<(), OpenError>>>,
}

impl Keeper {
    /// Runs until the console is closed.
    pub(crate) async fn run(mut self) {
        let console = self.console.clone();
        // cancel-safe: what is open is closed by the console.
        tokio::select! {
            () = self.keep() => {}
            () = console.closed() => {}
        }
    }

    async fn keep(&mut self) {
        let mut wanted = self.console.wanted();
        let mut wait = RETRY.0;
        let mut since = None;
        loop {
            if wanted.wait_for(|count| *count > 0).await.is_err() {
                return;
            }
            let settings = self.console.settings();
            let opening = timeout(OPEN_LIMIT, self.source.open(&settings)).await;
            let opened = opening.unwrap_or_else(|_| Err(self.no_answer()));
            match opened {
                Ok(wire) => {
                    let port = Arc::new(Port::new(wire));
                    self.opened(port.clone(), since.take());
                    let started = Instant::now();
                    let end = self.read(&port, &mut wanted).await;
                    port.close().await;
                    match end {
                        End::Lost(reason) => {
                            since = Some(Instant::now());
                            self.lost(&reason);
                        }
                        End::Unwanted => {
                            self.console.lent();
                            continue;
                        }
                        End::Closed => return,
                    }
                    if started.elapsed() >= STEADY {
                        wait = RETRY.0;
                    }
                }
                Err(why) => self.failed(why),
            }
            // cancel-safe: all arms only wait.
            tokio::select! {
                () = sleep(wait) => wait = (wait * 2).min(RETRY.1),
                () = self.source.hint() => {
                    sleep(SETTLE).await;
                    wait = RETRY.0;
                }
                () = unwanted(&mut wanted) => {
                    // Nobody is refused for what is not known any more.
                    self.console.lent();
                    self.health.back();
                    (wait, since) = (RETRY.0, None);
                }
            }
        }
    }

    /// Records what the port says until it is lost or nobody wants it.
    async fn read(&self, port: &Port, wanted: &mut watch::Receiver<usize>) -> End {
        let mut buffer = vec![0; READ_SIZE];
        loop {
            // cancel-safe: a read that is dropped has taken nothing.
            let read = tokio::select! {
                biased;
                () = unwanted(wanted) => return End::Unwanted,
                read = port.read(&mut buffer) => read,
            };
            match read {
                Ok(0) => return End::Lost("the other side is gone".into()),
                Ok(length) => self.console.heard(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if port.is_closed() => {
                    return port.failure().map_or(End::Closed, End::Lost);
                }
                Err(error) => return End::Lost(error.to_string()),
            }
        }
    }

    fn opened(&mut self, port: Arc<Port>, away_since: Option<Instant>) {
        let name = self.console.name();
        if let Some(since) = away_since {
            let away = since.elapsed().as_secs_f64();
            let discarded = match self.console.take_discarded() {
                0 => String::new(),
                count => format!("; {count} bytes sent meanwhile were discarded"),
            };
            self.mark(&format!("{name} is back after {away:.1} s{discarded}"));
            info!(url = name, "The port is back after {away:.1} s.");
        }
        self.console.opened(port);
        self.health.back();
        self.tell(Ok(()));
    }

    fn lost(&self, reason: &str) {
        let reason = format!("{} was lost: {reason}", self.console.name());
        self.console.away(reason.clone());
        self.mark(&format!("{reason}; what is sent now is discarded"));
        self.health.away(OpenError::Absent(reason));
    }

    fn failed(&mut self, why: OpenError) {
        self.console.away(why.to_string());
        self.health.away(why.clone());
        self.tell(Err(why));
    }

    fn tell(&mut self, outcome: Result<(), OpenError>) {
        if let Some(tried) = self.tried.take() {
            // An opening that was given up needs no word.
            tried.send(outcome).ok();
        }
    }

    /// A line in the record that no board has said.
    fn mark(&self, text: &str) {
        let line = format!("\r\n[rigd: {text}]\r\n");
        self.console.heard(line.as_bytes());
    }

    fn no_answer(&self) -> OpenError {
        let (name, limit) = (self.console.name(), OPEN_LIMIT.as_secs());
        OpenError::Faulty(format!("{name} did not open within {limit} s"))
    }
}
