//! Where the bytes of an image go, as they arrive: raw or sparse, all of them or those that a map
//! names. Pure: no I/O, no clock.
//!
//! ```text
//!   bytes ──> [sparse: Expand] ──> place in the image ──> [bmap: check, cut] ──> Sink
//! ```

use rigd_driver::{ByteCount, DriverError};
use sha2::{Digest, Sha256};

use crate::{
    bmap::{Bmap, pages_within},
    sparse::{Expand, Op},
};

/// Piece in which zeros and patterns are laid down.
const FILL: usize = 64 * 1024;

/// Takes the parts of an image that are to be written, in order.
pub(crate) trait Sink {
    /// `bytes` belong at `at`.
    fn put(&mut self, at: u64, bytes: &[u8]) -> Result<(), DriverError>;
}

/// What to do with parts of an image that hold only zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gaps {
    Fill,
    Leave,
}

/// What an image is.
#[derive(Debug)]
pub(crate) enum Form {
    Raw,
    Sparse(Box<Expand>),
}

/// The walk over one image.
#[derive(Debug)]
pub(crate) struct Layout {
    form: Form,
    /// Place in the image: so many bytes were seen.
    at: u64,
    /// Bytes of the image, where they are known.
    size: Option<u64>,
    /// Bytes that the target holds, where it does not grow.
    capacity: Option<u64>,
    gaps: Gaps,
    mapped: Option<MapWalk>,
}

impl Layout {
    /// `size` is that of the image before it is expanded.
    pub(crate) fn new(
        form: Form,
        size: Option<u64>,
        bmap: Option<Bmap>,
        gaps: Gaps,
        capacity: Option<u64>,
    ) -> Result<Self, DriverError> {
        let raw = matches!(form, Form::Raw);
        if !raw && bmap.is_some() {
            return Err(invalid(
                "a block map belongs to a raw image, and this is an Android sparse image".into(),
            ));
        }
        let layout = Self {
            form,
            at: 0,
            size: bmap.as_ref().map(|b| b.size).or(size.filter(|_| raw)),
            capacity,
            gaps,
            mapped: bmap.map(MapWalk::new),
        };
        if let (Some(size), Some(bmap)) = (size, &layout.mapped)
            && size != bmap.bmap.size
        {
            return Err(invalid(format!(
                "the block map is of another image: it says {} bytes, the image has {size}",
                bmap.bmap.size
            )));
        }
        layout.size.map_or(Ok(()), |size| layout.fits(size))?;
        Ok(layout)
    }

    /// Bytes of the image, where they are known by now.
    pub(crate) fn size(&self) -> Option<u64> {
        self.size
    }

    /// The next bytes of the image.
    pub(crate) fn push(
        &mut self,
        mut bytes: &[u8],
        sink: &mut dyn Sink,
    ) -> Result<(), DriverError> {
        if matches!(self.form, Form::Raw) {
            return self.data(bytes, sink);
        }
        while let Some(op) = self.expand(&mut bytes)? {
            match op {
                Op::Data(data) => self.data(data, sink)?,
                Op::Fill(pattern, count) => self.fill(pattern, count, sink)?,
                Op::Skip(count) => self.skip(count)?,
            }
        }
        Ok(())
    }

    /// So many zeros that the source does not have as bytes.
    pub(crate) fn hole(&mut self, count: u64, sink: &mut dyn Sink) -> Result<(), DriverError> {
        match self.gaps {
            Gaps::Leave if self.mapped.is_none() => self.skip(count),
            _ => self.fill([0; 4], count, sink),
        }
    }

    /// The image is over; gives its size.
    pub(crate) fn end(&mut self) -> Result<u64, DriverError> {
        if let Form::Sparse(expand) = &self.form
            && !expand.is_done()
        {
            let at = self.at;
            return Err(invalid(format!(
                "Android sparse image: it ends early, after {at} bytes"
            )));
        }
        match self.size {
            Some(size) if size != self.at => Err(invalid(format!(
                "the image ends early: it has {} of {size} bytes",
                self.at
            ))),
            _ => Ok(self.at),
        }
    }

    fn expand<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Op<'a>>, DriverError> {
        let Form::Sparse(expand) = &mut self.form else {
            return Ok(None);
        };
        let op = expand.next(bytes);
        let op = op.map_err(|e| invalid(format!("Android sparse image: {e}")))?;
        if self.size.is_none()
            && let Some(size) = expand.size()
        {
            self.size = Some(size);
            self.fits(size)?;
        }
        Ok(op)
    }

    fn data(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<(), DriverError> {
        let at = self.at;
        self.skip(bytes.len() as u64)?;
        match &mut self.mapped {
            Some(map) => map.put(at, bytes, sink),
            None => sink.put(at, bytes),
        }
    }

    fn fill(
        &mut self,
        pattern: [u8; 4],
        count: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), DriverError> {
        // Told before the first of what may be terabytes.
        self.fits(self.at.saturating_add(count))?;
        let piece = pattern.repeat(FILL / 4);
        let mut left = count;
        while left > 0 {
            let now = left.min(FILL as u64);
            self.data(&piece[..now as usize], sink)?;
            left -= now;
        }
        Ok(())
    }

    fn skip(&mut self, count: u64) -> Result<(), DriverError> {
        let end = self.at.saturating_add(count);
        if let (Some(size), Form::Raw) = (self.size, &self.form)
            && end > size
        {
            return Err(invalid(format!(
                "the image goes on beyond its {size} bytes{}",
                if self.mapped.is_some() {
                    ": the block map is of another image"
                } else {
                    ""
                }
            )));
        }
        self.fits(end)?;
        self.at = end;
        Ok(())
    }

    fn fits(&self, end: u64) -> Result<(), DriverError> {
        let Some(capacity) = self.capacity.filter(|capacity| end > *capacity) else {
            return Ok(());
        };
        let least = match self.size {
            Some(size) => format!("{size} bytes ({})", ByteCount(size).rounded()),
            None => format!("at least {end} bytes"),
        };
        let has = ByteCount(capacity).rounded();
        Err(invalid(format!(
            "image too large: the card holds {capacity} bytes ({has}), the image has {least}"
        )))
    }
}

/// The walk along a map: what of the image is mapped, and whether it is what the map says.
#[derive(Debug)]
struct MapWalk {
    bmap: Bmap,
    /// Where the next search for pages begins.
    pages: usize,
    /// The range whose checksum is being taken.
    range: usize,
    hash: Sha256,
}

impl MapWalk {
    fn new(bmap: Bmap) -> Self {
        Self {
            bmap,
            pages: 0,
            range: 0,
            hash: Sha256::new(),
        }
    }

    fn put(&mut self, at: u64, bytes: &[u8], sink: &mut dyn Sink) -> Result<(), DriverError> {
        let end = at + bytes.len() as u64;
        // Before they are written: what is wrong must not reach the target as far as one can tell.
        self.check(at, bytes)?;
        let mut from = at;
        while let Some((start, stop)) = pages_within(&self.bmap.mapped, &mut self.pages, from, end)
        {
            let part = (start - at) as usize..(stop - at) as usize;
            sink.put(start, &bytes[part])?;
            from = stop;
        }
        Ok(())
    }

    fn check(&mut self, at: u64, bytes: &[u8]) -> Result<(), DriverError> {
        let end = at + bytes.len() as u64;
        while let Some(mapped) = self.bmap.mapped.get(self.range) {
            let (start, stop) = (mapped.start.max(at), mapped.end.min(end));
            if start >= stop {
                return Ok(());
            }
            if let Some(wanted) = mapped.hash {
                let part = (start - at) as usize..(stop - at) as usize;
                self.hash.update(&bytes[part]);
                if stop == mapped.end {
                    let found: [u8; 32] = self.hash.finalize_reset().into();
                    if found != wanted {
                        return Err(invalid(format!(
                            "wrong checksum: bytes {} to {} of the image are not what its block \
                             map says",
                            mapped.start, mapped.end
                        )));
                    }
                }
            }
            if stop < mapped.end {
                return Ok(());
            }
            self.range += 1;
        }
        Ok(())
    }
}

fn invalid(text: String) -> DriverError {
    DriverError::InvalidArgument(text)
}

#[cfg(test)]
mod tests;
