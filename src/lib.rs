//! rigd: a daemon for a lab host.

pub mod config;
pub mod transport;
