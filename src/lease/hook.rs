//! One run of a lease hook: a process group on a terminal of its own, its output, its end.
//!
//! ```text
//!   Running ── the script exits ─────────────────────────────┐
//!      │                                                     v
//!      └── timeout, cut ──> Ending (TERM) ── grace ──> Killed ──> rest of the group killed,
//!                              └── exits ────────────────────┘    reaped, output drained
//! ```
//!
//! Nothing that belongs to the group outlives the hook, not even after a good exit: a background
//! process of one lease would hold hardware of the next. A process that leaves the group on purpose
//! (`setsid`, `systemd-run`) is not followed; it loses its terminal. The group stays in the session
//! of the daemon, since only the kernel's `setsid` could move it.
//!
//! It never waits for a process that only holds the terminal, never stops reading while the hook
//! runs, and never signals a group whose number could be another one's by now.

use std::{future::pending, io, path::PathBuf, pin::pin, process::ExitStatus, sync::Arc};

use rigd_proto::v1::LogSource;
use tokio::{
    sync::watch,
    time::{Duration, Instant, sleep},
};

use super::machine::{HOOK_GRACE, Hook, Outcome};
use crate::{config, session::LogHub};

mod command;
mod group;
pub(crate) mod motd;
mod output;

use command::Started;
use group::Group;
use output::Output;

/// What a hook is told of its lease.
#[derive(Debug, Clone)]
pub struct HookContext {
    /// Which of the two it is.
    pub kind: Hook,
    /// Name of the lease: `LEASE_NAME`. Without a controller it is `standalone`.
    pub lease: String,
    /// Who holds it, empty when nobody is known: `CLIENT_NAME`.
    pub client: String,
    /// The socket on which `j` finds the exporter: `JUMPSTARTER_HOST`.
    pub host: PathBuf,
    /// A file for a message to the client: `JMP_MOTD_FILE`, for beforeLease only.
    pub motd_file: Option<PathBuf>,
}

impl HookContext {
    fn source(&self) -> LogSource {
        match self.kind {
            Hook::Before => LogSource::BeforeLeaseHook,
            Hook::After => LogSource::AfterLeaseHook,
        }
    }
}

/// Why a hook could not be run, as opposed to one that ran and failed.
#[derive(Debug, thiserror::Error)]
enum HookError {
    #[error("cannot open a terminal for it: {0}")]
    Terminal(#[source] io::Error),
    #[error("cannot run {program:?}: {source}; {remedy}")]
    Start {
        program: String,
        source: io::Error,
        remedy: &'static str,
    },
    #[error("cannot wait for it: {0}")]
    Wait(#[source] io::Error),
}

/// How long a hook may take, and how long to end after it was asked to.
#[derive(Debug, Clone, Copy)]
struct Limits {
    run: Duration,
    grace: Duration,
}

/// Why a hook was ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    TimedOut,
    Cut,
}

/// How long this hook may run. Zero and less, which upstream takes too, end it as it starts.
pub fn time_limit(hook: &config::Hook) -> Duration {
    Duration::from_secs(u64::try_from(hook.timeout).unwrap_or_default())
}

/// Runs a hook to its end and pushes what it prints to `logs`, a line at a time.
///
/// A value in `cut` ends it: TERM to its group, KILL to its group after that time (5 s at most;
/// a later value can only shorten it). A value that is there before the start prevents it.
///
/// It returns when the script is gone, at most 3 s later. A process that not even KILL ends (it
/// hangs in the kernel) keeps it waiting, for whoever waits to decide what that means. Dropping the
/// future kills the group.
pub async fn run(
    hook: &config::Hook,
    cx: HookContext,
    logs: Arc<LogHub>,
    cut: watch::Receiver<Option<Duration>>,
) -> Outcome {
    let limits = Limits {
        run: time_limit(hook),
        grace: HOOK_GRACE,
    };
    run_within(limits, hook, &cx, logs, cut).await
}

async fn run_within(
    limits: Limits,
    hook: &config::Hook,
    cx: &HookContext,
    logs: Arc<LogHub>,
    mut cut: watch::Receiver<Option<Duration>>,
) -> Outcome {
    if hook.script.trim().is_empty() {
        return Outcome::Done;
    }
    if cut.borrow_and_update().is_some() {
        return Outcome::Failed("Hook was cut short before it began".into());
    }
    let text = match execute(limits, hook, cx, logs, cut).await {
        Ok((_, Some(Why::TimedOut))) => {
            format!(
                "Hook timed out after {} seconds",
                time_limit(hook).as_secs()
            )
        }
        Ok((_, Some(Why::Cut))) => "Hook was cut short".into(),
        Ok((status, None)) if status.success() => return Outcome::Done,
        Ok((status, None)) => format!("Hook failed with exit code {}", exit_code(status)),
        Err(error) => format!("Error executing hook: {error}"),
    };
    Outcome::Failed(text)
}

/// The number that upstream shows: a signal is negative.
fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    let signal = status.signal().map_or(0, |signal| -signal);
    status.code().unwrap_or(signal)
}

async fn execute(
    limits: Limits,
    hook: &config::Hook,
    cx: &HookContext,
    logs: Arc<LogHub>,
    mut cut: watch::Receiver<Option<Duration>>,
) -> Result<(ExitStatus, Option<Why>), HookError> {
    let Started {
        mut group,
        mut output,
    } = command::start(hook, cx, logs)?;
    let why = attend(limits, &mut group, &mut output, &mut cut).await?;
    let status = group.finish().await.map_err(HookError::Wait)?;
    output.drain().await;
    Ok((status, why))
}

/// Reads what the group prints until its leader has exited, and ends it when it must.
async fn attend(
    limits: Limits,
    group: &mut Group,
    output: &mut Output,
    cut: &mut watch::Receiver<Option<Duration>>,
) -> Result<Option<Why>, HookError> {
    let mut timer = pin!(sleep(limits.run));
    let (mut why, mut killed) = (None, false);
    loop {
        tokio::select! {
            exited = group.exited() => {
                exited.map_err(HookError::Wait)?;
                return Ok(why);
            }
            _ = output.read(), if !output.closed() => {}
            () = &mut timer, if !killed => {
                if why.is_some() {
                    group.kill();
                    killed = true;
                } else {
                    why = Some(Why::TimedOut);
                    group.end();
                    timer.as_mut().reset(Instant::now() + limits.grace);
                }
            }
            grace = next_cut(cut), if !killed => {
                let mut kill_at = Instant::now() + grace.min(limits.grace);
                if why.is_some() {
                    kill_at = kill_at.min(timer.deadline());
                }
                why.get_or_insert(Why::Cut);
                group.end();
                timer.as_mut().reset(kill_at);
            }
        }
    }
}

/// The next order to end the hook; for ever without one. Cancel-safe.
async fn next_cut(cut: &mut watch::Receiver<Option<Duration>>) -> Duration {
    while cut.changed().await.is_ok() {
        if let Some(grace) = *cut.borrow_and_update() {
            return grace;
        }
    }
    pending().await
}

#[cfg(test)]
mod tests;
