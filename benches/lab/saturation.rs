//! How many turns a second a lab takes: the pace is raised until it does not keep up.

use std::time::Duration;

use crate::{Effort, Failure, load::percentile, process::cpu_of, running::Running};

/// Far below what the machine can.
const FIRST: f64 = 100.0;
const STEP: f64 = 1.2;
/// A pace is kept up with when nearly all turns are over within this. A lab that does not keep up
/// exceeds it soon, as turns pile up.
const LIMIT: Duration = Duration::from_millis(500);

/// The highest pace that was kept up with.
#[derive(Debug)]
pub(crate) struct Saturation {
    pub(crate) rate: f64,
    pub(crate) acquired: f64,
    pub(crate) whole: f64,
    /// Shares of one core.
    pub(crate) cpu: f64,
    pub(crate) driver_cpu: f64,
}

pub(crate) async fn find(running: &mut Running, effort: &Effort) -> Result<Saturation, Failure> {
    let own = std::process::id();
    let mut rate = FIRST;
    let mut best = None;
    loop {
        let (before, before_own) = (running.process.cpu()?, cpu_of(own)?);
        let turns = running.load(rate, effort.step).await;
        let seconds = effort.step.as_secs_f64();
        let cpu = (running.process.cpu()? - before) / seconds;
        let driver_cpu = (cpu_of(own)? - before_own) / seconds;
        let turns = match (turns, &best) {
            (Ok(turns), _) => turns,
            (Err(failure), None) => return Err(failure),
            (Err(failure), Some(_)) => {
                eprintln!("at {rate:.0} a second: {failure}");
                break;
            }
        };
        let whole = percentile(&turns, |turn| turn.whole, 99).unwrap_or(f64::NAN);
        eprintln!("at {rate:.0} a second: p99 {:.0} ms", whole * 1e3);
        if whole > LIMIT.as_secs_f64() {
            break;
        }
        best = Some(Saturation {
            rate,
            acquired: percentile(&turns, |turn| turn.acquired, 50).unwrap_or(f64::NAN),
            whole: percentile(&turns, |turn| turn.whole, 50).unwrap_or(f64::NAN),
            cpu,
            driver_cpu,
        });
        rate *= STEP;
    }
    best.ok_or_else(|| format!("not even {FIRST} turns a second").into())
}
