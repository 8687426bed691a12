//! The running demuxer: a process group of its own, which dies with the daemon, and its lines.

#![allow(
    unsafe_code,
    reason = "what a child does between fork and exec can only be said by unsafe code"
)]

use std::{io, path::Path, process::Stdio, time::Duration};

use rustix::process::{
    Pid, Signal, getpid, getppid, kill_process_group, set_parent_process_death_signal,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader},
    process::{ChildStderr, ChildStdout, Command},
    time::timeout,
};

/// How long the program has after SIGTERM; upstream's figure.
const GRACE: Duration = Duration::from_secs(5);
/// A line of the map is short; what has no end is cut.
const MAX_LINE: u64 = 4096;

/// A line that the program said.
#[derive(Debug)]
pub(super) enum Said {
    /// On its output.
    Line(String),
    /// On its error output.
    Complaint(String),
}

#[derive(Debug)]
pub(super) struct Child {
    process: tokio::process::Child,
    group: Option<Pid>,
    out: Lines<ChildStdout>,
    err: Lines<ChildStderr>,
}

impl Child {
    /// Starts `PATH -m CHIP -d DEVICE`. The thread has to live as long as the program shall.
    pub(super) fn start(path: &Path, chip: &str, device: &Path) -> io::Result<Self> {
        let mut command = Command::new(path);
        command.args(["-m", chip, "-d"]).arg(device).env_clear();
        for name in ["PATH", "HOME", "LANG"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        let daemon = getpid();
        let die_with_it = move || {
            set_parent_process_death_signal(Some(Signal::TERM))?;
            // It may have died before it was said.
            if getppid() != Some(daemon) {
                return Err(io::ErrorKind::Other.into());
            }
            Ok(())
        };
        // SAFETY: both are system calls, which are safe between fork and exec, and nothing allocates.
        unsafe { command.pre_exec(die_with_it) };
        let mut process = command.spawn()?;
        let group = process.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let (out, err) = (process.stdout.take(), process.stderr.take());
        Ok(Self {
            process,
            group,
            out: Lines::new(out),
            err: Lines::new(err),
        })
    }

    /// What it says next; `None` when it has ended, or said the last. Cancel-safe.
    pub(super) async fn said(&mut self) -> Option<Said> {
        // Complaints first: they say why there are no lines.
        // cancel-safe: a line that is not whole stays where it is.
        tokio::select! {
            biased;
            Some(line) = self.err.next() => Some(Said::Complaint(line)),
            Some(line) = self.out.next() => Some(Said::Line(line)),
            _ = self.process.wait() => None,
            else => None,
        }
    }

    /// Ends it if it runs, and tells how it ended.
    pub(super) async fn stop(mut self) -> String {
        let shown = |status: io::Result<std::process::ExitStatus>| match status {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        if let Ok(Some(status)) = self.process.try_wait() {
            return shown(Ok(status));
        }
        self.signal(Signal::TERM);
        if let Ok(status) = timeout(GRACE, self.process.wait()).await {
            return shown(status);
        }
        self.signal(Signal::KILL);
        shown(self.process.wait().await)
    }

    /// To the whole group; one that is gone already is as good.
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            kill_process_group(group, signal).ok();
        }
    }
}

/// Lines of a pipe, each up to the bound.
#[derive(Debug)]
struct Lines<R> {
    pipe: Option<BufReader<R>>,
    line: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    fn new(pipe: Option<R>) -> Self {
        Self {
            pipe: pipe.map(BufReader::new),
            line: Vec::new(),
        }
    }

    /// Cancel-safe.
    async fn next(&mut self) -> Option<String> {
        let pipe = self.pipe.as_mut()?;
        let room = MAX_LINE.saturating_sub(self.line.len() as u64);
        // cancel-safe: what was read before stays in `line`.
        let read = pipe.take(room).read_until(b'\n', &mut self.line).await;
        if !matches!(read, Ok(1..)) && self.line.is_empty() {
            self.pipe = None;
            return None;
        }
        let line = std::mem::take(&mut self.line);
        Some(String::from_utf8_lossy(&line).trim_end().to_owned())
    }
}
