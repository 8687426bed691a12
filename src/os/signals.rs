//! Signals to the daemon.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// TERM, INT or QUIT: stop.
    Stop(&'static str),
    /// HUP: read the files again.
    Reload,
}

/// TERM, INT, QUIT and HUP.
#[derive(Debug)]
pub struct Signals {
    term: Signal,
    int: Signal,
    quit: Signal,
    hup: Signal,
}

impl Signals {
    /// Starts to listen; from then on these signals do not kill the process.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    /// The next one. Cancel-safe.
    pub async fn next(&mut self) -> Wish {
        // cancel-safe: the arms only take what is there.
        tokio::select! {
            _ = self.term.recv() => Wish::Stop("TERM"),
            _ = self.int.recv() => Wish::Stop("INT"),
            _ = self.quit.recv() => Wish::Stop("QUIT"),
            _ = self.hup.recv() => Wish::Reload,
        }
    }
}
