//! What the operating system gives a daemon: directories and signals.

pub mod paths;
pub mod signals;
