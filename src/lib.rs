//! rigd: a daemon for a lab host.
//!
//! It loads drivers for the instruments wired to a board and exports them over gRPC, in the
//! Jumpstarter protocol, to clients.
//!
//! The way of the data, and the order in which to read the code:
//!
//! ```text
//!   exporter.yaml -> config -> registry -> tree (instances, opened once)
//!                                            |
//!   link (register, status, listen) -> lease::machine -> effects: run hook, open session, report
//!                                            |
//!   client -> transport (unix | tcp+tls) | tunnel -> session -> instance -> hardware
//! ```

pub mod cli;
pub mod config;
mod control;
mod daemon;
mod embedded;
mod exporter;
pub mod lease;
mod link;
pub mod os;
pub mod registry;
pub mod session;
pub mod telemetry;
pub mod transport;
pub mod tree;
