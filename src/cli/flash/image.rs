//! The image that `rigd flash` sends: a file, or what is piped in.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::{Bytes, BytesMut};
use rigd_flash::{MAX_MAP, maps_beside};
use rigd_proto::control::v1::{FlashEnd, FlashRequest, flash_request::Act};
use tokio::sync::{mpsc, oneshot};

/// The most that is read at once, and travels in one message.
const PIECE: usize = 256 * 1024;

/// An image that can be read.
pub(super) struct Image {
    name: String,
    /// Of a file whose size is known.
    size: Option<u64>,
    source: Box<dyn Read + Send>,
}

/// An image on its way.
pub(super) struct Reading {
    sent: Arc<AtomicU64>,
    failed: Option<oneshot::Receiver<String>>,
}

impl Image {
    /// Opens a file; `-` is standard input.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        if path == Path::new("-") {
            return Ok(Self {
                name: "standard input".into(),
                size: None,
                source: Box::new(io::stdin()),
            });
        }
        let name = path.display().to_string();
        let cannot = |error: io::Error| {
            let hint = match name.split_once("://") {
                Some(("http" | "https", _)) => {
                    "; a URL is not fetched: write `curl -fsSL URL | rigd flash EXPORTER -`"
                }
                _ => "",
            };
            format!("cannot read image {name}: {error}{hint}")
        };
        let file = File::open(path).map_err(cannot)?;
        let found = file.metadata().map_err(cannot)?;
        if found.is_dir() {
            return Err(format!("image {name} is a directory; name a file in it"));
        }
        let size = found.is_file().then_some(found.len());
        if size == Some(0) {
            return Err(format!("image {name} is empty"));
        }
        Ok(Self {
            size,
            source: Box::new(file),
            name,
        })
    }

    /// What to call it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its bytes, where that is known.
    pub(super) fn size(&self) -> Option<u64> {
        self.size
    }

    /// Sends it by a thread of its own, which ends with the image, with whoever takes the requests, or
    /// with the process. The message that it is complete goes out only when it is.
    pub(super) fn send(self, requests: mpsc::Sender<FlashRequest>) -> io::Result<Reading> {
        let (failed_tx, failed) = oneshot::channel();
        let sent = Arc::new(AtomicU64::new(0));
        let count = sent.clone();
        let work = move || {
            if let Err(error) = self.pour(&requests, &count) {
                // It is told before the requests end, which is the lesser cause.
                failed_tx.send(error).ok();
            }
        };
        std::thread::Builder::new()
            .name("image".into())
            .spawn(work)?;
        Ok(Reading {
            sent,
            failed: Some(failed),
        })
    }

    fn pour(
        mut self,
        requests: &mpsc::Sender<FlashRequest>,
        sent: &AtomicU64,
    ) -> Result<(), String> {
        let send = |act| {
            let act = Some(act);
            // A daemon that takes no more says why in its news.
            requests.blocking_send(FlashRequest { act }).is_ok()
        };
        loop {
            let piece = self.piece()?;
            if piece.is_empty() {
                break;
            }
            let read = piece.len() as u64;
            if !send(Act::Data(piece)) {
                return Ok(());
            }
            sent.fetch_add(read, Relaxed);
        }
        let all = sent.load(Relaxed);
        if let Some(size) = self.size.filter(|size| *size != all) {
            let name = self.name;
            return Err(format!(
                "image {name} changes while it is read: it had {size} bytes, {all} came"
            ));
        }
        send(Act::End(FlashEnd {}));
        Ok(())
    }

    /// The next piece; an empty one at the end.
    fn piece(&mut self) -> Result<Bytes, String> {
        let mut buffer = BytesMut::zeroed(PIECE);
        loop {
            match self.source.read(&mut buffer) {
                Ok(read) => {
                    buffer.truncate(read);
                    return Ok(buffer.freeze());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("cannot read image {}: {error}", self.name)),
            }
        }
    }
}

impl Reading {
    /// Bytes that were sent so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Why the image could not be read to its end; resolves only then. Cancel-safe.
    pub(super) async fn failed(&mut self) -> String {
        if let Some(failed) = &mut self.failed {
            if let Ok(error) = failed.await {
                return error;
            }
            self.failed = None;
        }
        std::future::pending().await
    }
}

/// The text of a block map.
///
/// # Errors
/// It cannot be read, or is none.
pub(super) fn read_map(path: &Path) -> Result<String, String> {
    let name = path.display();
    let cannot = |error: io::Error| format!("cannot read block map {name}: {error}");
    let file = File::open(path).map_err(cannot)?;
    let mut text = String::new();
    file.take(MAX_MAP + 1)
        .read_to_string(&mut text)
        .map_err(cannot)?;
    if text.len() as u64 > MAX_MAP {
        return Err(format!("block map {name} has more than {MAX_MAP} bytes"));
    }
    Ok(text)
}

/// The map beside an image, which is told. One that cannot be read is none, as for the daemon: the
/// image is then written as a whole.
pub(super) fn map_beside(image: &Path) -> Option<String> {
    let found = maps_beside(image).filter(|path| path.is_file());
    let mut found = found.filter_map(|path| Some((read_map(&path).ok()?, path)));
    let (text, path) = found.next()?;
    eprintln!("Using the block map {}.", path.display());
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(image: Image) -> (Vec<FlashRequest>, Result<(), String>) {
        let (requests, mut queue) = mpsc::channel(64);
        let outcome = image.pour(&requests, &AtomicU64::new(0));
        drop(requests);
        let mut all = Vec::new();
        while let Some(request) = queue.blocking_recv() {
            all.push(request);
        }
        (all, outcome)
    }

    #[test]
    fn only_a_whole_image_is_said_to_be_complete() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.img");
        std::fs::write(&path, vec![7; PIECE + 1]).unwrap();
        let (all, outcome) = send(Image::open(&path).unwrap());
        outcome.unwrap();
        let lengths: Vec<_> = all
            .iter()
            .map(|request| match &request.act {
                Some(Act::Data(bytes)) => Some(bytes.len()),
                _ => None,
            })
            .collect();
        assert_eq!(lengths, [Some(PIECE), Some(1), None]);
        assert_eq!(all[2].act, Some(Act::End(FlashEnd {})));

        let image = Image::open(&path).unwrap();
        std::fs::write(&path, [7; 9]).unwrap();
        let (all, outcome) = send(image);
        let text = outcome.unwrap_err();
        assert!(text.ends_with("it had 262145 bytes, 9 came"), "{text}");
        assert!(!all.iter().any(|it| matches!(it.act, Some(Act::End(_)))));
    }

    #[test]
    fn what_is_no_image_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let error = |path: &Path| Image::open(path).err().unwrap();
        assert!(error(dir.path()).ends_with(" is a directory; name a file in it"));
        let empty = dir.path().join("empty");
        std::fs::write(&empty, "").unwrap();
        assert!(error(&empty).ends_with(" is empty"));
        let text = error(&dir.path().join("none"));
        assert!(text.starts_with("cannot read image /"), "{text}");
        let text = error(Path::new("https://example.com/a.img"));
        assert!(text.contains("; a URL is not fetched: "), "{text}");
    }

    #[test]
    fn a_map_lies_beside_the_image_under_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("board.wic.xz");
        assert_eq!(map_beside(&image), None);
        for name in ["board.bmap", "board.wic.bmap", "board.wic.xz.bmap"] {
            std::fs::write(dir.path().join(name), name).unwrap();
            assert_eq!(map_beside(&image).as_deref(), Some(name));
        }
    }
}
