//! Waits for descriptors of the kernel in the runtime.

#![allow(unsafe_code, reason = "registering a descriptor is unsafe")]

use std::{io, os::fd::OwnedFd};

use tokio::io::{Interest, unix::AsyncFd};

/// Registers a descriptor for reading. Called inside of a runtime.
pub(crate) fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open and always the same descriptor until it is dropped, and the
    // AsyncFd, which is never forgotten, owns it.
    let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    registered.map_err(io::Error::from)
}
