//! The capture of a console into files: a bounded queue, and the thread that empties it onto the
//! disk.
//!
//! ```text
//!   keeper ──offer (never waits)──> queue ──thread──> stamp lines ──> rotated files
//!                 └─ full: counted ──────── `[rigd: N bytes were lost here: …]` ─┘
//! ```
//!
//! A disk that is full or slow costs what cannot be written and nothing else: no byte waits for it
//! in the console. What was lost is told in the file, where it is missing, and in the log.

mod config;
mod files;

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use tokio::{sync::oneshot, time::timeout};
use tracing::{error, info, warn};

pub use config::CaptureConfig;
use files::Files;

use crate::lines::StampedLines;

/// What waits for the disk: the console's whole ring, so half a minute at 300 kB/s.
const QUEUE: usize = 8 * 1024 * 1024;
/// How long the end of the daemon waits for what is left.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);
/// Shortest and longest wait until a disk that refused is tried again.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

#[derive(Debug)]
enum Entry {
    Heard(SystemTime, Vec<u8>),
    /// So many bytes did not fit here.
    Lost(u64),
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    /// Of all entries.
    bytes: usize,
    closed: bool,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for entries; none when it is closed and empty.
    fn take(&self) -> Option<VecDeque<Entry>> {
        let mut state = self.lock();
        loop {
            if !state.entries.is_empty() {
                state.bytes = 0;
                return Some(std::mem::take(&mut state.entries));
            }
            if state.closed {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The capture of one console. Its thread ends after what it was given is written.
#[derive(Debug)]
pub(crate) struct Capture {
    queue: Arc<Queue>,
    /// Resolves when the thread has ended.
    ended: Mutex<Option<oneshot::Receiver<()>>>,
}

impl Capture {
    /// Starts to capture the console `name` into files of that name.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub(crate) fn start(config: &CaptureConfig, name: &str) -> io::Result<Self> {
        Self::with_files(Files::new(config, name), config.timestamps)
    }

    fn with_files(files: Files, timestamps: bool) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let (ended_tx, ended) = oneshot::channel();
        let span = tracing::Span::current();
        let work = {
            let queue = queue.clone();
            move || {
                let _in = span.enter();
                Writer::new(files, timestamps).run(&queue);
                // Nobody may listen.
                ended_tx.send(()).ok();
            }
        };
        let thread = std::thread::Builder::new().name("rigd:capture".into());
        thread.spawn(work)?;
        Ok(Self {
            queue,
            ended: Mutex::new(Some(ended)),
        })
    }

    /// Takes bytes that came at `time`. Never waits for the disk.
    pub(crate) fn offer(&self, time: SystemTime, bytes: &[u8]) {
        let mut state = self.queue.lock();
        if state.closed {
            return;
        }
        if state.bytes + bytes.len() > QUEUE {
            let count = bytes.len() as u64;
            match state.entries.back_mut() {
                Some(Entry::Lost(lost)) => *lost += count,
                _ => state.entries.push_back(Entry::Lost(count)),
            }
        } else {
            state.bytes += bytes.len();
            match state.entries.back_mut() {
                // One entry for what came in the same instant, so that single bytes stay cheap.
                Some(Entry::Heard(then, heard)) if *then == time => heard.extend_from_slice(bytes),
                _ => state.entries.push_back(Entry::Heard(time, bytes.to_vec())),
            }
        }
        drop(state);
        self.queue.changed.notify_one();
    }

    /// Ends it, and waits for the disk at most 2 s.
    pub(crate) async fn close(&self) {
        self.end();
        let ended = self
            .ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(ended) = ended
            && timeout(FLUSH_LIMIT, ended).await.is_err()
        {
            let limit = FLUSH_LIMIT.as_secs();
            warn!("The capture was not on the disk within {limit} s; its end may be missing.");
        }
    }

    fn end(&self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_one();
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the thread writes with.
struct Writer {
    files: Files,
    lines: StampedLines,
    /// Why the disk takes nothing, since when, how much is lost, and when to try again.
    trouble: Option<Trouble>,
    wait: Duration,
}

struct Trouble {
    why: String,
    lost: u64,
    again: Instant,
}

impl Writer {
    fn new(files: Files, timestamps: bool) -> Self {
        Self {
            files,
            lines: StampedLines::new(timestamps),
            trouble: None,
            wait: RETRY.0,
        }
    }

    fn run(mut self, queue: &Queue) {
        while let Some(entries) = queue.take() {
            for entry in entries {
                match entry {
                    Entry::Heard(time, bytes) => self.heard(time, &bytes),
                    Entry::Lost(count) => self.too_slow(count),
                }
            }
        }
        if let Some(Trouble { why, lost, .. }) = self.trouble {
            error!("The capture ends; {lost} bytes were lost at last: {why}");
        }
    }

    fn too_slow(&mut self, count: u64) {
        warn!("The disk is too slow for the capture: {count} bytes are lost.");
        if let Some(trouble) = &mut self.trouble {
            trouble.lost += count;
            return;
        }
        self.note_loss(count, "the disk was too slow");
    }

    /// Writes that bytes are missing here.
    fn note_loss(&mut self, count: u64, why: &str) {
        let text = format!("[rigd: {count} bytes were lost here: {why}]");
        let line = self.lines.own(SystemTime::now(), &text);
        if let Err((error, _)) = self.files.write(&line) {
            self.refused(error, count);
        }
    }

    fn heard(&mut self, time: SystemTime, bytes: &[u8]) {
        if let Some(trouble) = &mut self.trouble {
            if Instant::now() < trouble.again {
                trouble.lost += bytes.len() as u64;
                return;
            }
            let (why, lost) = (trouble.why.clone(), trouble.lost);
            self.trouble = None;
            self.note_loss(lost, &why);
            if let Some(trouble) = &mut self.trouble {
                trouble.lost += bytes.len() as u64;
                return;
            }
            info!("The capture goes on; {lost} bytes were lost: {why}");
            self.wait = RETRY.0;
        }
        let text = self.lines.stamp(time, bytes);
        if let Err((error, written)) = self.files.write(&text) {
            // What went in front of the lines counts as written bytes as well: close enough.
            let lost = bytes.len().saturating_sub(written);
            self.refused(error, lost as u64);
        }
    }

    fn refused(&mut self, error: String, lost: u64) {
        // Told once; what follows from it until it works again is counted.
        if self.wait == RETRY.0 {
            error!("The capture loses bytes: {error}");
        }
        self.trouble = Some(Trouble {
            why: error,
            lost,
            again: Instant::now() + self.wait,
        });
        self.wait = (self.wait * 2).min(RETRY.1);
    }
}

#[cfg(test)]
mod tests;
