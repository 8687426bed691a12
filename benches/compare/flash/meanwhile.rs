//! What another client feels while an image is written: calls to another instrument, from a thread and
//! over a connection of their own.
//!
//! The loop is open: begins are fixed beforehand and latencies count from the planned begin, so that a
//! server that stands still is seen for as long as it does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rigd_client::{ConnectOptions, Exporter};

use crate::Failure;

/// From begin to begin.
const PACE: Duration = Duration::from_millis(5);
/// A server that stands still for longer is given up.
const LIMIT: Duration = Duration::from_secs(600);

/// Calls that are made until they are stopped.
pub(crate) struct Calls {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<f64>, String>>,
}

impl Calls {
    /// Begins to call `off` of a power switch of the server at `address`.
    pub(crate) fn start(address: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (address, stopped) = (address.to_owned(), stop.clone());
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = runtime.map_err(|error| error.to_string())?;
            runtime
                .block_on(call(&address, &stopped))
                .map_err(|error| error.to_string())
        });
        Self { stop, thread }
    }

    /// Seconds that the slowest of 99 in 100 calls took.
    pub(crate) async fn p99(self) -> Result<f64, Failure> {
        self.stop.store(true, Relaxed);
        let joined = tokio::task::spawn_blocking(|| self.thread.join()).await?;
        let mut took = joined.map_err(|_| "the calling thread panicked")??;
        took.sort_by(f64::total_cmp);
        let at = took.len() * 99 / 100;
        Ok(*took.get(at).ok_or("no call came to its end")?)
    }
}

async fn call(address: &str, stop: &AtomicBool) -> Result<Vec<f64>, Failure> {
    let exporter = Exporter::connect_tcp(address, &ConnectOptions::default()).await?;
    let power = exporter.device("power").await?;
    let mut took = vec![];
    let mut planned = Instant::now();
    while !stop.load(Relaxed) {
        tokio::time::sleep_until(planned.into()).await;
        tokio::time::timeout(LIMIT, power.call("off", vec![])).await??;
        took.push(planned.elapsed().as_secs_f64());
        planned += PACE;
    }
    Ok(took)
}
