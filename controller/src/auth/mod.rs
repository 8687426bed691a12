//! Who calls, and whether that is true.
//!
//! ```text
//!   metadata() ──> Claimed ──> Tokens::verify ──> Identity ──> admit(World)
//!                                   │ fails                       │ fails
//!                                   v                             v
//!                              FailedLogins                    Refusal
//! ```
//!
//! Whoever has no valid token learns nothing about what is in the lab; no token is ever printed.

mod caller;
mod failed;
mod identity;
mod jws;
mod keys;
mod refusal;
mod stream;

#[cfg(test)]
pub(crate) use caller::authenticate;
pub use caller::{Claimed, admit, metadata, stream_token};
pub(crate) use failed::network;
pub use failed::{FailedLogins, Verdict};
pub use identity::{DEFAULT_LIFETIME, Identity, Issued, Kind, Subject, Tokens};
pub use keys::{KeyError, Keys, Token};
pub use refusal::Refusal;
pub use stream::{STREAM_LIFETIME, StreamClaim};

#[cfg(test)]
mod tests;
