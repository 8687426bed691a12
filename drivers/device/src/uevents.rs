//! Hears the kernel announce devices: one socket and one thread for the process, any number of
//! listeners.
//!
//! ```text
//!   kernel ──netlink──> thread `uevents` ──broadcast──> Events, Events, …
//!             ENOBUFS ──> Overflow          lagged ──> Overflow
//! ```
//!
//! A listener never slows another one, nor the kernel.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, bind,
    netlink::{KOBJECT_UEVENT, SocketAddrNetlink},
    recvfrom, socket_with,
    sockopt::set_socket_recv_buffer_size,
};
use tokio::sync::broadcast;

use crate::{DeviceEvent, Uevent};

/// The multicast group of the kernel's own messages; 2 is udev's.
const KERNEL_GROUP: u32 = 1;
/// A message has at most `UEVENT_BUFFER_SIZE` = 2048 bytes of keys (include/linux/kobject.h) after
/// its path, which is given twice.
const MESSAGE: usize = 8192;
/// Room in the kernel for a burst while this process does not run; the kernel gives what it
/// allows (net.core.rmem_max).
const SOCKET_BUFFER: usize = 1 << 20;
/// Events that a slow listener may be behind. A hub with ten adapters makes about a hundred.
const BACKLOG: usize = 256;
/// Pause after a failed read, so that a broken socket does not keep a core busy.
const PAUSE: Duration = Duration::from_secs(1);

static HUB: Mutex<Option<Uevents>> = Mutex::new(None);

/// Where the events of the process are handed out.
#[derive(Debug, Clone)]
pub struct Uevents(broadcast::Sender<Uevent>);

impl Uevents {
    /// Listens from now on. The first listener of the process opens the socket.
    ///
    /// Where the kernel lets nobody listen, which is told in the log, no events come.
    pub fn subscribe() -> Events {
        let mut hub = HUB.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hub) = &*hub {
            return hub.listener();
        }
        match Self::start() {
            Ok(started) => hub.insert(started).listener(),
            Err(error) => {
                tracing::warn!(%error, "Cannot hear the kernel announce devices; absent ones are tried again from time to time.");
                // Its sender is dropped here.
                Self::silent().listener()
            }
        }
    }

    fn start() -> io::Result<Self> {
        let socket = open()?;
        let hub = Self::silent();
        let told = hub.clone();
        let thread = std::thread::Builder::new().name("uevents".into());
        thread.spawn(move || told.read_on(&socket))?;
        Ok(hub)
    }

    /// Without a socket.
    pub(crate) fn silent() -> Self {
        Self(broadcast::Sender::new(BACKLOG))
    }

    pub(crate) fn listener(&self) -> Events {
        Events(self.0.subscribe())
    }

    pub(crate) fn announce(&self, event: Uevent) {
        // Nobody listens now: nobody misses it.
        self.0.send(event).ok();
    }

    /// For the rest of the process's life.
    fn read_on(&self, socket: &OwnedFd) {
        loop {
            match read(socket) {
                Ok(Some(event)) => self.announce(Uevent::Device(Arc::new(event))),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // ENOBUFS: more came than fits.
                Err(error) => {
                    self.announce(Uevent::Overflow);
                    if error.raw_os_error() != Some(rustix::io::Errno::NOBUFS.raw_os_error()) {
                        tracing::warn!(%error, "Cannot read what the kernel announces.");
                        std::thread::sleep(PAUSE);
                    }
                }
            }
        }
    }
}

fn open() -> io::Result<OwnedFd> {
    let kind = SocketType::DGRAM;
    let family = AddressFamily::NETLINK;
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, Some(KOBJECT_UEVENT))?;
    // A smaller buffer loses more, which is told.
    set_socket_recv_buffer_size(&socket, SOCKET_BUFFER).ok();
    bind(&socket, &SocketAddrNetlink::new(0, KERNEL_GROUP))?;
    Ok(socket)
}

fn read(socket: &OwnedFd) -> io::Result<Option<DeviceEvent>> {
    let mut message = [0; MESSAGE];
    let (read, _, from) = recvfrom(socket, &mut message[..], RecvFlags::empty())?;
    let from = from.and_then(|from| SocketAddrNetlink::try_from(from).ok());
    // Other programs may write to this socket; only the kernel has no process.
    let kernel = from.is_some_and(|from| from.pid() == 0);
    let message = message.get(..read).filter(|_| kernel);
    Ok(message.and_then(DeviceEvent::parse))
}

/// What is announced from the subscription on.
#[derive(Debug)]
pub struct Events(broadcast::Receiver<Uevent>);

impl Events {
    /// The next event. Cancel-safe: an event that was not handed out is there the next time.
    pub async fn next(&mut self) -> Uevent {
        use broadcast::error::RecvError;
        match self.0.recv().await {
            Ok(event) => event,
            Err(RecvError::Lagged(_)) => Uevent::Overflow,
            // The kernel lets nobody listen.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests;
