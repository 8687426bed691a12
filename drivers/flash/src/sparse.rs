//! Android sparse images, expanded as they arrive.
//!
//! ```text
//!   Header ──> Chunk ──raw──> Raw ──┐
//!                ^  ├──fill─> Fill ─┤
//!                │  └──else─> Rest ─┤
//!                └──────────────────┘   after the last chunk: Done
//! ```
//!
//! Facts: `libsparse/sparse_format.h` of the Android Open Source Project. Numbers are little-endian.
//! The optional CRC of the whole image is not checked; image tools leave it 0.

use crate::pages::PAGE;

/// Bytes that tell whether an image is sparse.
pub(crate) const MAGIC: [u8; 4] = 0xed26_ff3a_u32.to_le_bytes();
const HEADER: usize = 28;
const CHUNK: usize = 12;
/// Longest header accepted; they have 28 and 12 bytes, and say so for the sake of later versions.
const MAX_HEADER: usize = 256;

const RAW: u16 = 0xcac1;
const FILL: u16 = 0xcac2;
const DONT_CARE: u16 = 0xcac3;
const CRC: u16 = 0xcac4;

/// What comes next in the expanded image.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Op<'a> {
    /// These bytes.
    Data(&'a [u8]),
    /// So many bytes of a repeated pattern.
    Fill([u8; 4], u64),
    /// So many bytes that do not matter.
    Skip(u64),
}

#[derive(Debug)]
enum State {
    Header,
    Chunk,
    Raw(u64),
    Fill(u64),
    /// Bytes of the file that carry nothing.
    Rest(u64),
    Done,
}

/// The expansion of one image.
#[derive(Debug)]
pub(crate) struct Expand {
    state: State,
    /// A header or pattern that is not complete yet.
    held: Vec<u8>,
    file_header: usize,
    chunk_header: usize,
    block: u64,
    blocks_left: u64,
    chunks_left: u32,
    size: Option<u64>,
}

impl Expand {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Header,
            held: Vec::new(),
            file_header: HEADER,
            chunk_header: CHUNK,
            block: 0,
            blocks_left: 0,
            chunks_left: 0,
            size: None,
        }
    }

    /// Size of the expanded image, once the header was seen.
    pub(crate) fn size(&self) -> Option<u64> {
        self.size
    }

    /// Takes the next operation from `input`, whose used part is cut off; `None` when more input is
    /// needed.
    pub(crate) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Op<'a>>, String> {
        loop {
            match self.state {
                State::Header => {
                    let Some(header) = self.collect(input, self.file_header.max(HEADER)) else {
                        return Ok(None);
                    };
                    if !self.header(&header)? {
                        // A longer header than we know: what follows is skipped.
                        self.state = State::Rest((self.file_header - HEADER) as u64);
                    }
                }
                State::Chunk => {
                    let Some(header) = self.collect(input, self.chunk_header) else {
                        return Ok(None);
                    };
                    if let Some(op) = self.chunk(&header)? {
                        return Ok(Some(op));
                    }
                }
                State::Raw(left) => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let take = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    let (data, rest) = input.split_at(take);
                    *input = rest;
                    self.advance(left - take as u64, State::Raw);
                    return Ok(Some(Op::Data(data)));
                }
                State::Fill(bytes) => {
                    let Some(pattern) = self.collect(input, 4) else {
                        return Ok(None);
                    };
                    let pattern = [pattern[0], pattern[1], pattern[2], pattern[3]];
                    self.next_chunk();
                    if bytes > 0 {
                        return Ok(Some(Op::Fill(pattern, bytes)));
                    }
                }
                State::Rest(left) => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let take = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    *input = &input[take..];
                    self.advance(left - take as u64, State::Rest);
                }
                State::Done if input.is_empty() => return Ok(None),
                State::Done => return Err("bytes follow its last chunk".into()),
            }
        }
    }

    /// Whether the image is complete.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    fn advance(&mut self, left: u64, state: fn(u64) -> State) {
        if left > 0 {
            self.state = state(left);
        } else {
            self.next_chunk();
        }
    }

    fn next_chunk(&mut self) {
        self.state = if self.chunks_left == 0 {
            State::Done
        } else {
            State::Chunk
        };
    }

    /// `count` bytes that may come in pieces.
    fn collect(&mut self, input: &mut &[u8], count: usize) -> Option<Vec<u8>> {
        let take = input.len().min(count - self.held.len());
        self.held.extend_from_slice(&input[..take]);
        *input = &input[take..];
        (self.held.len() == count).then(|| std::mem::take(&mut self.held))
    }

    /// Whether the next chunk follows at once.
    fn header(&mut self, header: &[u8]) -> Result<bool, String> {
        let (major, minor) = (u16_at(header, 4), u16_at(header, 6));
        if header[..4] != MAGIC || major != 1 {
            return Err(format!("version {major}.{minor}, only 1.x is known"));
        }
        self.file_header = usize::from(u16_at(header, 8));
        self.chunk_header = usize::from(u16_at(header, 10));
        let known = HEADER..=MAX_HEADER;
        if !known.contains(&self.file_header) || !(CHUNK..=MAX_HEADER).contains(&self.chunk_header)
        {
            return Err("its header gives impossible sizes of headers".into());
        }
        self.block = u64::from(u32_at(header, 12));
        if self.block == 0 || !self.block.is_multiple_of(PAGE as u64) {
            return Err(format!(
                "blocks of {} bytes, only multiples of {PAGE} are written",
                self.block
            ));
        }
        self.blocks_left = u64::from(u32_at(header, 16));
        self.chunks_left = u32_at(header, 20);
        self.size = Some(self.blocks_left * self.block);
        self.check_blocks()?;
        self.next_chunk();
        Ok(self.file_header == HEADER)
    }

    fn check_blocks(&self) -> Result<(), String> {
        match (self.chunks_left, self.blocks_left) {
            (0, 1..) => Err(format!("{} blocks are in no chunk", self.blocks_left)),
            _ => Ok(()),
        }
    }

    /// A chunk that needs no input of its own is an operation at once.
    fn chunk<'a>(&mut self, header: &[u8]) -> Result<Option<Op<'a>>, String> {
        let (kind, blocks) = (u16_at(header, 0), u64::from(u32_at(header, 4)));
        let total = u64::from(u32_at(header, 8));
        self.chunks_left -= 1;
        let body = total
            .checked_sub(self.chunk_header as u64)
            .ok_or("a chunk is shorter than its header")?;
        let bytes = blocks * self.block;
        let image = if kind == CRC { 0 } else { blocks };
        self.blocks_left = self
            .blocks_left
            .checked_sub(image)
            .ok_or("its chunks hold more blocks than its header says")?;
        self.check_blocks()?;
        let wrong = |wanted: u64| {
            format!("a chunk of type {kind:#x} has {body} bytes in place of {wanted}")
        };
        match kind {
            RAW if body != bytes => Err(wrong(bytes)),
            RAW => {
                self.advance(bytes, State::Raw);
                Ok(None)
            }
            FILL if body != 4 => Err(wrong(4)),
            FILL => {
                self.state = State::Fill(bytes);
                Ok(None)
            }
            DONT_CARE => {
                self.advance(body, State::Rest);
                Ok((bytes > 0).then_some(Op::Skip(bytes)))
            }
            CRC => {
                self.advance(body, State::Rest);
                Ok(None)
            }
            _ => Err(format!("unknown chunk type {kind:#x}")),
        }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

#[cfg(test)]
mod tests;
