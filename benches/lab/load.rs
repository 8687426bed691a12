//! The open loop: turns begin at times that were fixed before, however long others take.

use std::{thread, time::Duration};

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    Failure,
    client::{Client, Turn},
    site::selector,
};

/// So that the first turn is not late already.
const LEAD: Duration = Duration::from_millis(20);
/// After the last begin. Turns that take longer are a failure of the machine.
const DRAIN: Duration = Duration::from_secs(30);
/// Begins that the loop may be behind with. The thread waits then, and latencies grow.
const BEGINS: usize = 1024;

/// So many turns a second for some time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) rate: f64,
    pub(crate) lasts: Duration,
}

impl Pace {
    pub(crate) fn turns(self) -> u32 {
        (self.rate * self.lasts.as_secs_f64()) as u32
    }
}

/// Clients take turns one after the other, each at its planned time.
pub(crate) async fn open_loop(
    clients: &[Client],
    exporters: usize,
    pace: Pace,
) -> Result<Vec<Turn>, Failure> {
    let mut begins = plan(pace);
    let mut running = JoinSet::new();
    let mut number = 0;
    while let Some(planned) = begins.recv().await {
        let client = clients.get(number % clients.len()).ok_or("no clients")?;
        let selector = selector(number, exporters);
        running.spawn(client.clone().turn(selector, planned));
        number += 1;
    }
    let mut turns = Vec::with_capacity(number);
    let ends = async {
        while let Some(turn) = running.join_next().await {
            turns.push(turn??);
        }
        Ok::<(), Failure>(())
    };
    let late = |_| format!("turns take over {DRAIN:?} at {} a second", pace.rate);
    timeout(DRAIN, ends).await.map_err(late)??;
    Ok(turns)
}

/// The planned times, each when it has come. A thread of its own, as the runtime's timer counts whole
/// milliseconds.
fn plan(pace: Pace) -> mpsc::Receiver<Instant> {
    let (begin, begins) = mpsc::channel(BEGINS);
    thread::spawn(move || {
        let first = Instant::now() + LEAD;
        for number in 0..pace.turns() {
            let planned = first + Duration::from_secs_f64(f64::from(number) / pace.rate);
            thread::sleep(planned.saturating_duration_since(Instant::now()));
            if begin.blocking_send(planned).is_err() {
                break;
            }
        }
    });
    begins
}

/// What so many percent of the turns stay below.
pub(crate) fn percentile(
    turns: &[Turn],
    what: impl Fn(&Turn) -> Duration,
    percent: usize,
) -> Option<f64> {
    let mut all: Vec<Duration> = turns.iter().map(what).collect();
    all.sort_unstable();
    let place = (all.len() * percent).div_ceil(100).max(1) - 1;
    all.get(place).map(Duration::as_secs_f64)
}
