//! The leases of one exporter: who may use it, from when to when, and what happens at both ends.
//!
//! [`machine`] decides, pure and without a clock; one task that owns it carries its effects out.

pub mod journal;
pub mod machine;
pub mod safe_state;
