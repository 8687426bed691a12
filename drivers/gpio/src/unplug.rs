//! Tells when a device file of the host goes away, by what the kernel announces to everybody.
//!
//! The line itself does not say: before Linux 6.6 nothing wakes who polls a line whose chip was
//! removed.

use std::{io, os::fd::OwnedFd, path::Path};

use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, bind,
    netlink::{KOBJECT_UEVENT, SocketAddrNetlink},
    recv, socket_with,
};
use tokio::io::unix::AsyncFd;

use crate::readable::readable;

/// The multicast group of the kernel's own messages; 2 is udev's.
const KERNEL_GROUP: u32 = 1;
/// The kernel's messages are shorter: `UEVENT_BUFFER_SIZE` is 2048 (include/linux/kobject.h).
const MESSAGE: usize = 4096;

/// Hears the kernel announce devices.
#[derive(Debug)]
pub(crate) struct Unplug(AsyncFd<OwnedFd>);

impl Unplug {
    /// Listens from now on. Called inside of a runtime.
    pub(crate) fn listen() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            flags,
            Some(KOBJECT_UEVENT),
        )?;
        bind(&socket, &SocketAddrNetlink::new(0, KERNEL_GROUP))?;
        Ok(Self(readable(socket)?))
    }

    /// Resolves when the device file is gone. Cancel-safe.
    pub(crate) async fn gone(&self, path: &Path) {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return std::future::pending().await;
        };
        loop {
            let read = |socket: &OwnedFd| {
                let mut message = [0; MESSAGE];
                let (read, _) = recv(socket, &mut message[..], RecvFlags::empty())?;
                Ok(is_removal(message.get(..read).unwrap_or_default(), name))
            };
            let Ok(mut ready) = self.0.readable().await else {
                return std::future::pending().await;
            };
            match ready.try_io(|socket| read(socket.get_ref())) {
                Ok(Ok(true)) => return,
                // Messages were lost under load (ENOBUFS): the file itself tells.
                Ok(Err(_)) if !path.exists() => return,
                Ok(_) | Err(_) => {}
            }
        }
    }
}

/// Whether a message says that a GPIO device file of this name was removed. It is a list of
/// `KEY=value` after a line `remove@/devices/…`, each ended by a zero byte.
fn is_removal(message: &[u8], name: &str) -> bool {
    let mut fields = message.split(|byte| *byte == 0);
    let is = |field: &[u8], key: &str, value: &str| {
        field
            .strip_prefix(key.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"="))
            == Some(value.as_bytes())
    };
    let head = fields.next().unwrap_or_default();
    head.starts_with(b"remove@") && fields.any(|field| is(field, "DEVNAME", name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REMOVE: &[u8] = b"remove@/devices/platform/gpio-sim.0/gpiochip0\0ACTION=remove\0\
        SUBSYSTEM=gpio\0MAJOR=254\0DEVNAME=gpiochip0\0SEQNUM=1\0";

    #[test]
    fn only_the_removal_of_this_device_counts() {
        assert!(is_removal(REMOVE, "gpiochip0"));
        assert!(!is_removal(REMOVE, "gpiochip"));
        assert!(!is_removal(REMOVE, "gpiochip01"));
        let add = [b"add@".as_slice(), &REMOVE[7..]].concat();
        assert!(!is_removal(&add, "gpiochip0"));
        assert!(!is_removal(b"", "gpiochip0"));
        assert!(!is_removal(b"libudev\0\xfe\xed\xca\xfe", "gpiochip0"));
    }

    #[tokio::test]
    async fn the_kernel_lets_everybody_listen() {
        Unplug::listen().unwrap();
    }
}
