//! Owns the ways a client's bytes reach a session.

pub mod authority;
pub mod killable;
