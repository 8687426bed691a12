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
    /// dropped or nothing is kept any more.
    pub async fn run(&self) {
        self.run_keeping(Retention::default()).await;
    }

    async fn run_keeping(&self, retention: Retention) {
        let mut trimmed: Option<Instant> = None;
        // The first step is due at once: nobody knows when the one before was.
        let mut due = true;
        loop {
            let wake = {
                let mut state = self.state();
                let trim = trimmed.is_none_or(|at| at.elapsed() >= TRIM_EVERY)
                    || far_over(&state.world, retention);
                if due || trim {
                    let now = SystemTime::now();
                    match self.0.store.begin() {
                        Ok(batch) => {
                            let mut changes = Vec::new();
                            if trim {
                                trimmed = Some(Instant::now());
                                changes = store::trim(&state.world, retention, now);
                                self.apply(&mut state, &changes, now);
                            }
                            changes.extend(self.settle(&mut state, now));
                            self.keep(batch, &changes);
                        }
                        Err(error) if !Self::postpone(&mut state, &error, now) => return,
                        Err(_) => {}
                    }
                }
                state.wake
            };
            // cancel-safe: both only wait.
            due = tokio::select! {
                () = tokio::time::sleep(pause(wake, SystemTime::now())) => true,
                // Somebody else took the step: there is only another time to wait for.
                () = self.0.timer.notified() => false,
            };
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
pub(super) fn far_over(world: &World, retention: Retention) -> bool {
    let most = retention.count.saturating_add(retention.count / 2);
    if world.leases.len() <= most {
        return false;
    }
    let ended = world.leases.values().filter(|lease| lease.over.is_some());
    ended.count() > most
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use futures::FutureExt;

    use super::*;
    use crate::{
        model::{End, Lease, Over},
        sample,
        schedule::Settings,
        store::{Change, Store},
    };

    const HOUR: Duration = Duration::from_secs(3600);

    /// With the client `alice` and the exporter `rig-1`, which is there.
    async fn lab(directory: &Path) -> Engine {
        let store = Store::open(directory).unwrap();
        let engine = Engine::open("lab".into(), store, Settings::default()).unwrap();
        let mut world = World::default();
        sample::client(&mut world, "alice", &[]);
        sample::exporter(&mut world, "rig-1", &[("board", "rpi4")]);
        let (alice, rig) = (
            world.clients.remove("alice"),
            world.exporters.remove("rig-1"),
        );
        let all = vec![
            Change::Client("alice".into(), alice),
            Change::Exporter("rig-1".into(), rig),
        ];
        engine.change(|_, _| Ok(((), all))).await.unwrap();
        engine
    }

    /// An hour of any board, asked for now.
    async fn ask(engine: &Engine, name: &str) {
        let plan = engine.change(|world, now| {
            let mut next = world.clone();
            sample::ask(&mut next, name, "alice", sample::request("board"), now);
            let lease = next.leases.remove(name);
            Ok(((), vec![Change::Lease(name.to_owned(), lease)]))
        });
        plan.await.unwrap();
    }

    /// Adds leases that ended some seconds ago, the first of them first.
    async fn ended(engine: &Engine, names: &[&str], ago: Duration) {
        let plan = engine.change(|world, now| {
            let mut next = world.clone();
            let mut changes = Vec::new();
            for (at, name) in (0..).zip(names) {
                sample::ask(&mut next, name, "alice", sample::request("board"), now);
                let over = Over {
                    at: now - ago + Duration::from_secs(at),
                    how: End::Released,
                };
                let lease = Lease {
                    over: Some(over),
                    ..next.leases[*name].clone()
                };
                changes.push(Change::Lease((*name).to_owned(), Some(lease)));
            }
            Ok(((), changes))
        });
        plan.await.unwrap();
    }

    fn names(engine: &Engine) -> Vec<String> {
        engine.read(|world| world.leases.keys().cloned().collect())
    }

    /// Runs until there are only these leases; gives how long that took.
    async fn run_until(engine: &Engine, retention: Retention, expected: &[&str]) -> Duration {
        let mut version = engine.version();
        let begin = Instant::now();
        let until = async {
            while names(engine) != expected {
                version.changed().await.unwrap();
            }
        };
        let run = engine.run_keeping(retention);
        let within = tokio::time::timeout(3 * TRIM_EVERY, async {
            tokio::select! {
                () = run => {}
                () = until => {}
            }
        });
        within
            .await
            .unwrap_or_else(|_| panic!("{:?}", names(engine)));
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn what_ended_long_ago_is_forgotten_at_the_start_and_on_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let engine = lab(directory.path()).await;
        ask(&engine, "open").await;
        ended(&engine, &["old", "older"], 3 * HOUR).await;
        ended(&engine, &["new"], HOUR).await;
        let retention = Retention {
            age: 2 * HOUR,
            count: 10,
        };
        run_until(&engine, retention, &["new", "open"]).await;
        let last_number = engine.read(|world| world.last_number);
        drop(engine);
        let kept = Store::open(directory.path()).unwrap().load().unwrap().world;
        assert_eq!(kept.leases.into_keys().collect::<Vec<_>>(), ["new", "open"]);
        assert_eq!(kept.last_number, last_number);
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_too_many_wait_for_their_turn_and_far_too_many_do_not() {
        const KEPT: Retention = Retention {
            age: Duration::from_secs(24 * 3600),
            count: 2,
        };
        for (all, left, wait) in [
            (
                &["a", "b", "c"][..],
                &["b", "c"],
                TRIM_EVERY..=TRIM_EVERY + AT_LEAST,
            ),
            (
                &["a", "b", "c", "d"],
                &["c", "d"],
                Duration::ZERO..=AT_LEAST,
            ),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let engine = lab(directory.path()).await;
            let mut first = engine.version();
            let of_task = engine.clone();
            let run = tokio::spawn(async move { of_task.run_keeping(KEPT).await });
            let _run = tokio_util::task::AbortOnDropHandle::new(run);
            // The look at the start finds nothing.
            first.changed().await.unwrap();
            let begin = Instant::now();
            let mut version = engine.version();
            // Not waited for: the paused clock would run on while the disk is busy.
            assert!(ended(&engine, all, HOUR).now_or_never().is_none());
            while names(&engine) != left {
                version.changed().await.unwrap();
            }
            let took = begin.elapsed();
            assert!(wait.contains(&took), "{} leases: {took:?}", all.len());
        }
    }

    #[tokio::test]
    async fn a_clock_that_was_set_forward_ends_what_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let engine = lab(directory.path()).await;
        ask(&engine, "one").await;
        engine.step(&mut engine.state(), SystemTime::now() + 2 * HOUR);
        let over = engine.read(|world| world.leases["one"].over.clone());
        assert_eq!(over.unwrap().how, End::Expired);
    }

    #[tokio::test]
    async fn a_clock_that_was_set_back_lengthens_no_lease() {
        let directory = tempfile::tempdir().unwrap();
        let engine = lab(directory.path()).await;
        ask(&engine, "one").await;
        let earlier = SystemTime::now() - 24 * HOUR;
        engine.step(&mut engine.state(), earlier);
        let wake = engine.state().wake.unwrap();
        assert_eq!(wake, earlier + HOUR);
        engine.step(&mut engine.state(), wake);
        assert!(engine.read(|world| world.leases["one"].over.is_some()));
    }

    #[test]
    fn a_clock_that_is_set_is_noticed_within_half_a_minute() {
        let now = SystemTime::now();
        for (wake, wait) in [
            (None, AT_LEAST),
            (Some(now + 24 * 365 * HOUR), AT_LEAST),
            (Some(now + Duration::from_secs(7)), Duration::from_secs(7)),
            (Some(now), Duration::ZERO),
            (Some(now - 24 * 365 * HOUR), Duration::ZERO),
        ] {
            assert_eq!(pause(wake, now), wait, "{wake:?}");
        }
    }
}
