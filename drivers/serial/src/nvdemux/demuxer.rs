//! One demuxer program for all consoles of a board: started, watched, and started again.
//!
//! ```text
//!   looking for the device ──found──> running: the map of targets grows ──exit──> waiting
//!        ^   └──none, poll_interval─┘                └── locked: stopped ──────────^ │
//!        └───────────────────────── back-off ─────────────────────────────────────────┘
//! ```
//!
//! It has a thread of its own, since the program is to die with the daemon: the kernel sends that
//! signal when the thread ends that started it. Nothing that the program does stops the daemon or
//! another instance.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info, warn};

use super::{
    child::{Child, Said},
    pattern::expand,
};

/// The longest wait before another start. A shorter one than `poll_interval` it never is.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// A program that ran for so long did work: the next start comes soon again.
const STEADY: Duration = Duration::from_secs(10);
/// Consoles of one board. The chips have about a dozen.
const MAX_TARGETS: usize = 64;
/// What the program says when another one has the device.
const LOCKED: &str = "ERROR: unable to obtain file lock";

static DEMUXERS: Mutex<BTreeMap<(String, String), Weak<Demuxer>>> = Mutex::new(BTreeMap::new());

/// What all instances of a demuxer have to agree on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) chip: String,
    pub(super) device: String,
    pub(super) poll_interval: Duration,
}

impl Program {
    /// How another instance for the same device differs, in upstream's words. The interval is
    /// that of the first.
    pub(super) fn mismatch(&self, other: &Self) -> Option<String> {
        let differs = |what: &str, ours: &str, theirs: &str| {
            (ours != theirs).then(|| format!("{what} mismatch: {ours} != {theirs}"))
        };
        let path = |program: &Self| program.path.display().to_string();
        differs("Demuxer path", &path(other), &path(self))
            .or_else(|| differs("Chip", &other.chip, &self.chip))
    }
}

/// What upstream says of two instances with one target.
pub(super) fn taken(target: &str) -> String {
    format!("Target '{target}' already registered by another driver")
}

/// Where the consoles are.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Map {
    /// The program runs; the path of each target that it has named so far.
    Running(BTreeMap<String, PathBuf>),
    /// There is no device, or no program for now.
    Absent(String),
    /// The program does not work.
    Faulty(String),
}

/// A demuxer that several instances share.
#[derive(Debug)]
pub(super) struct Demuxer {
    program: Program,
    map: watch::Sender<Map>,
    targets: Mutex<BTreeSet<String>>,
    stop: CancellationToken,
    ended: CancellationToken,
}

impl Demuxer {
    /// That of this exporter and device, started when there is none yet.
    ///
    /// # Errors
    /// What does not go together, as a text.
    pub(super) fn join(
        exporter: &str,
        program: &Program,
        target: &str,
    ) -> Result<Membership, String> {
        let mut demuxers = DEMUXERS.lock().unwrap_or_else(PoisonError::into_inner);
        demuxers.retain(|_, demuxer| demuxer.strong_count() > 0);
        let key = (exporter.to_owned(), program.device.clone());
        let demuxer = match demuxers.get(&key).and_then(Weak::upgrade) {
            Some(demuxer) => {
                if let Some(mismatch) = demuxer.program.mismatch(program) {
                    return Err(mismatch);
                }
                demuxer
            }
            None => {
                let demuxer = Arc::new(Self::start(program)?);
                demuxers.insert(key, Arc::downgrade(&demuxer));
                demuxer
            }
        };
        let target = target.to_owned();
        let fresh = demuxer.targets().insert(target.clone());
        if !fresh {
            return Err(taken(&target));
        }
        Ok(Membership { demuxer, target })
    }

    fn start(program: &Program) -> Result<Self, String> {
        let map = watch::Sender::new(Map::Absent("the demuxer is being started".into()));
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let runner = Runner {
            program: program.clone(),
            map: map.clone(),
            stop: stop.clone(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("cannot start a thread for the demuxer: {error}"))?;
        let over = ended.clone().drop_guard();
        let span = tracing::Span::current();
        let run = move || {
            runtime.block_on(runner.run().instrument(span));
            drop(over);
        };
        let thread = std::thread::Builder::new().name("rigd:nvdemux".into());
        thread
            .spawn(run)
            .map_err(|error| format!("cannot start a thread for the demuxer: {error}"))?;
        Ok(Self {
            program: program.clone(),
            map,
            targets: Mutex::default(),
            stop,
            ended,
        })
    }

    pub(super) fn map(&self) -> watch::Receiver<Map> {
        self.map.subscribe()
    }

    fn targets(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Demuxer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The use of a demuxer for one target. The last one that is dropped stops the program.
#[derive(Debug)]
pub(super) struct Membership {
    demuxer: Arc<Demuxer>,
    target: String,
}

impl Membership {
    pub(super) fn map(&self) -> watch::Receiver<Map> {
        self.demuxer.map()
    }

    /// Gives it back; `Some` resolves when the program is gone, if nobody else uses it.
    pub(super) fn leave(self) -> Option<CancellationToken> {
        let (ended, rest) = (self.demuxer.ended.clone(), Arc::downgrade(&self.demuxer));
        drop(self);
        (rest.strong_count() == 0).then_some(ended)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.demuxer.targets().remove(&self.target);
    }
}

/// What the thread does.
struct Runner {
    program: Program,
    map: watch::Sender<Map>,
    stop: CancellationToken,
}

impl Runner {
    async fn run(self) {
        let shortest = self.program.poll_interval;
        let longest = shortest.max(MAX_WAIT);
        let mut wait = shortest;
        let mut told = Vec::new();
        loop {
            let found = expand(&self.program.device);
            let rest = match found.split_first() {
                None => {
                    let device = &self.program.device;
                    self.tell(Map::Absent(format!("no device matches {device}")));
                    wait = shortest;
                    shortest
                }
                Some((device, others)) => {
                    if !others.is_empty() && told != found {
                        let device = device.display();
                        warn!(%device, "{} devices match {}; the first is used.", found.len(), self.program.device);
                    }
                    told.clone_from(&found);
                    let started = tokio::time::Instant::now();
                    self.serve(&device.clone()).await;
                    if started.elapsed() >= STEADY {
                        wait = shortest;
                    }
                    let rest = wait;
                    wait = (wait * 2).min(longest);
                    rest
                }
            };
            // cancel-safe: both arms only wait.
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    /// One run of the program, until it has ended.
    async fn serve(&self, device: &std::path::Path) {
        let Program { path, chip, .. } = &self.program;
        let shown = path.display();
        let mut child = match Child::start(path, chip, device) {
            Ok(child) => child,
            Err(error) => {
                let text = format!("the demuxer {shown} cannot be started: {error}");
                return self.tell(Map::Faulty(text));
            }
        };
        info!(device = %device.display(), "Demuxer {shown} was started.");
        let mut targets = BTreeMap::new();
        self.tell(Map::Running(targets.clone()));
        let mut locked = None;
        loop {
            // cancel-safe: what the child said is taken whole or not at all.
            let said = tokio::select! {
                () = self.stop.cancelled() => None,
                said = child.said() => said,
            };
            match said {
                Some(Said::Line(line)) => {
                    let Some((target, path)) = mapping(&line) else {
                        debug!(line, "The demuxer said something else than a target.");
                        continue;
                    };
                    if targets.len() < MAX_TARGETS {
                        targets.insert(target, path);
                        self.tell(Map::Running(targets.clone()));
                    }
                }
                Some(Said::Complaint(line)) if line.contains(LOCKED) => {
                    locked = Some(line);
                    break;
                }
                Some(Said::Complaint(line)) => warn!("The demuxer says: {line}"),
                None => break,
            }
        }
        // The consoles are gone before anybody looks for them again.
        if let Some(line) = &locked {
            self.tell(Map::Faulty(format!(
                "another program uses {} ({line}); end it, or the other demuxer",
                device.display()
            )));
        } else {
            self.tell(Map::Absent("the demuxer has ended".into()));
        }
        let status = child.stop().await;
        if locked.is_none() && !self.stop.is_cancelled() {
            warn!("Demuxer {shown} has ended with {status}; it is started again.");
            self.tell(Map::Absent(format!("the demuxer has ended with {status}")));
        }
    }

    /// Tells what is new, and in the log what a person may have to see to, once.
    fn tell(&self, map: Map) {
        let changed = self.map.send_if_modified(|now| {
            let changed = *now != map;
            now.clone_from(&map);
            changed
        });
        if let (true, Map::Faulty(reason)) = (changed, &map) {
            warn!("{reason}");
        }
    }
}

/// The target and its path, of a line `PATH<tab>TARGET`.
fn mapping(line: &str) -> Option<(String, PathBuf)> {
    let (path, target) = line.split_once('\t')?;
    let (path, target) = (PathBuf::from(path.trim()), target.trim());
    (path.is_absolute() && !target.is_empty()).then(|| (target.to_owned(), path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_map() {
        let found = mapping("/dev/pts/3\tCCPLEX: 0");
        assert_eq!(found, Some(("CCPLEX: 0".into(), "/dev/pts/3".into())));
        for line in [
            "",
            "/dev/pts/3",
            "pts/3\tBPMP: 0",
            "/dev/pts/3\t ",
            "CCPLEX: 0",
        ] {
            assert_eq!(mapping(line), None, "{line}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_told_in_upstreams_words() {
        let one = Program {
            path: "/opt/demux".into(),
            chip: "T264".into(),
            device: "/dev/ttyACM*".into(),
            poll_interval: Duration::from_secs(1),
        };
        let mut other = one.clone();
        assert_eq!(one.mismatch(&other), None);
        other.chip = "T234".into();
        let text = one.mismatch(&other);
        assert_eq!(text.as_deref(), Some("Chip mismatch: T234 != T264"));
        other.path = "/opt/other".into();
        let text = one.mismatch(&other);
        let wanted = "Demuxer path mismatch: /opt/other != /opt/demux";
        assert_eq!(text.as_deref(), Some(wanted));
    }
}
