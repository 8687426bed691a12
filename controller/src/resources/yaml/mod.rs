//! YAML as PyYAML writes it, and its reading.
//!
//! ```text
//!   write ── layout ── scalar ── plain (what a bare word would mean)
//!   read  ─────────────────────── plain
//! ```

mod layout;
mod plain;
mod read;
mod scalar;

pub(super) use layout::write;
pub(super) use read::read;
