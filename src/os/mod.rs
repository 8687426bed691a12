//! What the operating system gives a daemon: directories, signals, a service manager.

pub mod limits;
pub mod lock;
pub mod notify;
pub mod paths;
pub mod signals;
