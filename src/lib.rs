//! rigd: a daemon for a lab host.
