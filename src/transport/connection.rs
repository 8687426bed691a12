//! What the session knows of the connection that a request came over.

use std::sync::Arc;

use crate::session::SmallFrames;

/// One client connection; in the extensions of each of its requests.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    /// Its part of HTTP/2's budget for tiny frames.
    pub small_frames: Arc<SmallFrames>,
}
