//! Handle for a storage mux.

use std::path::Path;

use tokio::{fs::File, io::BufReader};

use crate::{Compression, Device, Error, transfer::local};

/// Read size for local files: each read is a trip to another thread, so it takes many frames.
const READ_SIZE: usize = 1024 * 1024;

/// A card or disk that is switched between the lab host and the board.
///
/// ```no_run
/// # use std::path::Path;
/// # use rigd_client::Compression;
/// # async fn run(exporter: rigd_client::Exporter) -> Result<(), rigd_client::Error> {
/// let storage = exporter.device("dutlink.storage").await?.storage();
/// storage.flash(Path::new("image.img.zst"), Compression::Zstd).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Storage {
    device: Device,
}

impl Storage {
    pub(crate) fn new(device: Device) -> Self {
        Self { device }
    }

    /// Connects the storage to the lab host.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`].
    pub async fn host(&self) -> Result<(), Error> {
        self.device.call("host", vec![]).await.map(drop)
    }

    /// Connects the storage to the board.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`].
    pub async fn dut(&self) -> Result<(), Error> {
        self.device.call("dut", vec![]).await.map(drop)
    }

    /// Connects the storage to neither.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`].
    pub async fn off(&self) -> Result<(), Error> {
        self.device.call("off", vec![]).await.map(drop)
    }

    /// Writes a local file from the beginning of the storage on; `compression` says how the file
    /// is compressed. Real muxes switch to the host for it and stay there.
    ///
    /// # Errors
    ///
    /// [`Error::Local`] when the file cannot be read, [`Error::Refused`].
    pub async fn write_file(&self, file: &Path, compression: Compression) -> Result<(), Error> {
        let source = File::open(file)
            .await
            .map_err(|error| local("open", &file.display().to_string(), error))?;
        let source = BufReader::with_capacity(READ_SIZE, source);
        (self.device)
            .upload("write", |handle| vec![handle], source, compression)
            .await
            .map(drop)
    }

    /// Reads the whole storage into a local file, compressed if asked for. Returns the number of
    /// bytes in the file.
    ///
    /// # Errors
    ///
    /// [`Error::Local`] when the file cannot be written, [`Error::Refused`]. The file is then
    /// incomplete.
    pub async fn read_file(&self, file: &Path, compression: Compression) -> Result<u64, Error> {
        let sink = File::create(file)
            .await
            .map_err(|error| local("create", &file.display().to_string(), error))?;
        (self.device)
            .download("read", |handle| vec![handle], sink, compression)
            .await
    }

    /// Switches to the host, writes, and switches to the board, also when the write failed.
    ///
    /// # Errors
    ///
    /// That of the first step that failed.
    pub async fn flash(&self, file: &Path, compression: Compression) -> Result<(), Error> {
        self.host().await?;
        let written = self.write_file(file, compression).await;
        written.and(self.dut().await)
    }

    /// Switches to the host, reads, and switches to the board, also when reading failed. Returns
    /// the number of bytes in the file.
    ///
    /// # Errors
    ///
    /// That of the first step that failed.
    pub async fn dump(&self, file: &Path, compression: Compression) -> Result<u64, Error> {
        self.host().await?;
        let read = self.read_file(file, compression).await;
        let switched = self.dut().await;
        read.and_then(|bytes| switched.map(|()| bytes))
    }
}
