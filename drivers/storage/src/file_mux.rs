//! `storage.file`: a storage mux whose card is a file.
//!
//! ```text
//!   off ──host, write, read──> at the host <──host── dut: complete ──> at the board
//! ```
//!
//! The mark of an incomplete card is a file beside it, so that it goes where the card goes. The card's
//! content outlives leases; its position and mark are about the content and do, too.

use std::{
    fs::OpenOptions,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rigd_driver::{
    Call, ConfigError, Driver, DriverError, HealthHandle, Interface, Mode, OpenCx, OpenError,
    ResourceHandle,
};
use rigd_flash::{
    Access, Disk, Extent, FlashSettings, Flasher, ImageFrom, Medium, Report, WriteOptions,
};
use rustix::fs::{Access as Permission, AtFlags, CWD, accessat};
use schemars::JsonSchema;
use serde::Deserialize;

/// A card that is a file on the lab host, behind a mux that is only a state.
///
/// [Flashing](../flashing.md) tells what `write` takes and does. The file takes the size of its image.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileMuxConfig {
    /// The file; its directory must exist. A relative path is below the instance's own directory
    /// in the daemon's state directory.
    pub path: PathBuf,
    /// Capacity of the card in bytes; a larger image is refused. Without it the disk is the limit.
    #[serde(default)]
    pub size: Option<u64>,
    /// How images are written.
    #[serde(default)]
    pub flash: FlashSettings,
}

/// Who has the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    Off,
    Host,
    Dut,
}

impl Position {
    /// The name of the state.
    const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Host => "host",
            Self::Dut => "dut",
        }
    }
}

/// A storage mux over a file.
#[derive(Debug)]
pub struct FileMux {
    path: PathBuf,
    size: Option<u64>,
    position: Mutex<Position>,
    flasher: Flasher,
    health: HealthHandle,
}

impl Driver for FileMux {
    const TYPE: &'static str = "storage.file";
    const CLIENT: &'static str = "jumpstarter_driver_opendal.client.StorageMuxFlasherClient";
    const CATEGORY: &'static str = "storage";
    type Config = FileMuxConfig;

    fn interface() -> Interface<Self> {
        Interface::new()
            .call("host", Mode::Exclusive, Self::host)
            .call("dut", Mode::Exclusive, Self::dut)
            .call("off", Mode::Exclusive, Self::off)
            .call("write", Mode::Transfer, Self::write)
            .call("write_file", Mode::Transfer, Self::write_file)
            .call("read", Mode::Transfer, Self::read)
            .switches("host", Position::Host.word())
            .switches("dut", Position::Dut.word())
            .switches("off", Position::Off.word())
            .variant("write_file", "write")
            .passes("write", const { &[Position::Host.word()] })
            .passes("write_file", const { &[Position::Host.word()] })
            .passes("read", const { &[Position::Host.word()] })
    }

    fn state(&self) -> Option<&'static str> {
        let position = *self.position.lock().unwrap_or_else(PoisonError::into_inner);
        Some(position.word())
    }

    fn check(config: &FileMuxConfig) -> Result<(), ConfigError> {
        if config.path.file_name().is_none() {
            let text = format!(
                "{} names no file, e.g. /srv/card.img",
                config.path.display()
            );
            return Err(ConfigError::new("path", text));
        }
        if config.size == Some(0) {
            let text = "a card of 0 bytes holds nothing; leave the key out for no limit";
            return Err(ConfigError::new("size", text));
        }
        Ok(())
    }

    async fn open(config: &FileMuxConfig, cx: &OpenCx) -> Result<Self, OpenError> {
        let own_dir = config.path.is_relative().then(|| cx.state_dir().to_owned());
        let FileMuxConfig { path, size, flash } = config.clone();
        let (path, flasher) = cx
            .blocking(move || {
                let path = place(path, own_dir)?;
                check_usable(&path)?;
                let mut mark = path.clone().into_os_string();
                mark.push(".incomplete");
                Ok((path, Flasher::with_mark(flash, mark.into())?))
            })
            .await?;
        Ok(Self {
            path,
            size,
            position: Mutex::new(Position::Off),
            flasher,
            health: cx.health().clone(),
        })
    }

    /// Card, mark and position stay; only what still runs of a write has to end.
    async fn lease_end(&self) -> Result<(), DriverError> {
        self.flasher.idle().await;
        Ok(())
    }

    async fn close(&self) {
        self.flasher.idle().await;
    }
}

impl FileMux {
    async fn host(self: Arc<Self>, _: Call) -> Result<(), DriverError> {
        self.switch(Position::Host);
        Ok(())
    }

    async fn dut(self: Arc<Self>, _: Call) -> Result<(), DriverError> {
        self.flasher.check_complete()?;
        self.switch(Position::Dut);
        Ok(())
    }

    async fn off(self: Arc<Self>, _: Call) -> Result<(), DriverError> {
        self.switch(Position::Off);
        Ok(())
    }

    async fn write(
        self: Arc<Self>,
        call: Call,
        handle: ResourceHandle,
        options: Option<WriteOptions>,
    ) -> Result<Report, DriverError> {
        self.flash(call, ImageFrom::Client(handle), options).await
    }

    async fn write_file(
        self: Arc<Self>,
        call: Call,
        path: PathBuf,
        options: Option<WriteOptions>,
    ) -> Result<Report, DriverError> {
        self.flash(call, ImageFrom::Host(path), options).await
    }

    async fn flash(
        &self,
        call: Call,
        image: ImageFrom,
        options: Option<WriteOptions>,
    ) -> Result<Report, DriverError> {
        let options = options.unwrap_or_default();
        let card = self.card(&call, Access::Write);
        self.flasher.write(&call, image, &options, card).await
    }

    async fn read(self: Arc<Self>, call: Call, handle: ResourceHandle) -> Result<(), DriverError> {
        let there = self.path.try_exists().unwrap_or(true);
        if !there && directory(&self.path).is_dir() {
            // Nothing was written yet: an empty card.
            self.switch(Position::Host);
            return call.download(handle).await?.finish().await;
        }
        let card = self.card(&call, Access::Read);
        self.flasher.read(&call, handle, card).await
    }

    /// The card at the host, open. One that is gone makes the instance absent.
    async fn card(&self, call: &Call, access: Access) -> Result<Arc<dyn Medium>, DriverError> {
        self.switch(Position::Host);
        let (path, extent) = (self.path.clone(), Extent::Grows(self.size));
        let opened = call.blocking(move |_| Disk::open(&path, access, extent));
        match opened.await {
            Ok(disk) => Ok(Arc::new(disk)),
            Err(DriverError::Unavailable(reason)) => {
                self.health.lost(reason.clone());
                Err(DriverError::Unavailable(reason))
            }
            Err(error) => Err(error),
        }
    }

    fn switch(&self, to: Position) {
        let mut position = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        if *position != to {
            tracing::debug!(from = ?*position, ?to, "Switched the card.");
            *position = to;
        }
    }
}

/// Where the card is: a relative `path` is below `own_dir`, which is made.
fn place(path: PathBuf, own_dir: Option<PathBuf>) -> Result<PathBuf, OpenError> {
    let Some(dir) = own_dir else {
        return Ok(path);
    };
    std::fs::create_dir_all(&dir)
        .map_err(|e| faulty(format!("cannot create {}", dir.display()), &e))?;
    Ok(dir.join(path))
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn check_usable(path: &Path) -> Result<(), OpenError> {
    let shown = path.display();
    let dir = directory(path);
    match std::fs::metadata(dir) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => {
            let text = format!("{} is not a directory", dir.display());
            return Err(OpenError::Faulty(text));
        }
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let text = format!("directory {} does not exist", dir.display());
            return Err(OpenError::Absent(text));
        }
        Err(e) => return Err(faulty(format!("cannot reach {}", dir.display()), &e)),
    }
    // The mark lies beside the card, so its directory has to take files even if the card exists.
    let access = Permission::WRITE_OK | Permission::EXEC_OK;
    accessat(CWD, dir, access, AtFlags::EACCESS)
        .map_err(|e| faulty(format!("cannot write to {}", dir.display()), &e.into()))?;
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            Err(OpenError::Faulty(format!("{shown} is not a regular file")))
        }
        Ok(_) => {
            let opened = OpenOptions::new().read(true).write(true).open(path);
            opened
                .map(|_| ())
                .map_err(|e| faulty(format!("cannot open {shown} for reading and writing"), &e))
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(faulty(format!("cannot reach {shown}"), &e)),
    }
}

fn faulty(what: String, error: &io::Error) -> OpenError {
    OpenError::Faulty(format!("{what}: {error}"))
}
