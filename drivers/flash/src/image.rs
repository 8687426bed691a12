//! What an image is, found out before the first byte of the card changes: its source, its form, its
//! size and its block map.

use std::path::{Path, PathBuf};

use rigd_codec::Encoding;
use rigd_driver::{Call, DriverError, ResourceHandle, Upload, upload_channel};
use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    bmap::Bmap,
    layout::Form,
    settings::{FlashSettings, Format},
    source::{FromFile, FromUpload, Piece, Source},
    sparse::{Expand, MAGIC},
};

/// Bytes looked at.
const HEADER: usize = 16;
/// Where a map is looked for beside `image.wic.xz`: `image.wic.xz.bmap`, `image.wic.bmap`,
/// `image.bmap`, as bmaptool does.
const BESIDE: [(usize, &str); 3] = [(0, ".bmap"), (1, ".bmap"), (2, ".bmap")];
/// Largest block map that is read, in bytes: one of a fragmented 128 GiB image has 4 MiB.
pub const MAX_MAP: u64 = 16 << 20;

/// An image that is about to be written.
pub(crate) struct Image {
    pub(crate) source: Box<dyn Source>,
    pub(crate) form: Form,
    /// Bytes that the source will give, where that is known.
    pub(crate) size: Option<u64>,
    pub(crate) bmap: Option<Bmap>,
}

impl Image {
    /// What a client or a server sends. Cancel-safe: a dropped image was never begun.
    pub(crate) async fn receive(
        call: &Call,
        handle: ResourceHandle,
        settings: &FlashSettings,
        bmap: Option<&str>,
    ) -> Result<Self, DriverError> {
        let beside = match bmap {
            Some(_) => None,
            None if settings.find_bmap => call.beside(&handle, &BESIDE).await,
            None => None,
        };
        let beside = beside.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let bmap = read_map(bmap.or(beside.as_deref()))?;
        let memory = settings.max_decoder_memory.0;
        let upload = call.upload_within(handle, memory).await?;
        Self::detect(call, upload, settings, bmap).await
    }

    /// A file of this host, with the map beside it if there is one and none is given.
    pub(crate) async fn open(
        call: &Call,
        path: &Path,
        settings: &FlashSettings,
        bmap: Option<&str>,
    ) -> Result<Self, DriverError> {
        let given = bmap.map(str::to_owned);
        let (own, find) = (path.to_owned(), settings.find_bmap);
        let roots = settings.image_roots.clone();
        let (file, header, map) = call
            .blocking(move |_| {
                let file = FromFile::open(&own, &roots)?;
                let header = file.peek(HEADER)?;
                let beside = || find.then(|| map_beside(file.path(), &roots)).flatten();
                let map = given.or_else(beside);
                Ok((file, header, map))
            })
            .await?;
        let bmap = read_map(map.as_deref())?;
        let plain =
            settings.format == Format::Raw || Encoding::detect(&header) == Encoding::Identity;
        if plain {
            return Ok(Self {
                size: Some(file.size()),
                form: form(&header, settings),
                source: Box::new(file),
                bmap,
            });
        }
        Self::detect(call, send(file)?, settings, bmap).await
    }

    async fn detect(
        call: &Call,
        mut upload: Upload,
        settings: &FlashSettings,
        bmap: Option<Bmap>,
    ) -> Result<Self, DriverError> {
        if settings.format == Format::Auto {
            let encoding = Encoding::detect(upload.peek(HEADER).await?);
            if encoding != Encoding::Identity {
                tracing::info!("The image is {} data and is unpacked.", encoding.name());
                upload = rigd_codec::decode(
                    upload,
                    encoding,
                    settings.max_decoder_memory.0,
                    CancellationToken::new(),
                    // The thread ends with the upload, which the write ends with.
                    &TaskTracker::new(),
                );
            }
        }
        let form = form(upload.peek(HEADER).await?, settings);
        let size = upload.size();
        let source = Box::new(FromUpload {
            upload,
            call: call.clone(),
            runtime: Handle::current(),
        });
        Ok(Self {
            source,
            form,
            size,
            bmap,
        })
    }
}

fn form(header: &[u8], settings: &FlashSettings) -> Form {
    if settings.format == Format::Auto && header.starts_with(&MAGIC) {
        tracing::info!("The image is an Android sparse image and is expanded.");
        Form::Sparse(Box::new(Expand::new()))
    } else {
        Form::Raw
    }
}

fn read_map(text: Option<&str>) -> Result<Option<Bmap>, DriverError> {
    let Some(text) = text else {
        return Ok(None);
    };
    let map = Bmap::parse(text);
    let map = map.map_err(|e| DriverError::InvalidArgument(format!("bad block map: {e}")))?;
    if map.unchecked {
        tracing::warn!("The block map has SHA-1 checksums, which are not checked.");
    }
    Ok(Some(map))
}

/// Where the block map of an image file may lie, the likeliest first.
pub fn maps_beside(image: &Path) -> impl Iterator<Item = PathBuf> {
    let name = image.file_name().and_then(|name| name.to_str());
    BESIDE.into_iter().filter_map(move |(cut, ending)| {
        let stem = (0..cut).try_fold(name?, |name, _| name.rsplit_once('.').map(|(stem, _)| stem));
        let stem = stem.filter(|stem| !stem.is_empty())?;
        Some(image.with_file_name(format!("{stem}{ending}")))
    })
}

/// The map beside a file. One that cannot be read is none: the image is then written as a whole.
fn map_beside(image: &Path, roots: &[PathBuf]) -> Option<String> {
    for path in maps_beside(image) {
        let map = FromFile::open(&path, roots).ok();
        if let Some(map) = map.filter(|map| map.size() <= MAX_MAP) {
            tracing::info!("Found {}.", path.display());
            return map.text().ok();
        }
    }
    None
}

/// The bytes of a file as an upload, for a decoder.
fn send(mut file: FromFile) -> Result<Upload, DriverError> {
    let (chunks, upload) = upload_channel();
    let runtime = Handle::current();
    let work = move || {
        loop {
            let piece = match file.next() {
                Ok(Some(Piece::Data(bytes))) => bytes,
                // Compressed data has no holes worth the name.
                Ok(Some(Piece::Hole(count))) => vec![0; count as usize].into(),
                Ok(None) => return runtime.block_on(chunks.end()),
                Err(error) => return runtime.block_on(chunks.fail(error)),
            };
            for at in (0..piece.len()).step_by(64 * 1024) {
                let end = piece.len().min(at + 64 * 1024);
                if !runtime.block_on(chunks.send(piece.slice(at..end))) {
                    return false;
                }
            }
        }
    };
    std::thread::Builder::new()
        .name("rigd:image".into())
        .spawn(work)
        .map_err(|e| DriverError::Exhausted(format!("cannot start a thread to read: {e}")))?;
    Ok(upload)
}
