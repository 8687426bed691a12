//! The lab's services, as Jumpstarter's clients and exporters know them.
//!
//! ```text
//!   call ──> gate: caller (token, kind, name) ──> body ──> rules of the call ──> engine
//! ```

pub mod caller;
pub mod client;
mod condition;
pub mod controller;
pub(crate) mod gate;
pub(crate) mod timely;

/// Streams of answers.
pub(crate) type Answers<T> =
    std::pin::Pin<Box<dyn futures::Stream<Item = Result<T, tonic::Status>> + Send>>;
