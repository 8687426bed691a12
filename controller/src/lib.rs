//! A controller and router for one lab, without Kubernetes.
//!
//! It serves the same API as Jumpstarter's controller, so that unmodified clients and exporters work
//! with it:
//!
//! ```text
//!   jmp, exporters ── TLS ──> api (ControllerService, ClientService), router
//!                               │ commands                    │ tokens
//!                               v                             v
//!                             engine ── pure ──> schedule    auth
//!                               │ changes
//!                               v
//!                             store (redb, grouped commits)
//! ```

pub mod admin;
pub mod api;
pub mod auth;
pub mod certs;
pub mod config_files;
pub mod engine;
pub mod leases;
pub mod model;
pub mod names;
pub mod pid_lock;
pub mod presence;
mod private_file;
pub mod resources;
pub mod router;
#[cfg(test)]
mod sample;
pub mod schedule;
pub mod selector;
pub mod server;
pub mod store;
