//! `rigd` run to its end, or watched while it stops: exit code, what it said, and how long it took.

use std::{
    process::{Child, ChildStdin, Command, ExitStatus},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::lines::Lines;

const POLL: Duration = Duration::from_millis(5);

/// A `rigd` with all that it prints; killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    pub(crate) output: Lines,
}

impl Running {
    /// Starts a command whose outputs are piped.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command
            .spawn()
            .unwrap_or_else(|why| panic!("{command:?}: {why}"));
        let output = Lines::default();
        output.collect(child.stdout.take().unwrap());
        // A test may have put it somewhere else.
        if let Some(stderr) = child.stderr.take() {
            output.collect(stderr);
        }
        Self { child, output }
    }

    /// What it reads, where that is piped.
    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("piped, and taken once")
    }

    /// Waits for a line.
    pub(crate) fn expect_line(&self, wanted: &str) -> String {
        let found = self
            .output
            .wait(Duration::from_secs(20), |line| line.contains(wanted));
        found.unwrap_or_else(|| panic!("no {wanted:?} in:\n{}", self.output.text()))
    }

    /// Waits until it has ended.
    pub(crate) fn ended(&mut self, limit: Duration) -> ExitStatus {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                Instant::now() < end,
                "not over after {limit:?}:\n{}",
                self.output.text()
            );
            std::thread::sleep(POLL);
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Runs a command that is to end by itself; its exit code and both outputs together.
pub(crate) fn to_the_end(mut command: Command) -> (Option<i32>, String) {
    // Not `Lines`: the last line may come after the exit was seen.
    let child = command
        .spawn()
        .unwrap_or_else(|why| panic!("{command:?}: {why}"));
    let pid = Pid::from_child(&child);
    let (done, over) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if over.recv_timeout(Duration::from_secs(20))
            == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
        {
            // It is still ours: nobody has waited for it yet.
            kill_process(pid, Signal::KILL).ok();
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(done);
    watchdog.join().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.code(), said)
}
