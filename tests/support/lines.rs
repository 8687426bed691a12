//! Collects what a child process prints, line by line, within a bound.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

/// Far more than a test's daemon logs; a runaway child costs no more than this.
const KEPT: usize = 4096;

/// The last lines of one or several streams, in the order in which they came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lines(Arc<(Mutex<VecDeque<String>>, Condvar)>);

impl Lines {
    /// Reads a stream to its end on a thread of its own, which is over when all has been read.
    pub(crate) fn collect(&self, stream: impl Read + Send + 'static) -> JoinHandle<()> {
        let shared = self.0.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                let mut lines = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
                if lines.len() == KEPT {
                    lines.pop_front();
                }
                lines.push_back(line);
                shared.1.notify_all();
            }
        })
    }

    /// Waits until a line meets the condition, and returns it.
    pub(crate) fn wait(&self, limit: Duration, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let (lines, came) = &*self.0;
        let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = |lines: &mut VecDeque<String>| !lines.iter().any(|line| wanted(line));
        let (lines, _) = came
            .wait_timeout_while(lines, limit, missing)
            .unwrap_or_else(PoisonError::into_inner);
        lines.iter().find(|line| wanted(line)).cloned()
    }

    /// Waits until all lines together meet the condition, and returns them.
    pub(crate) fn wait_all(
        &self,
        limit: Duration,
        wanted: impl Fn(&[String]) -> bool,
    ) -> Option<Vec<String>> {
        let (lines, came) = &*self.0;
        let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = |lines: &mut VecDeque<String>| !wanted(lines.make_contiguous());
        let (mut lines, late) = came
            .wait_timeout_while(lines, limit, missing)
            .unwrap_or_else(PoisonError::into_inner);
        (!late.timed_out()).then(|| lines.make_contiguous().to_vec())
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<String> {
        let lines = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().cloned().collect()
    }

    /// All of them, for a person.
    pub(crate) fn text(&self) -> String {
        let lines = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|line| format!("    {line}\n")).collect()
    }
}
