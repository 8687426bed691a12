//! Compression of streams: always all members, always flushed, within a bounded memory.
//!
//! Each transfer decodes or encodes on a thread of its own, beside the thread that writes to the
//! device: xz takes milliseconds for a block, which would stall every other client of a worker.

mod decode;
mod encode;
mod encoding;
mod need;
#[cfg(test)]
mod tests;
mod thread;

pub use decode::decode;
pub use encode::encode;
pub use encoding::Encoding;

/// Size of a decoded or encoded chunk.
const CHUNK: usize = 64 * 1024;
