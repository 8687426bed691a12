//! Signals that stop the daemon.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// TERM, INT and QUIT.
#[derive(Debug)]
pub struct StopSignals {
    term: Signal,
    int: Signal,
    quit: Signal,
}

impl StopSignals {
    /// Starts to listen; from then on these signals do not kill the process.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// The next one, by its name. Cancel-safe.
    pub async fn next(&mut self) -> &'static str {
        // cancel-safe: the arms only take what is there.
        tokio::select! {
            _ = self.term.recv() => "TERM",
            _ = self.int.recv() => "INT",
            _ = self.quit.recv() => "QUIT",
        }
    }
}
