//! Where the bytes of an image come from, as the engine's own thread takes them.

use std::{
    fs::File,
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, MetadataExt},
    },
    path::{Component, Path, PathBuf},
};

use bytes::{Bytes, BytesMut};
use rigd_driver::{Call, DriverError, Upload};
use rustix::fs::{Mode, OFlags, SeekFrom, open, seek};
use tokio::runtime::Handle;

/// Piece in which a file is read.
const PIECE: usize = 256 * 1024;

/// What comes next of an image.
#[derive(Debug)]
pub(crate) enum Piece {
    Data(Bytes),
    /// So many zeros.
    Hole(u64),
}

/// Bytes of an image, in order. Called on a thread that may block.
pub(crate) trait Source: Send {
    /// The next piece; `None` after the last one.
    fn next(&mut self) -> Result<Option<Piece>, DriverError>;
}

/// What a client sends, or a server.
pub(crate) struct FromUpload {
    pub(crate) upload: Upload,
    pub(crate) call: Call,
    pub(crate) runtime: Handle,
}

impl Source for FromUpload {
    fn next(&mut self) -> Result<Option<Piece>, DriverError> {
        let Self {
            upload,
            call,
            runtime,
        } = self;
        let next = runtime.block_on(async {
            // cancel-safe: both arms only wait. What broke the upload is the better cause.
            tokio::select! {
                biased;
                next = upload.next() => next,
                error = call.cancelled() => Err(error),
            }
        });
        match next {
            Ok(next) => Ok(next.map(Piece::Data)),
            // A revoked key ends the upload as well.
            Err(error) => Err(call.key().check().err().map_or(error, DriverError::from)),
        }
    }
}

/// A file of this host.
#[derive(Debug)]
pub(crate) struct FromFile {
    file: File,
    path: PathBuf,
    at: u64,
    size: u64,
    piece: BytesMut,
}

impl FromFile {
    /// Opens the file if it lies below one of `roots`, whatever links lead there. Blocks.
    pub(crate) fn open(path: &Path, roots: &[PathBuf]) -> Result<Self, DriverError> {
        let failed = |error: io::Error| unreadable(path, &error);
        // Not blocking: a pipe in place of a file would wait for its writer.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match open(path, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            // What is elsewhere is nobody's business, not even whether it is there.
            Err(_) if !roots.iter().any(|root| names_below(path, root)) => {
                return Err(outside(path));
            }
            Err(error) => return Err(failed(error.into())),
        };
        // What was opened, and not what a name leads to by now.
        let opened = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let opened = opened.map_err(failed)?;
        let below = |root: &PathBuf| root.canonicalize().is_ok_and(|r| opened.starts_with(r));
        if !roots.iter().any(below) {
            return Err(outside(path));
        }
        let found = file.metadata().map_err(failed)?;
        if !found.is_file() {
            let text = format!("image {} is not a regular file", path.display());
            return Err(DriverError::InvalidArgument(text));
        }
        Ok(Self {
            file,
            path: opened,
            at: 0,
            size: found.size(),
            piece: BytesMut::new(),
        })
    }

    /// Where it lies, without links.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The whole of a small file as text.
    pub(crate) fn text(&self) -> Result<String, DriverError> {
        let mut bytes = vec![0; self.size as usize];
        let read = self.file.read_exact_at(&mut bytes, 0);
        read.map_err(|e| unreadable(&self.path, &e))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Bytes of the file.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Its first bytes.
    pub(crate) fn peek(&self, count: usize) -> Result<Vec<u8>, DriverError> {
        let mut bytes = vec![0; count];
        let read = self.file.read_at(&mut bytes, 0);
        bytes.truncate(read.map_err(|e| unreadable(&self.path, &e))?);
        Ok(bytes)
    }

    fn read(&mut self) -> io::Result<Option<Piece>> {
        if self.at >= self.size {
            return Ok(None);
        }
        let data = match seek(&self.file, SeekFrom::Data(self.at)) {
            Ok(data) => data,
            // Nothing but a hole up to the end.
            Err(rustix::io::Errno::NXIO) => self.size,
            // A file system that cannot tell.
            Err(_) => self.at,
        };
        if data > self.at {
            let hole = data.min(self.size) - self.at;
            self.at += hole;
            return Ok(Some(Piece::Hole(hole)));
        }
        let count = (self.size - self.at).min(PIECE as u64) as usize;
        // The memory of the piece before, once that is used.
        self.piece.resize(count, 0);
        self.file.read_exact_at(&mut self.piece, self.at)?;
        self.at += count as u64;
        Ok(Some(Piece::Data(self.piece.split().freeze())))
    }
}

impl Source for FromFile {
    fn next(&mut self) -> Result<Option<Piece>, DriverError> {
        self.read().map_err(|e| unreadable(&self.path, &e))
    }
}

/// Whether `path` by its words lies below `root`. With `..` it may lie anywhere.
fn names_below(path: &Path, root: &Path) -> bool {
    let climbs = path.components().any(|part| part == Component::ParentDir);
    path.starts_with(root) && !climbs
}

fn outside(path: &Path) -> DriverError {
    DriverError::FailedPrecondition(format!(
        "not below imageRoots: {} is in no directory that the configuration gives to clients",
        path.display()
    ))
}

fn unreadable(path: &Path, error: &io::Error) -> DriverError {
    let text = format!("cannot read image {}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::NotFound => DriverError::InvalidArgument(text),
        _ => DriverError::Device(text),
    }
}
