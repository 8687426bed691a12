//! What the service manager is told: readiness, a line of status, signs of life, more time.
//!
//! Messages go to the socket of `$NOTIFY_SOCKET`, see `sd_notify(3)`; without it nothing is sent.
//! A message that cannot be sent is logged, the first of them only, and stops nothing: a daemon
//! that works must not end because its manager does not listen.

use std::{
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use sd_notify::NotifyState;

use super::paths::Env;

/// How long a message may wait for room in the manager's queue. The threads that send serve
/// others as well, and the shortest watchdog that makes sense is longer.
const SEND_LIMIT: Duration = Duration::from_secs(1);
/// Longest status in bytes. systemd drops a message of more than 4096 bytes whole.
const MAX_STATUS: usize = 2048;

/// The way to the service manager; leads nowhere when there is none.
///
/// The variables stay in the environment, since removing one races with threads that read it:
/// whoever starts a program leaves `NOTIFY_SOCKET` and `WATCHDOG_…` out, as hooks do.
#[derive(Debug, Default)]
pub struct Notify {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
    /// That a message was lost is in the log.
    told: AtomicBool,
}

impl Notify {
    /// As the environment of the process says.
    pub fn from_env() -> Self {
        Self::new(&|name| std::env::var(name).ok())
    }

    /// As `env` says. A socket that cannot be reached is logged, and is none.
    pub fn new(env: Env<'_>) -> Self {
        let Some(address) = env("NOTIFY_SOCKET").filter(|address| !address.is_empty()) else {
            return Self::default();
        };
        match connect(&address) {
            Ok(socket) => Self {
                socket: Some(socket),
                watchdog: watchdog(env),
                told: AtomicBool::new(false),
            },
            Err(error) => {
                tracing::warn!(%error, address, "The service manager cannot be reached.");
                Self::default()
            }
        }
    }

    /// The start is over, or a reload: configuration is good and listeners are bound.
    pub fn ready(&self) {
        self.send(&[NotifyState::Ready]);
    }

    /// One line for people, as `systemctl status` shows it. Control characters become spaces, for
    /// a line end would begin a message of its own; what is too long is cut.
    pub fn status(&self, text: &str) {
        let text = one_line(text);
        self.send(&[NotifyState::Status(&text)]);
    }

    /// A reload begins; [`Notify::ready`] has to follow, also when nothing was changed because
    /// the files are bad.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.send(&[NotifyState::Reloading, now]),
            Err(error) => self.lost(&error),
        }
    }

    /// The stop begins.
    pub fn stopping(&self) {
        self.send(&[NotifyState::Stopping]);
    }

    /// What goes on, the start or the stop, takes at most this long from now. Never shortens what
    /// the unit allows; once it was used, it has to be used again before the time is over. More
    /// than 71 minutes count as those.
    pub fn extend(&self, time: Duration) {
        let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        self.send(&[NotifyState::ExtendTimeoutUsec(micros)]);
    }

    /// How often, at least, the manager wants [`Notify::alive`]; half of it is the advised
    /// rhythm. `None` where nobody watches this process.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Everything that has to answer has answered.
    pub fn alive(&self) {
        self.send(&[NotifyState::Watchdog]);
    }

    /// Sends one message. May block for [`SEND_LIMIT`], when the manager is stuck.
    fn send(&self, states: &[NotifyState<'_>]) {
        let Some(socket) = &self.socket else { return };
        let lines: Vec<_> = states.iter().map(NotifyState::to_string).collect();
        if let Err(error) = socket.send(lines.join("\n").as_bytes()) {
            self.lost(&error);
        }
    }

    fn lost(&self, error: &io::Error) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "The service manager was not told; further failures are not logged.");
        }
    }
}

/// A leading `@` stands for the byte 0 of an abstract name.
fn connect(address: &str) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    match address.strip_prefix('@') {
        Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => socket.connect(address)?,
    }
    socket.set_write_timeout(Some(SEND_LIMIT))?;
    Ok(socket)
}

/// The watchdog's time, unless it is meant for another process or makes no sense.
fn watchdog(env: Env<'_>) -> Option<Duration> {
    let micros: u64 = env("WATCHDOG_USEC")?.parse().ok()?;
    let ours = env("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(std::process::id()));
    (ours && micros > 0).then(|| Duration::from_micros(micros))
}

fn one_line(text: &str) -> String {
    let fits = |(at, char): &(usize, char)| at + char.len_utf8() <= MAX_STATUS;
    let shown = text.char_indices().take_while(fits);
    shown
        .map(|(_, char)| if char.is_control() { ' ' } else { char })
        .collect()
}

#[cfg(test)]
mod tests;
