//! The process group of a hook: signals to all of it, and the reaping of all of it.
//!
//! The leader is kept as a zombie until the last signal was sent: as long as it is there, its number
//! cannot become another group's.

use std::{io, process::ExitStatus, time::Duration};

use rustix::{
    io::Errno,
    process::{
        Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process_group,
        test_kill_process_group, waitid, waitpgid,
    },
};
use tokio::{
    process::{Child, Command},
    signal::unix::{self, SignalKind},
    time::{sleep, timeout},
};

/// How long killed processes may take to be gone. Longer takes only one that hangs in the kernel, or
/// an init process that does not reap.
const GONE: Duration = Duration::from_millis(500);
/// Between two looks whether they are gone: the kernel tells only their parent.
const LOOK: Duration = Duration::from_millis(5);

/// A running process group. Dropped before [`Group::finish`], it is killed and reaped later.
pub(super) struct Group {
    child: Child,
    pid: Pid,
    /// Some child of the daemon has exited.
    exits: unix::Signal,
    /// The leader is not reaped yet, so the group's number is still its own.
    ours: bool,
}

impl Group {
    pub(super) fn spawn(command: &mut Command) -> io::Result<Self> {
        // First, so that no exit comes before it.
        let exits = unix::signal(SignalKind::child())?;
        let child = command.process_group(0).spawn()?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Self {
            pid: pid.ok_or_else(|| io::Error::other("a process without a number"))?,
            child,
            exits,
            ours: true,
        })
    }

    /// Waits until the leader has exited, and leaves it as a zombie. Cancel-safe.
    pub(super) async fn exited(&mut self) -> io::Result<()> {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        while waitid(WaitId::Pid(self.pid), look)?.is_none() {
            let closed = || io::Error::other("the runtime stops");
            self.exits.recv().await.ok_or_else(closed)?;
        }
        Ok(())
    }

    /// Asks all of it to end; what is stopped has to run for that.
    pub(super) fn end(&self) {
        self.signal(Signal::TERM);
        self.signal(Signal::CONT);
    }

    /// Kills all of it.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        if let Err(error) = kill_process_group(self.pid, signal) {
            tracing::warn!(?signal, %error, "A process of the hook cannot be signalled.");
        }
    }

    /// Kills what the leader left behind and reaps it; to be called when the leader has exited.
    pub(super) async fn finish(mut self) -> io::Result<ExitStatus> {
        self.kill();
        self.ours = false;
        let status = self.child.try_wait()?;
        if timeout(GONE, self.gone()).await.is_err() {
            tracing::warn!(group = %self.pid, "Processes of the hook were killed but are not gone.");
        }
        status.ok_or_else(|| io::Error::other("it has not exited"))
    }

    async fn gone(&self) {
        loop {
            // They are the daemon's children when it is init, in a container.
            while let Ok(Some(_)) = waitpgid(self.pid, WaitOptions::NOHANG) {}
            if test_kill_process_group(self.pid) == Err(Errno::SRCH) {
                return;
            }
            sleep(LOOK).await;
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.ours {
            self.kill();
        }
    }
}
