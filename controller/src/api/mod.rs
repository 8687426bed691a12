//! The lab's services, as Jumpstarter's clients and exporters know them.
//!
//! ```text
//!   call ──> caller (token, kind, name) ──> rules of the call ──> engine
//! ```

pub mod caller;
pub mod client;
pub mod controller;
