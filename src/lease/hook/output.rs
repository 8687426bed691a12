//! What a hook prints: the near end of its terminal, split into log lines.
//!
//! It holds one line and one buffer, however much is printed.

use std::{
    io::{self, ErrorKind},
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rigd_proto::v1::LogSource;
use rustix::{
    io::ioctl_fionbio,
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt},
};
use tokio::{net::unix::pipe, task::consume_budget, time::timeout};

use crate::session::{LogHub, LogLine};

/// What a terminal gives at once is never more than this.
const BUFFER: usize = 4096;
/// Bytes of a line that are kept; the log cuts it shorter still, and shows that it did.
const LONGEST: usize = 8192;
/// How much output is still taken when the hook is over, and for how long: what a terminal holds.
const DRAIN_BYTES: usize = 256 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// After this silence the rest is somebody's who left the group and still holds the terminal.
const QUIET: Duration = Duration::from_millis(100);

/// The output of one hook.
pub(super) struct Output {
    terminal: pipe::Receiver,
    closed: bool,
    line: Vec<u8>,
    logs: Arc<LogHub>,
    source: LogSource,
}

impl Output {
    /// A new terminal, and its far end for the hook.
    pub(super) fn open(logs: Arc<LogHub>, source: LogSource) -> io::Result<(Self, OwnedFd)> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let near = openpt(flags)?;
        grantpt(&near)?;
        unlockpt(&near)?;
        let far = ioctl_tiocgptpeer(&near, flags)?;
        ioctl_fionbio(&near, true)?;
        let output = Self {
            // Not a pipe, but waited for and read like one, which needs no unsafe registration.
            terminal: pipe::Receiver::from_owned_fd_unchecked(near)?,
            closed: false,
            line: Vec::new(),
            logs,
            source,
        };
        Ok((output, far))
    }

    /// Nobody holds the far end any more, or it failed.
    pub(super) fn closed(&self) -> bool {
        self.closed
    }

    /// Takes what is there, or waits for it; how many bytes it was. Cancel-safe.
    pub(super) async fn read(&mut self) -> usize {
        // A flood must not keep the worker from the other tasks.
        consume_budget().await;
        if self.terminal.readable().await.is_err() {
            self.closed = true;
            return 0;
        }
        let mut buffer = [0; BUFFER];
        // Not `AsyncRead`: it takes a short read for the last one, which is not true of a terminal.
        match self.terminal.try_read(&mut buffer) {
            Ok(count @ 1..) => {
                self.feed(buffer.get(..count).unwrap_or_default());
                count
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                0
            }
            // The last holder closes a terminal with EIO.
            Ok(0) | Err(_) => {
                self.closed = true;
                0
            }
        }
    }

    /// Takes the rest, within bounds, and the line that has no end.
    pub(super) async fn drain(mut self) {
        let rest = async {
            let mut taken = 0;
            while !self.closed && taken < DRAIN_BYTES {
                match timeout(QUIET, self.read()).await {
                    Ok(count) => taken += count,
                    Err(_) => return,
                }
            }
        };
        // Whatever is left then is not waited for.
        timeout(DRAIN_TIME, rest).await.ok();
        self.end_line();
    }

    fn feed(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, whole) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let room = LONGEST.saturating_sub(self.line.len());
            self.line
                .extend_from_slice(text.get(..room).unwrap_or(text));
            if whole {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let message = String::from_utf8_lossy(&self.line).trim_end().to_owned();
        self.line.clear();
        if message.is_empty() {
            return;
        }
        self.logs.push(LogLine {
            severity: "INFO",
            message,
            source: self.source,
            driver_type: None,
            operation: None,
            fields: Vec::new(),
            time: SystemTime::now(),
        });
    }
}
