//! The process: its exporters, each on a thread of its own, and what concerns all of them.

pub(crate) mod handle;
