//! Owns the repair of `:authority` values that the HTTP/2 server would refuse.
//!
//! gRPC C-core (and so every Python client) that dials `unix:///tmp/dir/socket` sends the
//! percent-encoded path as `:authority: tmp%2Fdir%2Fsocket`. `http::uri::Authority` takes no `%`,
//! and h2 answers such a request with `RST_STREAM(PROTOCOL_ERROR)`. [`AuthorityFilter`] sits
//! between the socket and the server and rewrites the value where it lies: no byte is added, taken
//! away or held back, so frame lengths and the HPACK tables of both sides stay in step.
//!
//! ```text
//!  Preface --24 bytes match--> Head <----------------------------------------------+
//!     |                          | 9 bytes                                          |
//!     |                          +-- HEADERS, padded or with priority --> Prelude   |
//!     |                          |                                          |       |
//!     |                          +-- HEADERS, CONTINUATION ------------> Fragment --+
//!     |                          +-- any other frame --> Skip (also padding) -------+
//!     +-- anything else, or a stream that breaks the protocol --> Transparent (for ever)
//! ```
//!
//! What comes out does not depend on how the stream was cut into chunks. The filter never panics,
//! never allocates, and never guesses: at the first byte that no HTTP/2 peer may send it lets
//! everything through as it is, so that the server, not the filter, finds the fault and says so.

mod hpack;
mod huffman;
#[cfg(test)]
mod tests;

use self::hpack::FieldScanner;

/// RFC 9113 section 3.4: what every HTTP/2 client sends first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// RFC 9113 section 4.1.
const FRAME_HEAD_LEN: usize = 9;

const TYPE_HEADERS: u8 = 0x1;
const TYPE_CONTINUATION: u8 = 0x9;

const FLAG_END_HEADERS: u8 = 0x4;
const FLAG_PADDED: u8 = 0x8;
const FLAG_PRIORITY: u8 = 0x20;

/// Stream dependency and weight, RFC 9113 section 6.2.
const PRIORITY_LEN: u32 = 5;

/// The stream broke HTTP/2 or HPACK; the server will end the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Malformed;

/// Rewrites the `:authority` values in the client-to-server bytes of one connection.
///
/// In a plain value every byte outside `[A-Za-z0-9.-]` becomes `-`. In a Huffman-coded value only
/// codes of equal length can change places: space and `%` become `-`, `/` becomes `3` (the
/// submodule `huffman` says why), everything else stays.
///
/// Only for unix sockets and tunnels: on TCP an authority is `host:port`, which this would maim.
#[derive(Clone, Debug)]
pub struct AuthorityFilter {
    state: State,
    /// The stream whose field block waits for its CONTINUATION.
    open_block: Option<u32>,
    fields: FieldScanner,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Preface {
        matched: usize,
    },
    Head {
        bytes: [u8; FRAME_HEAD_LEN],
        filled: usize,
    },
    Prelude {
        pad_length: bool,
        priority: u32,
        fragment: Fragment,
    },
    Fragment(Fragment),
    Skip {
        left: u32,
    },
    Transparent,
}

/// What is still to come of a HEADERS or CONTINUATION payload.
#[derive(Clone, Copy, Debug)]
struct Fragment {
    /// Bytes of the field block.
    left: u32,
    /// Bytes of padding after it.
    padding: u32,
    ends_block: bool,
}

struct FrameHead {
    length: u32,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl AuthorityFilter {
    /// A filter for a connection of which no byte has been read yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: State::Preface { matched: 0 },
            open_block: None,
            fields: FieldScanner::new(),
        }
    }

    /// Takes the next bytes of the connection, in order, in pieces of any size.
    ///
    /// Costs a few nanoseconds a frame and a byte of header; the payload of other frames is
    /// skipped without a look.
    pub fn feed(&mut self, bytes: &mut [u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.advance(rest) {
                Ok(taken) => rest = rest.get_mut(taken..).unwrap_or_default(),
                Err(Malformed) => {
                    self.state = State::Transparent;
                    return;
                }
            }
        }
    }

    /// Handles at least one of `bytes` (which is not empty); returns how many.
    fn advance(&mut self, bytes: &mut [u8]) -> Result<usize, Malformed> {
        match self.state {
            State::Preface { matched } => self.preface(matched, bytes),
            State::Head {
                bytes: head,
                filled,
            } => self.head(head, filled, bytes),
            State::Prelude {
                pad_length,
                priority,
                fragment,
            } => self.prelude(pad_length, priority, fragment, bytes),
            State::Fragment(fragment) => self.fragment(fragment, bytes),
            State::Skip { left } => {
                let taken = count(left, bytes);
                self.skip(left - taken);
                Ok(taken as usize)
            }
            State::Transparent => Ok(bytes.len()),
        }
    }

    fn preface(&mut self, matched: usize, bytes: &[u8]) -> Result<usize, Malformed> {
        let expected = &PREFACE[matched..];
        let taken = expected.len().min(bytes.len());
        if bytes[..taken] != expected[..taken] {
            return Err(Malformed);
        }
        self.state = if taken == expected.len() {
            State::next_head()
        } else {
            State::Preface {
                matched: matched + taken,
            }
        };
        Ok(taken)
    }

    fn head(
        &mut self,
        mut head: [u8; FRAME_HEAD_LEN],
        filled: usize,
        bytes: &[u8],
    ) -> Result<usize, Malformed> {
        let missing = &mut head[filled..];
        let taken = missing.len().min(bytes.len());
        missing[..taken].copy_from_slice(&bytes[..taken]);
        if filled + taken == FRAME_HEAD_LEN {
            self.begin_frame(&FrameHead::parse(head))?;
        } else {
            self.state = State::Head {
                bytes: head,
                filled: filled + taken,
            };
        }
        Ok(taken)
    }

    fn begin_frame(&mut self, head: &FrameHead) -> Result<(), Malformed> {
        let is_block = match (head.kind, self.open_block) {
            (TYPE_HEADERS, None) => true,
            (TYPE_CONTINUATION, Some(open)) if open == head.stream => true,
            // RFC 9113 section 6.10: nothing comes between the frames of a field block, and a
            // CONTINUATION comes nowhere else.
            (TYPE_CONTINUATION, None) | (_, Some(_)) => return Err(Malformed),
            _ => false,
        };
        if !is_block {
            self.skip(head.length);
            return Ok(());
        }
        let pad_length = head.kind == TYPE_HEADERS && head.flags & FLAG_PADDED != 0;
        let has_priority = head.kind == TYPE_HEADERS && head.flags & FLAG_PRIORITY != 0;
        let priority = if has_priority { PRIORITY_LEN } else { 0 };
        let prelude = priority + u32::from(pad_length);
        let fragment = Fragment {
            left: head.length.checked_sub(prelude).ok_or(Malformed)?,
            padding: 0,
            ends_block: head.flags & FLAG_END_HEADERS != 0,
        };
        self.open_block = Some(head.stream);
        if prelude == 0 {
            return self.enter_fragment(fragment);
        }
        self.state = State::Prelude {
            pad_length,
            priority,
            fragment,
        };
        Ok(())
    }

    fn prelude(
        &mut self,
        pad_length: bool,
        priority: u32,
        fragment: Fragment,
        bytes: &[u8],
    ) -> Result<usize, Malformed> {
        if pad_length {
            let padding = u32::from(bytes[0]);
            let left = fragment.left.checked_sub(padding).ok_or(Malformed)?;
            self.enter_prelude(
                priority,
                Fragment {
                    left,
                    padding,
                    ..fragment
                },
            )?;
            return Ok(1);
        }
        let taken = count(priority, bytes);
        self.enter_prelude(priority - taken, fragment)?;
        Ok(taken as usize)
    }

    fn enter_prelude(&mut self, priority: u32, fragment: Fragment) -> Result<(), Malformed> {
        if priority == 0 {
            return self.enter_fragment(fragment);
        }
        self.state = State::Prelude {
            pad_length: false,
            priority,
            fragment,
        };
        Ok(())
    }

    fn fragment(&mut self, fragment: Fragment, bytes: &mut [u8]) -> Result<usize, Malformed> {
        let taken = count(fragment.left, bytes);
        for byte in &mut bytes[..taken as usize] {
            *byte = self.fields.step(*byte)?;
        }
        self.enter_fragment(Fragment {
            left: fragment.left - taken,
            ..fragment
        })?;
        Ok(taken as usize)
    }

    fn enter_fragment(&mut self, fragment: Fragment) -> Result<(), Malformed> {
        if fragment.left > 0 {
            self.state = State::Fragment(fragment);
            return Ok(());
        }
        if fragment.ends_block {
            self.fields.end_of_block()?;
            self.open_block = None;
        }
        self.skip(fragment.padding);
        Ok(())
    }

    fn skip(&mut self, left: u32) {
        self.state = if left == 0 {
            State::next_head()
        } else {
            State::Skip { left }
        };
    }
}

impl Default for AuthorityFilter {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    const fn next_head() -> Self {
        Self::Head {
            bytes: [0; FRAME_HEAD_LEN],
            filled: 0,
        }
    }
}

impl FrameHead {
    fn parse(bytes: [u8; FRAME_HEAD_LEN]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = bytes;
        Self {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind,
            flags,
            // The highest bit is reserved and has no meaning.
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
        }
    }
}

/// The smaller of `left` and the number of `bytes`.
fn count(left: u32, bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).map_or(left, |available| available.min(left))
}
