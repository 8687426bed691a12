//! The leases of one exporter: who may use it, from when to when, and what happens at both ends.
//!
//! [`machine`] decides, pure and without a clock; `runner` is the task that owns it and carries its
//! effects out; [`journal`] is what a crash leaves.

pub(crate) mod clients;
pub(crate) mod hold;
pub mod hook;
pub(crate) mod hooks;
pub mod journal;
pub mod machine;
pub(crate) mod runner;
pub mod safe_state;
