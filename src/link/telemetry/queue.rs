//! Entries that wait to be sent: the newest ones, and how many were pushed out.

use std::collections::VecDeque;

use rigd_proto::v1::LogEntry;

/// Entries kept while they cannot be sent: what upstream keeps, 100 s of a log at full speed.
pub(super) const MAX_ENTRIES: usize = 10_000;
/// Text kept: a flood of the longest lines would else take a hundred MiB for each exporter.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Most entries of one batch: what upstream sends.
pub(super) const BATCH: usize = 50;

/// A bounded queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: VecDeque<LogEntry>,
    bytes: usize,
    pushed_out: u64,
}

impl Queue {
    /// Adds an entry, in the place of the oldest one when there is no room.
    pub(super) fn push(&mut self, entry: LogEntry) {
        self.bytes += size(&entry);
        self.entries.push_back(entry);
        while self.entries.len() > MAX_ENTRIES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.entries.pop_front() else {
                return;
            };
            self.bytes -= size(&oldest);
            self.pushed_out += 1;
        }
    }

    /// The oldest entries, as many as go into a batch.
    pub(super) fn batch(&mut self) -> Vec<LogEntry> {
        let count = self.entries.len().min(BATCH);
        let batch: Vec<_> = self.entries.drain(..count).collect();
        self.bytes -= batch.iter().map(size).sum::<usize>();
        batch
    }

    /// Entries that wait.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Entries that had to make room since this was asked for the last time.
    pub(super) fn take_pushed_out(&mut self) -> u64 {
        std::mem::take(&mut self.pushed_out)
    }
}

/// The text of an entry that has no small bound of its own.
fn size(entry: &LogEntry) -> usize {
    let extra = entry.extra_fields.iter().map(|(k, v)| k.len() + v.len());
    entry.message.len() + extra.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_make_room_and_are_counted() {
        let mut queue = Queue::default();
        for n in 0..MAX_ENTRIES + 7 {
            queue.push(LogEntry {
                message: n.to_string(),
                ..LogEntry::default()
            });
        }
        assert_eq!(queue.len(), MAX_ENTRIES);
        assert_eq!((queue.take_pushed_out(), queue.take_pushed_out()), (7, 0));
        let batch = queue.batch();
        assert_eq!(batch.len(), BATCH);
        assert_eq!(batch[0].message, "7");
        assert_eq!(queue.batch()[0].message, (7 + BATCH).to_string());
    }

    #[test]
    fn long_entries_make_room_earlier() {
        let mut queue = Queue::default();
        for _ in 0..MAX_BYTES / 4096 + 3 {
            queue.push(LogEntry {
                message: "x".repeat(4096),
                ..LogEntry::default()
            });
        }
        assert_eq!(queue.len(), MAX_BYTES / 4096);
        assert_eq!(queue.take_pushed_out(), 3);
        while !queue.batch().is_empty() {}
        assert_eq!(queue.bytes, 0);
    }
}
