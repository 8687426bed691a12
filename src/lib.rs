//! rigd: a daemon for a lab host.

pub mod transport;
