//! Log lines of one exporter, for its clients.
//!
//! Two rings, one for what hooks print and one for everything else, so that a chatty driver never
//! pushes out why a hook failed, nor a chatty hook what a driver said. Lines are numbered across
//! both, and each reader has a cursor into each: it takes nothing from another reader, gets the lines
//! in the order in which they came, and is told how many it lost when it is too slow.
//!
//! A third ring has records of operations. They are for the lab's log collection, never for clients,
//! and are not even made while nobody collects.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
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
/// Fields kept of a line, and the longest of each: what upstream's telemetry takes.
const MAX_FIELDS: usize = 16;
const MAX_FIELD: usize = 256;
/// Bytes of hook output kept for readers that come late: a long log of a failed boot, whole.
const HOOK_BYTES: usize = 64 * 1024;
/// Lines of hook output kept, since a line costs memory beyond its bytes: some 400 KiB with the bytes.
const HOOK_LINES: usize = 2048;

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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// What hooks print.
    Hook,
    /// Everything else that clients see.
    Other,
    /// Records of operations.
    Record,
}

impl Kind {
    fn of(source: LogSource) -> Self {
        match source {
            LogSource::BeforeLeaseHook | LogSource::AfterLeaseHook => Self::Hook,
            _ => Self::Other,
        }
    }

    fn lost(self, count: u64) -> LogLine {
        let message = match self {
            Self::Hook => format!("{count} lines of hook output were dropped: too much to keep"),
            Self::Other => format!("{count} log lines were lost: this reader is too slow"),
            Self::Record => format!("{count} records of operations were lost: too slow a reader"),
        };
        LogLine {
            severity: "WARNING",
            message,
            source: LogSource::System,
            driver_type: None,
            operation: None,
            fields: Vec::new(),
            time: SystemTime::now(),
        }
    }
}

#[derive(Debug, Default)]
struct Ring {
    /// Each with its number among all lines.
    lines: VecDeque<(u64, LogLine)>,
    /// Lines that were pushed out: the place of the oldest line kept.
    first: u64,
    /// Text of the lines kept.
    bytes: usize,
    /// Lines before this place belong to an earlier lease and are not for readers of this one.
    epoch: u64,
}

impl Ring {
    fn end(&self) -> u64 {
        self.first + self.lines.len() as u64
    }

    fn push(&mut self, number: u64, line: LogLine, max_lines: usize, max_bytes: usize) {
        self.bytes += line.message.len();
        self.lines.push_back((number, line));
        while self.lines.len() > max_lines || self.bytes > max_bytes {
            let Some((_, oldest)) = self.lines.pop_front() else {
                return;
            };
            self.bytes -= oldest.message.len();
            self.first += 1;
        }
    }

    /// The line at this place, or the oldest one if that was pushed out.
    fn at(&self, place: u64) -> Option<&(u64, LogLine)> {
        self.lines
            .get(usize::try_from(place.saturating_sub(self.first)).ok()?)
    }

    /// What is at this place: a line, or how many were lost from here on.
    fn take(&self, place: &mut u64, kind: Kind) -> Option<LogLine> {
        if *place < self.first {
            let lost = self.first - *place;
            *place = self.first;
            return Some(kind.lost(lost));
        }
        let (_, line) = self.at(*place)?;
        *place += 1;
        Some(line.clone())
    }
}

#[derive(Debug, Default)]
struct Rings {
    hook: Ring,
    other: Ring,
    record: Ring,
    /// Number of the next line.
    next: u64,
}

/// The lines of one exporter.
#[derive(Debug)]
pub struct LogHub {
    rings: Mutex<Rings>,
    /// Number of the next line.
    next: watch::Sender<u64>,
    /// Collectors there are.
    collectors: AtomicUsize,
}

impl Default for LogHub {
    fn default() -> Self {
        Self {
            rings: Mutex::default(),
            next: watch::Sender::new(0),
            collectors: AtomicUsize::new(0),
        }
    }
}

impl LogHub {
    /// Adds a line. Never blocks: it is called from where the event happens.
    pub fn push(&self, line: LogLine) {
        self.push_as(Kind::of(line.source), line);
    }

    /// Adds a line for collectors only, as records of operations are. `make` is called when there is
    /// one.
    pub fn record(&self, make: impl FnOnce() -> LogLine) {
        if self.is_collected() {
            self.push_as(Kind::Record, make());
        }
    }

    /// Whether anybody reads records of operations.
    pub fn is_collected(&self) -> bool {
        self.collectors.load(Relaxed) > 0
    }

    fn push_as(&self, kind: Kind, mut line: LogLine) {
        cut(&mut line.message, MAX_LINE);
        line.fields.truncate(MAX_FIELDS);
        for (name, value) in &mut line.fields {
            cut(name, MAX_FIELD);
            cut(value, MAX_FIELD);
        }
        let Ok(mut rings) = self.rings.lock() else {
            return;
        };
        let number = rings.next;
        rings.next += 1;
        match kind {
            Kind::Hook => rings.hook.push(number, line, HOOK_LINES, HOOK_BYTES),
            Kind::Other => rings.other.push(number, line, KEPT, usize::MAX),
            Kind::Record => rings.record.push(number, line, KEPT, usize::MAX),
        }
        self.next.send_replace(rings.next);
    }

    /// A lease begins or ends: its readers see nothing from before.
    pub fn new_epoch(&self) {
        if let Ok(mut rings) = self.rings.lock() {
            rings.hook.epoch = rings.hook.end();
            rings.other.epoch = rings.other.end();
        }
    }

    /// A reader that starts with the last lines of this epoch: all that is kept of what its hooks
    /// printed, in order with the last 256 of the others.
    pub fn reader(self: &Arc<Self>) -> LogReader {
        let (hook, other) = self.rings.lock().map_or((0, 0), |rings| {
            let recent = rings.other.end().saturating_sub(BACKLOG);
            let other = recent.max(rings.other.first).max(rings.other.epoch);
            (rings.hook.epoch, other)
        });
        LogReader {
            hub: self.clone(),
            news: self.next.subscribe(),
            hook,
            other,
            record: None,
            end: None,
        }
    }

    /// The number that the next line gets.
    pub fn place(&self) -> u64 {
        *self.next.borrow()
    }

    /// A reader of everything from now on, whatever lease it belongs to, records of operations
    /// among it.
    pub fn collector(self: &Arc<Self>) -> LogReader {
        // Before the look: what is recorded from here on has a collector.
        self.collectors.fetch_add(1, Relaxed);
        let (hook, other, record) = self.rings.lock().map_or((0, 0, 0), |rings| {
            (rings.hook.end(), rings.other.end(), rings.record.end())
        });
        LogReader {
            hub: self.clone(),
            news: self.next.subscribe(),
            hook,
            other,
            record: Some(record),
            end: None,
        }
    }
}

/// A cursor over the lines of an exporter.
#[derive(Debug)]
pub struct LogReader {
    hub: Arc<LogHub>,
    news: watch::Receiver<u64>,
    hook: u64,
    other: u64,
    /// For collectors only.
    record: Option<u64>,
    /// The first line that is not for this reader any more.
    end: Option<Arc<AtomicU64>>,
}

impl Drop for LogReader {
    fn drop(&mut self) {
        if self.record.is_some() {
            self.hub.collectors.fetch_sub(1, Relaxed);
        }
    }
}

impl LogReader {
    /// The same without lines from the one on that has this number, which may be set later.
    pub fn until(mut self, end: Arc<AtomicU64>) -> Self {
        self.end = Some(end);
        self
    }

    /// The next line; a line of its own tells how many were lost before it. Cancel-safe.
    pub async fn next(&mut self) -> Option<LogLine> {
        loop {
            // Seen before the look, so that a line that comes after it is news.
            self.news.borrow_and_update();
            if let Some(line) = self.take() {
                return Some(line);
            }
            self.news.changed().await.ok()?;
        }
    }

    /// The next line if there is one already.
    pub(crate) fn take(&mut self) -> Option<LogLine> {
        let rings = self.hub.rings.lock().ok()?;
        let number = |ring: &Ring, place| ring.at(place).map(|(number, _)| *number);
        let record = self.record.and_then(|at| number(&rings.record, at));
        let oldest = [
            (number(&rings.hook, self.hook), Kind::Hook),
            (number(&rings.other, self.other), Kind::Other),
            (record, Kind::Record),
        ];
        let oldest = oldest.into_iter().filter(|(number, _)| number.is_some());
        let (number, kind) = oldest.min_by_key(|(number, _)| *number)?;
        let end = self.end.as_ref().map_or(u64::MAX, |end| end.load(Relaxed));
        if number? >= end {
            return None;
        }
        match kind {
            Kind::Hook => rings.hook.take(&mut self.hook, kind),
            Kind::Other => rings.other.take(&mut self.other, kind),
            Kind::Record => rings.record.take(self.record.as_mut()?, kind),
        }
    }
}

/// Cuts a text at a character border, and shows that it did.
fn cut(text: &mut String, max: usize) {
    if text.len() > max {
        let end = (0..=max).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or_default());
        text.push('…');
    }
}

#[cfg(test)]
mod tests;
