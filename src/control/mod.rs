//! The control socket: what people on the lab host can ask the daemon.
