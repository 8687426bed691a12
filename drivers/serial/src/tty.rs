//! Ttys and ptys of this host: opening one for this process alone, setting it, and its lines.
//!
//! Nothing here drains: `tcdrain` blocks until the line has sent everything, for ever when the other
//! side holds it up. What may wait for a device (opening, orders, closing) runs on a thread of its
//! own; reads and writes never wait.

#![allow(
    unsafe_code,
    reason = "modem lines and breaks are ioctls, and waiting for a descriptor is an unsafe registration"
)]

use std::{
    future::pending,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rigd_device::{Class, DeviceMatch, Events, Uevents};
use rigd_driver::{DriverError, OpenError, async_trait};
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
    termios::{QueueSelector, tcflush},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::oneshot,
    time::timeout,
};

use crate::{
    open_tty::{self, Opened},
    orders::{self, OnThread},
    settings::Settings,
    wire::{OPEN_LIMIT, ORDER_LIMIT, Order, Source, Wire},
};

/// How long others wait for a device that is let go.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// How a tty is named.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// By its path, which may be a link.
    Path(PathBuf),
    /// By what it is.
    Device(DeviceMatch),
}

impl Place {
    /// Finds and opens it. Blocks as long as the device takes.
    fn open(&self, settings: &Settings, keep_lines: bool) -> Result<(String, Opened), OpenError> {
        let (path, found) = match self {
            Self::Path(path) => (path.clone(), None),
            Self::Device(device) => {
                let found = device.find(Class::Tty)?;
                (found.node()?.to_owned(), Some(found))
            }
        };
        let shown = path.display().to_string();
        let opened = open_tty::open(&path, settings, keep_lines)?;
        if found.is_some_and(|found| !found.is_current()) {
            let text = format!("{shown} was unplugged while it was opened");
            return Err(OpenError::Absent(text));
        }
        Ok((shown, opened))
    }
}

/// A tty or pty of this host.
#[derive(Debug)]
pub(crate) struct TtySource {
    place: Place,
    /// DTR and RTS keep their level when the port is closed.
    keep_lines: bool,
    opening: OnThread,
    /// What the kernel announced since the last attempt began.
    events: Mutex<Option<Events>>,
}

impl TtySource {
    /// With `keep_lines` DTR and RTS keep their level when the port is closed.
    pub(crate) fn new(place: Place, keep_lines: bool) -> Self {
        Self {
            place,
            keep_lines,
            opening: OnThread::new("rigd:tty-open"),
            events: Mutex::default(),
        }
    }
}

#[async_trait]
impl Source for TtySource {
    async fn open(&self, settings: &Settings) -> Result<Box<dyn Wire>, OpenError> {
        // Before the look, so that nothing falls between the two.
        *self.events() = Some(Uevents::subscribe());
        let (place, settings, keep_lines) = (self.place.clone(), *settings, self.keep_lines);
        open(&self.opening, move || place.open(&settings, keep_lines)).await
    }

    async fn hint(&self) {
        let Some(mut events) = self.events().take() else {
            return pending().await;
        };
        while !events.next().await.may_bring(Class::Tty) {}
    }
}

impl TtySource {
    fn events(&self) -> MutexGuard<'_, Option<Events>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a tty on `thread`, which is that of an earlier attempt as long as that hangs. `work` gives
/// its name as well.
///
/// # Errors
/// Those of `work`. Faulty: it does not end.
pub(crate) async fn open(
    thread: &OnThread,
    work: impl FnOnce() -> Result<(String, Opened), OpenError> + Send + 'static,
) -> Result<Box<dyn Wire>, OpenError> {
    let opened = thread.run(OPEN_LIMIT, work).await;
    let cannot = |text| OpenError::Faulty(format!("cannot open the port: {text}"));
    let (name, opened) = opened.map_err(cannot)??;
    Ok(Box::new(Tty::new(name, opened)?))
}

/// An open tty.
#[derive(Debug)]
struct Tty {
    name: String,
    fd: AsyncFd<Descriptor>,
    orders: OnThread,
    /// Resolves once the descriptor is closed.
    closed: oneshot::Receiver<()>,
}

impl Tty {
    fn new(name: String, opened: Opened) -> Result<Self, OpenError> {
        let (told, closed) = oneshot::channel();
        let descriptor = Descriptor {
            fd: Some(Arc::new(opened.0)),
            told: Some(told),
        };
        // SAFETY: a `Descriptor` names the same open file until it is dropped: nothing but its drop
        // takes `fd` out.
        let fd = unsafe { AsyncFd::register(descriptor) };
        let fd = fd.map_err(|error| {
            let error = error.into_parts().1;
            OpenError::Faulty(format!("cannot wait for {name}: {error}"))
        })?;
        Ok(Self {
            name,
            fd,
            orders: OnThread::new("rigd:tty-orders"),
            closed,
        })
    }
}

#[async_trait]
impl Wire for Tty {
    /// Reads all that is there, as far as it fits. A tty gives a page at a time, and what comes in
    /// one piece costs its readers one wake-up.
    async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut total = 0;
        loop {
            let mut guard = self.fd.readable().await?;
            loop {
                let read = match rustix::io::read(self.fd.get_ref(), &mut buffer[total..]) {
                    Ok(0) if total > 0 => return Ok(total),
                    Ok(0) => match after_nothing(self.fd.get_ref())? {
                        After::End => return Ok(0),
                        After::More => continue,
                        After::Later => Err(Errno::AGAIN),
                    },
                    read => read,
                };
                match read {
                    Err(Errno::AGAIN) => {
                        guard.clear_ready();
                        if total > 0 {
                            return Ok(total);
                        }
                        break;
                    }
                    Ok(count) => {
                        total += count;
                        if total == buffer.len() {
                            return Ok(total);
                        }
                    }
                    Err(Errno::INTR) => {}
                    // An error that follows bytes shows again at the next read.
                    Err(_) if total > 0 => return Ok(total),
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }

    async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let write = |fd: &Descriptor| Ok(rustix::io::write(fd, bytes)?);
        self.fd.async_io(Interest::WRITABLE, write).await
    }

    async fn order(&self, order: Order) -> Result<(), DriverError> {
        let Some(fd) = self.fd.get_ref().fd.clone() else {
            return Err(DriverError::Unavailable(format!("{} is closed", self.name)));
        };
        let name = self.name.clone();
        let limit = match order {
            Order::Break(length) => ORDER_LIMIT + length,
            _ => ORDER_LIMIT,
        };
        let work = move || orders::carry_out(fd.as_fd(), &name, order);
        let done = self.orders.run(limit, work).await;
        done.map_err(|text| DriverError::Timeout(format!("{}: {text}", self.name)))?
    }

    async fn close(self: Box<Self>) {
        let Self { fd, closed, .. } = *self;
        drop(fd);
        // Ends with an error when the descriptor is closed: nobody ever sends.
        timeout(CLOSE_LIMIT, closed).await.ok();
    }
}

/// What comes after a read that gave nothing.
enum After {
    /// The tty has hung up.
    End,
    /// Bytes, or another read that gives nothing: another process may have set the tty to answer an
    /// empty line so, and the kernel does not tell of the line behind it again.
    More,
    /// Nothing for now: the tty may be set to answer so instead of with EAGAIN.
    Later,
}

fn after_nothing(fd: &Descriptor) -> io::Result<After> {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    rustix::event::poll(&mut fds, Some(&Timespec::default()))?;
    let now = fds[0].revents();
    Ok(if now.intersects(PollFlags::HUP | PollFlags::ERR) {
        After::End
    } else if now.contains(PollFlags::IN) {
        After::More
    } else {
        After::Later
    })
}

/// The descriptor, closed on a thread of its own.
#[derive(Debug)]
struct Descriptor {
    /// Shared with orders under way. Empty while it is dropped.
    fd: Option<Arc<OwnedFd>>,
    /// Dropped after the descriptor.
    told: Option<oneshot::Sender<()>>,
}

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_ref().map_or(-1, |fd| fd.as_raw_fd())
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.fd {
            Some(fd) => fd.as_fd(),
            // SAFETY: -1 names no descriptor, and none can be opened under it. It is seen only
            // while the value is dropped.
            None => unsafe { BorrowedFd::borrow_raw(-1) },
        }
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        let (Some(fd), told) = (self.fd.take(), self.told.take()) else {
            return;
        };
        // Closing a tty waits up to 30 s for unsent output (closing_wait of the kernel's serial
        // core), so the output is dropped first; should the driver below wait all the same, it is
        // not a worker of the runtime that waits.
        let close = move || {
            tcflush(&fd, QueueSelector::OFlush).ok();
            drop(fd);
            drop(told);
        };
        let thread = std::thread::Builder::new().name("rigd:tty-close".into());
        // Without a thread the closure is dropped right here, which closes as well.
        thread.spawn(close).ok();
    }
}
