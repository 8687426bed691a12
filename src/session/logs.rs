//! Log lines of one exporter, for its clients.
//!
//! One ring with a cursor for each reader: a reader takes nothing from another one, and a slow one
//! loses the oldest lines and is told how many.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use rigd_proto::v1::{LogSource, LogStreamResponse};
use tokio::sync::watch;

/// Lines kept. A reader that is this far behind loses some; at the longest line this is 4 MiB.
const KEPT: usize = 1024;
/// Lines of the past that a new reader gets first: what upstream keeps.
const BACKLOG: u64 = 256;
/// Longest line. More is a dump, not a log line, and would not fit a frame budget.
const MAX_LINE: usize = 4096;

/// One log line.
#[derive(Debug, Clone)]
pub struct LogLine {
    /// Level as the clients name it, e.g. `INFO`.
    pub severity: &'static str,
    /// Text.
    pub message: String,
    /// Where it comes from.
    pub source: LogSource,
    /// Category of the driver, for lines of one.
    pub driver_type: Option<String>,
    /// Method of the call, for lines of one.
    pub operation: Option<String>,
    /// Other fields of the event.
    pub fields: Vec<(String, String)>,
    /// When it happened.
    pub time: SystemTime,
}

impl From<LogLine> for LogStreamResponse {
    fn from(line: LogLine) -> Self {
        Self {
            uuid: String::new(),
            severity: line.severity.into(),
            message: line.message,
            source: Some(line.source.into()),
            driver_type: line.driver_type,
            operation: line.operation,
            timestamp: Some(line.time.into()),
            structured_fields: line.fields.into_iter().collect(),
        }
    }
}

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<LogLine>,
    /// Number of the oldest line kept.
    first: u64,
    /// Lines before this number belong to an earlier lease and are not for readers of this one.
    epoch: u64,
}

/// The lines of one exporter.
#[derive(Debug)]
pub struct LogHub {
    ring: Mutex<Ring>,
    /// Number of the next line.
    next: watch::Sender<u64>,
}

impl Default for LogHub {
    fn default() -> Self {
        Self {
            ring: Mutex::default(),
            next: watch::Sender::new(0),
        }
    }
}

impl LogHub {
    /// Adds a line. Never blocks: it is called from where the event happens.
    pub fn push(&self, mut line: LogLine) {
        if line.message.len() > MAX_LINE {
            let end = (0..=MAX_LINE)
                .rev()
                .find(|at| line.message.is_char_boundary(*at));
            line.message.truncate(end.unwrap_or_default());
            line.message.push('…');
        }
        let Ok(mut ring) = self.ring.lock() else {
            return;
        };
        if ring.lines.len() == KEPT {
            ring.lines.pop_front();
            ring.first += 1;
        }
        ring.lines.push_back(line);
        self.next.send_replace(ring.first + ring.lines.len() as u64);
    }

    /// A lease begins or ends: its readers see nothing from before.
    pub fn new_epoch(&self) {
        if let Ok(mut ring) = self.ring.lock() {
            ring.epoch = ring.first + ring.lines.len() as u64;
        }
    }

    /// A reader that starts with the last lines of this epoch.
    pub fn reader(self: &Arc<Self>) -> LogReader {
        let next = self.ring.lock().map_or(0, |ring| {
            let end = ring.first + ring.lines.len() as u64;
            end.saturating_sub(BACKLOG).max(ring.first).max(ring.epoch)
        });
        LogReader {
            hub: self.clone(),
            news: self.next.subscribe(),
            next,
        }
    }
}

/// A cursor over the lines of an exporter.
#[derive(Debug)]
pub struct LogReader {
    hub: Arc<LogHub>,
    news: watch::Receiver<u64>,
    next: u64,
}

impl LogReader {
    /// The next line; a line of its own tells how many were lost before it. Cancel-safe.
    pub async fn next(&mut self) -> Option<LogLine> {
        let next = self.next;
        self.news.wait_for(|end| *end > next).await.ok()?;
        let ring = self.hub.ring.lock().ok()?;
        if self.next < ring.first {
            let lost = ring.first - self.next;
            self.next = ring.first;
            return Some(LogLine {
                severity: "WARNING",
                message: format!("{lost} log lines were lost: this reader is too slow"),
                source: LogSource::System,
                driver_type: None,
                operation: None,
                fields: Vec::new(),
                time: SystemTime::now(),
            });
        }
        let line = ring
            .lines
            .get(usize::try_from(self.next - ring.first).ok()?)
            .cloned();
        self.next += 1;
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(n: usize) -> LogLine {
        LogLine {
            severity: "INFO",
            message: n.to_string(),
            source: LogSource::Driver,
            driver_type: None,
            operation: None,
            fields: Vec::new(),
            time: SystemTime::UNIX_EPOCH,
        }
    }

    async fn take(reader: &mut LogReader, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.len() < count {
            lines.push(reader.next().await.unwrap().message);
        }
        lines
    }

    #[tokio::test]
    async fn a_late_reader_gets_the_last_256_and_two_readers_get_everything() {
        let hub = Arc::new(LogHub::default());
        (0..400).for_each(|n| hub.push(line(n)));
        let (mut a, mut b) = (hub.reader(), hub.reader());
        (400..410).for_each(|n| hub.push(line(n)));
        let wanted: Vec<String> = (144..410).map(|n| n.to_string()).collect();
        assert_eq!(take(&mut a, 266).await, wanted);
        assert_eq!(take(&mut b, 266).await, wanted);
    }

    #[tokio::test]
    async fn a_reader_that_is_too_slow_is_told_what_it_lost() {
        let hub = Arc::new(LogHub::default());
        let mut reader = hub.reader();
        (0..KEPT + 10).for_each(|n| hub.push(line(n)));
        let lines = take(&mut reader, 2).await;
        assert_eq!(
            lines,
            ["10 log lines were lost: this reader is too slow", "10"]
        );
    }

    #[tokio::test]
    async fn a_new_epoch_hides_the_past() {
        let hub = Arc::new(LogHub::default());
        hub.push(line(1));
        hub.new_epoch();
        let mut reader = hub.reader();
        hub.push(line(2));
        assert_eq!(take(&mut reader, 1).await, ["2"]);
    }
}
