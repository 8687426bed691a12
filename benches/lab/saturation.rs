//! How many turns a second a lab takes: the pace is raised until it does not keep up.

use std::time::Duration;

use crate::{Effort, Failure, client::Turn, load::percentile, process::cpu_of, running::Running};

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
    let mut rate = FIRST;
    let mut best = None;
    while let Some(kept_up) = try_twice(running, effort, rate).await? {
        best = Some(kept_up);
        rate *= STEP;
    }
    best.ok_or_else(|| format!("not even {FIRST} turns a second").into())
}

/// A second time, as the machine may have had something else to do.
async fn try_twice(
    running: &mut Running,
    effort: &Effort,
    rate: f64,
) -> Result<Option<Saturation>, Failure> {
    let own = std::process::id();
    for _ in 0..2 {
        let (before, before_own) = (running.process.cpu()?, cpu_of(own)?);
        let turns = running.load(rate, effort.step).await?;
        let seconds = effort.step.as_secs_f64();
        let cpu = (running.process.cpu()? - before) / seconds;
        let driver_cpu = (cpu_of(own)? - before_own) / seconds;
        let at = |what: fn(&Turn) -> Duration, percent| {
            percentile(&turns, what, percent).unwrap_or(f64::NAN)
        };
        let slowest = at(|turn| turn.whole, 99);
        eprintln!("at {rate:.0} a second: p99 {:.0} ms", slowest * 1e3);
        if slowest <= LIMIT.as_secs_f64() {
            return Ok(Some(Saturation {
                rate,
                acquired: at(|turn| turn.acquired, 50),
                whole: at(|turn| turn.whole, 50),
                cpu,
                driver_cpu,
            }));
        }
    }
    Ok(None)
}
