//! What happens by time alone: leases begin and end, and those that ended long ago are forgotten.
//!
//! ```text
//!   step ──> wait until the next is due, at most AT_LEAST ──> step …
//!     └── every TRIM_EVERY, or when far too many have ended: forget
//! ```

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::Engine;
use crate::{
    model::World,
    store::{self, Retention},
};

/// How often a step is taken although none is due: the clock may have been set.
const AT_LEAST: Duration = Duration::from_secs(30);
/// How often ended leases are looked through. They are kept for weeks, so minutes do not matter.
const TRIM_EVERY: Duration = Duration::from_secs(10 * 60);

impl Engine {
    /// Takes the steps that are due by time alone, and forgets what ended long ago, until it is
    /// dropped.
    pub async fn run(&self) {
        self.run_keeping(Retention::default()).await;
    }

    async fn run_keeping(&self, retention: Retention) {
        let mut trimmed: Option<Instant> = None;
        loop {
            let now = SystemTime::now();
            let wake = {
                let mut state = self.state();
                self.step(&mut state, now);
                let due = trimmed.is_none_or(|at| at.elapsed() >= TRIM_EVERY);
                if due || far_over(&state.world, retention) {
                    trimmed = Some(Instant::now());
                    let forgotten = store::trim(&state.world, retention, now);
                    for change in &forgotten {
                        change.clone().apply(&mut state.world);
                    }
                    self.keep(forgotten);
                }
                state.wake
            };
            // cancel-safe: both only wait.
            tokio::select! {
                () = tokio::time::sleep(pause(wake, SystemTime::now())) => {}
                () = self.0.timer.notified() => {}
            }
        }
    }
}

/// How long to wait for the step that is due at `wake`. A wake that is long past or far off may be one
/// of a clock that was set.
fn pause(wake: Option<SystemTime>, now: SystemTime) -> Duration {
    let Some(wake) = wake else {
        return AT_LEAST;
    };
    wake.duration_since(now).unwrap_or_default().min(AT_LEAST)
}

/// Half as many ended leases again as are to be kept: somebody asks and releases in a loop.
fn far_over(world: &World, retention: Retention) -> bool {
    let ended = world.leases.values().filter(|lease| lease.over.is_some());
    ended.count() > retention.count.saturating_add(retention.count / 2)
}
