//! The serial port of a board, opened for one conversation at a time.
//!
//! Opening, speaking and closing block: the kernel configures the adapter by USB requests with limits
//! of its own. So each conversation has a thread for itself, and one that hangs keeps the next from
//! starting another.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use rigd_driver::{DriverError, OpenError};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FlockOperation, OFlags, flock},
    io::Errno,
    termios::{ControlModes, OptionalActions, QueueSelector, tcflush, tcgetattr, tcsetattr},
};
use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};

/// The boards' only speed, 8 bits, no parity.
const BAUD: u32 = 9600;
/// Most of an answer; the Python driver takes no more.
const ANSWER: usize = 32;
/// How long an answer is waited for. The boards send no end mark, so this is how long it takes.
pub(super) const LISTEN: Duration = Duration::from_secs(2);
/// A conversation that takes longer hangs in the kernel.
pub(super) const LIMIT: Duration = Duration::from_secs(4);
/// How long another program may have the port, and how often it is looked at meanwhile.
const IN_USE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(20));

/// A serial port that nobody holds between two conversations.
#[derive(Debug)]
pub(super) struct Port {
    path: PathBuf,
    /// Held by the thread that is at it.
    speaking: Arc<Semaphore>,
}

impl Port {
    /// Opens the port once, to see whether it can be.
    pub(super) fn try_open(path: &Path) -> Result<Self, OpenError> {
        open(path).map_err(|error| failed(path, "cannot open", &error).0)?;
        Ok(Self {
            path: path.to_owned(),
            speaking: Arc::new(Semaphore::new(1)),
        })
    }

    /// Sends frames, each after the port was opened anew.
    pub(super) async fn send(&self, frames: Vec<[u8; 4]>) -> Result<(), DriverError> {
        self.speak(move |path| {
            for frame in frames {
                open(path)?.write_all(&frame)?;
            }
            Ok(())
        })
        .await
    }

    /// Sends a question and listens until `whole` says that the answer is, or time is up.
    pub(super) async fn ask(
        &self,
        question: u8,
        whole: impl Fn(&[u8]) -> bool + Send + 'static,
    ) -> Result<Vec<u8>, DriverError> {
        self.speak(move |path| {
            let mut port = open(path)?;
            port.write_all(&[question])?;
            listen(&mut port, whole)
        })
        .await
    }

    async fn speak<T: Send + 'static>(
        &self,
        conversation: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, DriverError> {
        let hangs = || {
            let text = format!(
                "{} has not come back from the kernel within {} s; unplug the board",
                self.path.display(),
                LIMIT.as_secs()
            );
            DriverError::Timeout(text)
        };
        // One whose caller left may be at its end yet.
        let turn = timeout(LIMIT, self.speaking.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| hangs())?.map_err(|_| hangs())?;
        let path = self.path.clone();
        let (done, outcome) = oneshot::channel();
        let started = std::thread::Builder::new()
            .name("relay-port".into())
            .spawn(move || {
                let said = conversation(&path);
                drop(turn);
                // Who left has nobody to tell.
                drop(done.send(said));
            });
        started.map_err(|error| DriverError::io("cannot start a thread", &error))?;
        match timeout(LIMIT, outcome).await {
            Ok(Ok(Ok(said))) => Ok(said),
            Ok(Ok(Err(error))) => Err(failed(&self.path, "cannot speak to", &error).1),
            Ok(Err(_)) | Err(_) => Err(hangs()),
        }
    }
}

/// Locked, at the right speed, and with nothing in it.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOCTTY | OFlags::NONBLOCK;
    let port = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    // What other programs that speak to serial ports ask for as well.
    let end = Instant::now() + IN_USE.0;
    while let Err(error) = flock(&port, FlockOperation::NonBlockingLockExclusive) {
        if error != Errno::WOULDBLOCK || Instant::now() >= end {
            return Err(error.into());
        }
        sleep(IN_USE.1);
    }
    let mut settings = tcgetattr(&port)?;
    settings.make_raw();
    settings.set_speed(BAUD)?;
    settings.control_modes |= ControlModes::CLOCAL | ControlModes::CREAD;
    settings.control_modes -= ControlModes::CSTOPB | ControlModes::CRTSCTS;
    tcsetattr(&port, OptionalActions::Now, &settings)?;
    tcflush(&port, QueueSelector::IFlush)?;
    Ok(port)
}

fn listen(port: &mut File, whole: impl Fn(&[u8]) -> bool) -> io::Result<Vec<u8>> {
    let end = Instant::now() + LISTEN;
    let mut heard = Vec::new();
    while heard.len() < ANSWER && !whole(&heard) {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let left = Timespec::try_from(left).unwrap_or_default();
        let ready = poll(&mut [PollFd::new(port, PollFlags::IN)], Some(&left))?;
        if ready == 0 {
            break;
        }
        let mut bytes = [0; ANSWER];
        match port.read(&mut bytes[..ANSWER - heard.len()]) {
            Ok(0) => return Err(Errno::NODEV.into()),
            Ok(count) => heard.extend(&bytes[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(heard)
}

/// What an error means when opening, and in a call.
fn failed(path: &Path, tried: &str, error: &io::Error) -> (OpenError, DriverError) {
    let shown = path.display();
    let text = format!("{tried} {shown}: {error}");
    match Errno::from_io_error(error) {
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO | Errno::IO) => {
            let text = format!("{tried} {shown}: it is not there ({error})");
            (
                OpenError::Absent(text.clone()),
                DriverError::Unavailable(text),
            )
        }
        Some(Errno::ACCESS | Errno::PERM) => {
            let text = format!(
                "{text}; the daemon's user must be in the group of the port, `dialout` on most hosts"
            );
            (OpenError::Faulty(text.clone()), DriverError::Device(text))
        }
        Some(Errno::WOULDBLOCK | Errno::BUSY) => {
            let text = format!("{tried} {shown}: another program uses it");
            (OpenError::Faulty(text.clone()), DriverError::Device(text))
        }
        _ => (OpenError::Faulty(text.clone()), DriverError::Device(text)),
    }
}
