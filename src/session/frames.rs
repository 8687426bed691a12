//! Router frames: what a client sends on `RouterService.Stream`, told as events.
//!
//! | frame | means |
//! |---|---|
//! | DATA | bytes |
//! | GOAWAY | this side sends no more |
//! | PING, RST_STREAM, unknown | nothing |
//!
//! The end of the request without GOAWAY is told apart: HTTP/2 gives the same end for a half-close
//! and for a cancelled call, so only GOAWAY proves that the client meant to stop.

use bytes::Bytes;
use rigd_proto::v1::{FrameType, StreamRequest, StreamResponse};
use tonic::{Status, Streaming};

/// What the client did.
#[derive(Debug)]
pub(super) enum Uplink {
    /// Bytes. None at all is a message where boundaries are kept, and nothing elsewhere.
    Data(Bytes),
    /// The client said that it sends no more.
    Goaway,
    /// The request ended without a word: a plain half-close, or the call was cancelled.
    Closed,
    /// The connection broke or the client sent what cannot be decoded.
    Broken(Status),
}

/// The frames of one client stream.
#[derive(Debug)]
pub(super) struct Frames(pub(super) Streaming<StreamRequest>);

impl Frames {
    /// The next event. Cancel-safe.
    pub(super) async fn next(&mut self) -> Uplink {
        loop {
            match self.0.message().await {
                Ok(Some(frame)) if frame.frame_type == i32::from(FrameType::Data) => {
                    return Uplink::Data(frame.payload);
                }
                Ok(Some(frame)) if frame.frame_type == i32::from(FrameType::Goaway) => {
                    return Uplink::Goaway;
                }
                Ok(Some(_)) => {}
                Ok(None) => return Uplink::Closed,
                Err(status) => return Uplink::Broken(status),
            }
        }
    }

    /// Reads and drops everything, also after GOAWAY, until the client's direction is over.
    /// Cancel-safe.
    pub(super) async fn drain(&mut self) {
        while !matches!(self.next().await, Uplink::Closed | Uplink::Broken(_)) {}
    }

    /// Reads and drops data until the client says that it sends no more. Cancel-safe.
    pub(super) async fn swallow(&mut self) {
        while matches!(self.next().await, Uplink::Data(_)) {}
    }
}

/// A frame with bytes.
pub(super) fn data(payload: Bytes) -> StreamResponse {
    StreamResponse {
        payload,
        frame_type: FrameType::Data.into(),
    }
}

/// The frame that ends this direction.
pub(super) fn goaway() -> StreamResponse {
    StreamResponse {
        payload: Bytes::new(),
        frame_type: FrameType::Goaway.into(),
    }
}
