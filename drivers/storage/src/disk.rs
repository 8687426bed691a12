//! `storage.disk`: a card in a reader, or any other block device or file, without a mux.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rigd_device::{Class, DeviceMatch, FindError};
use rigd_driver::{
    Call, ConfigError, Delay, Driver, DriverError, HealthHandle, Interface, Mode, OpenCx,
    OpenError, ResourceHandle,
};
use rigd_flash::{
    Access, Extent, FlashSettings, Flasher, ImageFrom, Medium, Report, WriteOptions,
    open_when_ready,
};
use rustix::fs::{Access as Permission, AtFlags, CWD, accessat};
use schemars::JsonSchema;
use serde::Deserialize;

/// How long a card may take to be found in its reader: what upstream's drivers wait.
const STORAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long what was written may take to reach the card: what upstream's drivers wait.
const FSYNC_TIMEOUT: Duration = Duration::from_secs(900);

/// A card without a mux: any block device of the lab host, or a file that stands for one.
///
/// `host`, `dut` and `off` switch nothing; `dut` is refused while the card is incomplete, as with a
/// real mux. [Flashing](../flashing.md) tells what `write` takes and does.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskConfig {
    /// The block device, best by a name that stays: `/dev/disk/by-id/…` or `/dev/disk/by-path/…`. A
    /// file keeps its size, as a card does; an empty one takes that of its image. Either this or `match`.
    #[serde(default)]
    pub device: Option<PathBuf>,
    /// The disk by what it is, for instance by the USB port of its reader. Either this or `device`.
    #[serde(default, rename = "match")]
    pub matching: Option<DeviceMatch>,
    /// How long to wait for the card at the beginning of `write` and `read`.
    #[serde(default = "storage_timeout")]
    pub storage_timeout: Delay,
    /// How long what was written may take to reach the card.
    #[serde(default = "fsync_timeout")]
    pub storage_fsync_timeout: Delay,
    /// How images are written.
    #[serde(default)]
    pub flash: FlashSettings,
}

fn storage_timeout() -> Delay {
    Delay(STORAGE_TIMEOUT)
}

fn fsync_timeout() -> Delay {
    Delay(FSYNC_TIMEOUT)
}

/// Which disk.
#[derive(Debug, Clone)]
enum Which {
    /// A file that stands for one.
    File(PathBuf),
    Device(DeviceMatch),
}

/// A disk that images are written to.
#[derive(Debug)]
pub struct DiskStorage {
    which: Which,
    timeout: Duration,
    flasher: Flasher,
    health: HealthHandle,
}

impl Driver for DiskStorage {
    const TYPE: &'static str = "storage.disk";
    const CLIENT: &'static str = "jumpstarter_driver_opendal.client.StorageMuxFlasherClient";
    const CATEGORY: &'static str = "storage";
    type Config = DiskConfig;

    fn interface() -> Interface<Self> {
        Interface::new()
            .call("host", Mode::Exclusive, Self::host)
            .call("dut", Mode::Exclusive, Self::dut)
            .call("off", Mode::Preempting, Self::off)
            .call("write", Mode::Transfer, Self::write)
            .call("write_file", Mode::Transfer, Self::write_file)
            .call("read", Mode::Transfer, Self::read)
            .variant("write_file", "write")
    }

    fn check(config: &DiskConfig) -> Result<(), ConfigError> {
        match (&config.device, &config.matching) {
            (Some(device), None) if !device.is_absolute() => {
                let shown = device.display();
                let text =
                    format!("{shown} is no absolute path, e.g. /dev/disk/by-id/usb-reader-0:0");
                Err(ConfigError::new("device", text))
            }
            (Some(_), None) => Ok(()),
            (None, Some(matching)) => matching.check().map_err(|error| {
                let key = ["match", &error.key].join(".");
                ConfigError::new(key.trim_end_matches('.'), error.message)
            }),
            (Some(_), Some(_)) => Err(ConfigError::new(
                "match",
                "the disk is named twice: write either `device` or `match`",
            )),
            (None, None) => Err(ConfigError::new(
                "",
                "names no disk: write `device`, e.g. /dev/disk/by-id/usb-reader-0:0, or `match`",
            )),
        }
    }

    async fn open(config: &DiskConfig, cx: &OpenCx) -> Result<Self, OpenError> {
        let which = locate(config, cx).await?;
        let (flash, state_dir) = (config.flash.clone(), cx.state_dir().to_owned());
        let flasher = cx
            .blocking(move || Flasher::open(flash, &state_dir))
            .await?;
        Ok(Self {
            which,
            timeout: config.storage_timeout.0,
            flasher: flasher.with_sync_limit(config.storage_fsync_timeout.0),
            health: cx.health().clone(),
        })
    }

    /// Card and mark stay; only what still runs of a write has to end.
    async fn lease_end(&self) -> Result<(), DriverError> {
        self.flasher.idle().await;
        Ok(())
    }

    async fn close(&self) {
        self.flasher.idle().await;
    }
}

impl DiskStorage {
    async fn host(self: Arc<Self>, _: Call) -> Result<(), DriverError> {
        Ok(())
    }

    async fn dut(self: Arc<Self>, _: Call) -> Result<(), DriverError> {
        self.flasher.check_complete()
    }

    async fn off(self: Arc<Self>, _: Call) -> Result<(), DriverError> {
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
        let disk = self.disk(&call, Access::Write);
        let written = self.flasher.write(&call, image, &options, disk).await;
        self.told(written)
    }

    async fn read(self: Arc<Self>, call: Call, handle: ResourceHandle) -> Result<(), DriverError> {
        let disk = self.disk(&call, Access::Read);
        let read = self.flasher.read(&call, handle, disk).await;
        self.told(read)
    }

    async fn disk(&self, call: &Call, access: Access) -> Result<Arc<dyn Medium>, DriverError> {
        let which = self.which.clone();
        let find = move || which.path();
        let disk = open_when_ready(call, self.timeout, access, Extent::Fixed, find).await?;
        Ok(disk)
    }

    /// A disk that is gone makes the instance absent until it is back.
    fn told<T>(&self, outcome: Result<T, DriverError>) -> Result<T, DriverError> {
        outcome.inspect_err(|_| {
            if let Err(DriverError::Unavailable(reason)) = self.which.path() {
                self.health.lost(reason);
            }
        })
    }
}

impl Which {
    /// Where it is now. Blocks for at most some milliseconds.
    fn path(&self) -> Result<PathBuf, DriverError> {
        match self {
            Self::File(file) if file.exists() => Ok(file.clone()),
            Self::File(file) => Err(DriverError::Unavailable(format!(
                "{} is not there",
                file.display()
            ))),
            Self::Device(matching) => {
                let found = matching.find(Class::Block);
                let node = found.and_then(|found| found.node().map(Path::to_owned));
                node.map_err(|error| match error {
                    FindError::Absent(text) => DriverError::Unavailable(text),
                    other => DriverError::FailedPrecondition(format!("no disk: {other}")),
                })
            }
        }
    }
}

async fn locate(config: &DiskConfig, cx: &OpenCx) -> Result<Which, OpenError> {
    let matching = match (&config.device, &config.matching) {
        (Some(file), _) if file.is_file() => {
            check_permission(file)?;
            return Ok(Which::File(file.clone()));
        }
        (Some(device), _) => DeviceMatch::path(device),
        (None, matching) => matching.clone().unwrap_or_default(),
    };
    let found = matching.locate(Class::Block, cx).await?;
    check_permission(found.node()?)?;
    found.report_loss(cx);
    Ok(Which::Device(matching))
}

fn check_permission(path: &Path) -> Result<(), OpenError> {
    let access = Permission::READ_OK | Permission::WRITE_OK;
    accessat(CWD, path, access, AtFlags::EACCESS).map_err(|e| {
        OpenError::Faulty(format!(
            "cannot read and write {}: {e}; the daemon's user needs to be in the node's group \
             (usually `disk`), or a udev rule for this card",
            path.display()
        ))
    })
}
