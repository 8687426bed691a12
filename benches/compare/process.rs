//! A process under measurement, and what the kernel says about it and its children.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::os::unix::process::CommandExt;

use crate::Failure;

/// The unit of CPU time in /proc, 100 a second on every architecture that Linux runs a lab on.
const TICKS_A_SECOND: f64 = 100.0;

/// Python needs two thirds of a second.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Fine enough for figures of some milliseconds.
const POLL: Duration = Duration::from_micros(200);

/// A process with its own group, killed with all its children when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

/// Memory of a process and all below it, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) rss: f64,
    pub(crate) pss: f64,
}

impl Process {
    /// Starts it; all it prints goes to a file.
    pub(crate) fn start(command: &mut Command, log: PathBuf) -> Result<Self, Failure> {
        let file = File::create(&log)?;
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .map_err(|error| format!("cannot start {:?}: {error}", command.get_program()))?;
        Ok(Self { child, log })
    }

    /// An error with the last lines that it printed, if it is over.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        let Some(status) = self.child.try_wait()? else {
            return Ok(());
        };
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.split_at(lines.len().saturating_sub(10)).1.join("\n");
        Err(format!("ended with {status}: {last}").into())
    }

    /// Sends SIGTERM and says how long the process took to end.
    pub(crate) fn terminate(mut self) -> Result<Duration, Failure> {
        let began = Instant::now();
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        while self.child.try_wait()?.is_none() {
            if began.elapsed() > STOP_LIMIT {
                return Err(format!("still there {STOP_LIMIT:?} after SIGTERM").into());
            }
            std::thread::sleep(POLL);
        }
        Ok(began.elapsed())
    }

    /// User and system time so far, in seconds. Precise to some hundredths.
    pub(crate) fn cpu(&self) -> Result<f64, Failure> {
        let mut seconds = 0.0;
        for pid in self.tree()? {
            seconds += cpu_of(pid)?;
        }
        Ok(seconds)
    }

    /// Memory now.
    pub(crate) fn memory(&self) -> Result<Memory, Failure> {
        let mut sum = Memory { rss: 0.0, pss: 0.0 };
        for pid in self.tree()? {
            let smaps = PathBuf::from(format!("/proc/{pid}/smaps_rollup"));
            sum.rss += bytes_of(&smaps, "Rss:")?;
            sum.pss += bytes_of(&smaps, "Pss:")?;
        }
        Ok(sum)
    }

    /// Forgets the peaks so far.
    pub(crate) fn reset_peak(&self) -> Result<(), Failure> {
        for pid in self.tree()? {
            // 5 resets the high-water mark of the resident set, see proc_pid_clear_refs(5).
            fs::write(format!("/proc/{pid}/clear_refs"), "5")?;
        }
        Ok(())
    }

    /// Highest resident set of any of the processes since the last reset, in bytes.
    pub(crate) fn peak(&self) -> Result<f64, Failure> {
        let mut peak: f64 = 0.0;
        for pid in self.tree()? {
            let status = PathBuf::from(format!("/proc/{pid}/status"));
            peak = peak.max(bytes_of(&status, "VmHWM:")?);
        }
        Ok(peak)
    }

    /// The process and all below it.
    fn tree(&self) -> Result<Vec<u32>, Failure> {
        let mut parents = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let pid = name.to_str().and_then(|name| name.parse::<u32>().ok());
            if let Some((pid, stat)) = pid.and_then(|pid| Some((pid, Stat::read(pid)?))) {
                parents.push((pid, stat.parent));
            }
        }
        let mut tree = vec![self.child.id()];
        let mut next = 0;
        while let Some(&parent) = tree.get(next) {
            tree.extend((parents.iter()).filter(|it| it.1 == parent).map(|it| it.0));
            next += 1;
        }
        Ok(tree)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            // It is over, and its number may be somebody else's.
            return;
        }
        // A server of Python's has a child with a session of its own. While their parent is not waited
        // for, all of them are what the numbers say.
        let below = self.tree().unwrap_or_default();
        kill_process_group(Pid::from_child(&self.child), Signal::KILL).ok();
        for pid in below
            .into_iter()
            .skip(1)
            .filter_map(|pid| Pid::from_raw(pid as i32))
        {
            kill_process(pid, Signal::KILL).ok();
        }
        self.child.wait().ok();
    }
}

/// User and system time of one process so far, in seconds.
pub(crate) fn cpu_of(pid: u32) -> Result<f64, Failure> {
    let stat = Stat::read(pid).ok_or("a process ended while it was measured")?;
    Ok(stat.ticks / TICKS_A_SECOND)
}

struct Stat {
    parent: u32,
    ticks: f64,
}

impl Stat {
    /// `None` when the process has ended.
    fn read(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is a name in parentheses and may hold anything.
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let (user, system): (f64, f64) =
            (fields.get(11)?.parse().ok()?, fields.get(12)?.parse().ok()?);
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            ticks: user + system,
        })
    }
}

/// A line of the form `Key:   123 kB`.
fn bytes_of(file: &Path, key: &str) -> Result<f64, Failure> {
    let text = fs::read_to_string(file)?;
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.trim().strip_suffix(" kB"))
        .and_then(|number| number.trim().parse::<f64>().ok())
        .ok_or_else(|| format!("no {key} in {}", file.display()))?;
    Ok(kib * 1024.0)
}
