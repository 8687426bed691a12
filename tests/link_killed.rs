//! A daemon that is killed at any moment of a lease makes good what was left, once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

mod lab;
mod leased;
mod support;
mod traffic;

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use leased::{Board, LIMIT, dice, seed, within};
use rand::{RngExt as _, rngs::StdRng};
use rigd_client::ExporterStatus;
use rustix::process::Signal;
use serde_json::Value;
use support::{daemon::Daemon, lines::Lines, settings::Settings};
use tokio::task::JoinSet;
use traffic::run::Running;

/// Daemons side by side.
const DAEMONS: u64 = 8;
const KILLS: usize = 100;
/// From a line that is written to a line that was read.
const LINES_LIMIT: Duration = Duration::from_secs(5);

/// Each hook leaves a line when it begins, and lasts long enough to be hit. Nothing but safeState
/// switches anything off.
const EXPORT: &str = "\
export:
  power: {type: power.mock}
  relay: {type: power.mock}
hooks:
  beforeLease:
    script: |
      echo before $LEASE_NAME >> @DIR@/trace
      sleep 0.03
  afterLease:
    script: |
      echo after $LEASE_NAME >> @DIR@/trace
      sleep 0.03
safeState:
  - {call: relay.off}
";

/// How far the journal says that a lease had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Nothing of this lease.
    Nothing,
    Before,
    Ready,
    After,
    Done,
}

/// What the controller does while the daemon is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// The lease goes on.
    Kept,
    /// It is over.
    Ended,
    /// It is over and another one has begun.
    Followed,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_kills_at_any_moment_are_made_good() {
    let begin = Instant::now();
    let seed = seed();
    let mut workers = JoinSet::new();
    for part in 0..DAEMONS {
        // The first of them make up for the rest of the division.
        let kills = (KILLS + (DAEMONS - 1 - part) as usize) / DAEMONS as usize;
        workers.spawn(async move {
            let mut rig = Rig::new(part);
            let mut dice = dice(seed, part);
            for _ in 0..kills {
                rig.round(&mut dice).await;
            }
            rig.end().await
        });
    }
    let mut hit = BTreeMap::<(Phase, Fate), usize>::new();
    while let Some(done) = workers.join_next().await {
        match done {
            Ok(phases) => phases
                .into_iter()
                .for_each(|it| *hit.entry(it).or_default() += 1),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    println!("{:.1?}; hit in {hit:?}", begin.elapsed());
    assert_eq!(hit.values().sum::<usize>(), KILLS);
    for wanted in [Phase::Before, Phase::Ready, Phase::After] {
        let found = hit.keys().any(|(phase, _)| *phase == wanted);
        assert!(found, "no kill in {wanted:?}: {hit:?}");
    }
}

struct Rig {
    board: Board,
    settings: Settings,
    file: PathBuf,
    daemon: Running,
    /// What this daemon and those before it said.
    said: Vec<Lines>,
    /// The leases that were hit, and where.
    hit: Vec<(String, Phase, Fate)>,
    /// Those that a daemon was not killed in.
    whole: Vec<String>,
}

impl Rig {
    fn new(part: u64) -> Self {
        let (board, settings) = (Board::new(format!("rig-{part}")), Settings::new());
        let file = board.configure(&settings, EXPORT);
        let daemon = start(&settings, &file);
        Self {
            board,
            settings,
            file,
            said: vec![daemon.output.clone()],
            daemon,
            hit: Vec::new(),
            whole: Vec::new(),
        }
    }

    /// A lease, a kill in it, and what follows.
    async fn round(&mut self, dice: &mut StdRng) {
        self.available().await;
        let board = &self.board;
        let safe = self.safe_states();
        let lease = board.lab.lease(&board.name, "bench");
        // Either in its first half or, after a client has acted, in its second.
        let (mark, acted) = (board.mark(), dice.random_bool(0.5));
        let mut fate = match dice.random_range(0..3) {
            0 => Fate::Kept,
            1 => Fate::Ended,
            _ => Fate::Followed,
        };
        if acted {
            board.reports(mark, ExporterStatus::LeaseReady).await;
            if dice.random_bool(0.3) {
                let holder = board.holder(&lease).await;
                holder.call("power", "on").await.unwrap();
            }
            board.lab.end_lease(&lease);
            fate = if fate == Fate::Kept {
                Fate::Ended
            } else {
                fate
            };
        }
        let moment = Duration::from_micros(dice.random_range(0..70_000));
        tokio::time::sleep(moment).await;
        self.kill();
        let phase = self.journal(&lease);
        let before = self.count("before", &lease);
        assert!(before <= 1, "{}", self.story());

        let board = &self.board;
        match fate {
            Fate::Kept => {}
            Fate::Ended => board.lab.end_lease(&lease),
            Fate::Followed => {
                board.lab.end_lease(&lease);
                board.lab.lease(&board.name, "other");
            }
        }
        let mark = board.mark();
        self.daemon = start(&self.settings, &self.file);
        self.said.push(self.daemon.output.clone());
        if let Some(current) = board.lab.lease_of(&board.name) {
            board.reports(mark, ExporterStatus::LeaseReady).await;
            let holder = board.holder(&current).await;
            let call = holder.call("power", "on");
            within("a call after the restart", call).await.unwrap();
            board.lab.end_lease(&current);
            holder.read_until_free().await;
            if current != lease {
                self.whole.push(current);
            }
        }
        self.available().await;
        let after = self.count("after", &lease);
        // What a hook that was hit at its very start may not have written comes to light here.
        let begun = fate == Fate::Kept || phase > Phase::Nothing;
        assert!(
            after <= 1 && (after == 1 || !begun || phase == Phase::After),
            "afterLease ran {after} times for {lease}, hit in {phase:?}, {fate:?}: {}",
            self.story()
        );
        let wanted = usize::from(begun) + usize::from(fate == Fate::Followed);
        assert!(
            self.made_safe(safe + wanted).await,
            "safeState did not run after {lease}, hit in {phase:?}, {fate:?}: {}",
            self.story()
        );
        self.hit.push((lease, phase, fate));
    }

    /// A lease that nobody disturbs, and a look at all that were.
    async fn end(mut self) -> Vec<(Phase, Fate)> {
        self.available().await;
        let (board, mark) = (&self.board, self.board.mark());
        let lease = board.lab.lease(&board.name, "bench");
        board.reports(mark, ExporterStatus::LeaseReady).await;
        let mark = board.mark();
        board.lab.end_lease(&lease);
        board.reports(mark, ExporterStatus::Available).await;
        self.whole.push(lease);
        for lease in &self.whole {
            let (before, after) = (self.count("before", lease), self.count("after", lease));
            assert_eq!((before, after), (1, 1), "{lease}: {}", self.story());
        }
        for (lease, phase, _) in &self.hit {
            // A hook outlives the daemon: what it wrote late is there by now.
            let (before, after) = (self.count("before", lease), self.count("after", lease));
            assert!(before <= 1 && after <= 1, "{lease}: {}", self.story());
            assert!(
                *phase < Phase::Ready || before == 1,
                "{lease}: {}",
                self.story()
            );
        }
        self.daemon.signal(Signal::TERM);
        let code = self.daemon.ended(LIMIT).code();
        assert_eq!(code, Some(0), "{}", self.daemon.output.text());
        self.hit
            .into_iter()
            .map(|(_, phase, fate)| (phase, fate))
            .collect()
    }

    /// Waits until the exporter is free.
    async fn available(&self) {
        let board = &self.board;
        let free = async {
            while board.lab.lease_of(&board.name).is_some()
                || board.lab.status_of(&board.name).map(|it| it.0)
                    != Some(ExporterStatus::Available)
                || matches!(self.phase().1, Phase::Before | Phase::Ready | Phase::After)
            {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let free = tokio::time::timeout(LIMIT, free).await;
        assert!(free.is_ok(), "it is not free: {}", self.story());
    }

    fn kill(&mut self) {
        self.daemon.signal(Signal::KILL);
        self.daemon.ended(LIMIT);
    }

    fn safe_states(&self) -> usize {
        let ran = |lines: &Lines| lines.text().matches("power off").count();
        self.said.iter().map(ran).sum()
    }

    /// Waits until it ran that often; the daemon's lines may come later than what they tell of.
    async fn made_safe(&self, wanted: usize) -> bool {
        let ran = async {
            while self.safe_states() < wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LINES_LIMIT, ran).await.is_ok()
    }

    fn count(&self, hook: &str, lease: &str) -> usize {
        let trace = fs::read_to_string(self.settings.path("trace")).unwrap_or_default();
        let wanted = format!("{hook} {lease}");
        trace.lines().filter(|line| *line == wanted).count()
    }

    /// Of which lease the journal speaks, and how far that is.
    fn phase(&self) -> (String, Phase) {
        let dir = self.settings.path("state/exporters").join(&self.board.name);
        let Ok(text) = fs::read_to_string(dir.join("lease.json")) else {
            return (String::new(), Phase::Nothing);
        };
        let entry: Value = serde_json::from_str(&text).unwrap();
        let phase = match entry["phase"].as_str().unwrap() {
            "before_lease" => Phase::Before,
            "ready" => Phase::Ready,
            "after_lease" => Phase::After,
            "done" => Phase::Done,
            other => panic!("the journal holds {other}"),
        };
        (entry["lease"].as_str().unwrap().to_owned(), phase)
    }

    fn journal(&self, lease: &str) -> Phase {
        let (name, phase) = self.phase();
        if name == lease { phase } else { Phase::Nothing }
    }

    fn story(&self) -> String {
        let trace = fs::read_to_string(self.settings.path("trace")).unwrap_or_default();
        let said: Vec<_> = self.said.iter().map(Lines::text).collect();
        format!("\n{trace}\n{}", said.join("\nkilled, and started anew:\n"))
    }
}

fn start(settings: &Settings, file: &PathBuf) -> Running {
    let mut command = Daemon::command(settings);
    command.arg("run").arg(file);
    Running::spawn(command)
}
