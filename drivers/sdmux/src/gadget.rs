//! `sdmux.gadget`: the lab host plays a USB stick whose card is a file of the host.
//!
//! ```text
//!   board <──USB── device controller <── mass storage function ──lun.0/file──> card (a file)
//!   dut:  the file's path is written to lun.0/file     host: an empty line is
//! ```
//!
//! Facts. A removable LUN may be without a file; writing its `file` loads, changes and empties it; it
//! prints the path, as the kernel resolves it, or nothing; EBUSY while the board prevents removal, which
//! Linux does as long as it has the disk open; `ro` falls back to 1 where the file cannot be opened for
//! writing: Documentation/usb/mass-storage.rst and drivers/usb/gadget/function/storage_common.c of Linux.
//! The attributes: Documentation/ABI/testing/configfs-usb-gadget-mass-storage; `forced_eject` came with
//! Linux 6.0 (commit 421c8d9a20da). How a gadget is made: Documentation/usb/gadget_configfs.rst. Verified
//! with Linux 6.1 and its dummy_hcd; unverified on hardware.

use std::{
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rigd_driver::{ByteCount, Call, ConfigError, Delay, DriverError, OpenCx, OpenError};
use rigd_flash::FlashSettings;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    CardSettings, Mux, Side,
    card::{fsync_timeout, storage_timeout},
    mux::{FindDisk, not_open},
    worker::Worker,
};

mod kernel;
mod lun;
mod tree;

use kernel::Kernel;
use lun::Lun;
use tree::Wanted;

/// Bytes of a sector, by the kernel's gadget.
const SECTOR: u64 = 512;
/// Characters that a string of a USB device can have, by the kernel.
const USB_STRING: usize = 126;

/// A file of the lab host that the board sees as the card of a USB reader: the host plays a USB device.
///
/// The host needs a USB device controller whose port is wired to the board, such as the USB-C port of a Raspberry Pi 4 or the data
/// port of a Zero, with `dtoverlay=dwc2,dr_mode=peripheral` in its `config.txt`. `ls /sys/class/udc` shows whether there is one.
///
/// The gadget is made through configfs when the instance opens; one of that name that is there already is taken as it is, with
/// whatever else it does. Root alone may make one: for the service there is
/// [a unit that does and hands it over](../service.md#a-usb-gadget-as-a-card). Nothing is unmade when the daemon stops, and the
/// card stays where it is: a board that boots from it runs on.
///
/// `off` is `host`: the mux has two positions. Where the board has the card mounted, it is taken all the same, as from any
/// reader; the kernel can do that since Linux 6.0, and before it such a call is refused.
///
/// **Unverified on hardware**: it was tested with the kernel's own simulated controller.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GadgetConfig {
    /// The file that is the card, by its absolute path. Nothing else may write to it.
    pub file: PathBuf,
    /// Size of the card, a multiple of 512 bytes. A file that is not there is made so large; it takes disk space as it is written.
    /// A file that is there keeps its size.
    pub size: Option<ByteCount>,
    /// Name of the gadget below `/sys/kernel/config/usb_gadget`. Default `rigd-EXPORTER-INSTANCE`.
    pub gadget: Option<String>,
    /// The USB device controller, by its name in `/sys/class/udc`. Without it the only one of the host.
    pub udc: Option<String>,
    /// Serial number that the board sees, where the gadget is made here. Default: the gadget's name.
    pub serial: Option<String>,
    /// The board may only read.
    #[serde(default, rename = "readOnly")]
    pub read_only: bool,
    /// How long what was written may take to reach the disk below the file.
    #[serde(default = "fsync_timeout")]
    pub storage_fsync_timeout: Delay,
    /// How images are written.
    #[serde(default)]
    pub flash: FlashSettings,
    #[serde(skip)]
    kernel: Kernel,
}

/// A gadget of this host.
pub struct GadgetMux {
    worker: Worker<Lun>,
    card: PathBuf,
}

impl Mux for GadgetMux {
    const TYPE: &'static str = "sdmux.gadget";
    type Config = GadgetConfig;

    fn card(config: &GadgetConfig) -> CardSettings {
        CardSettings {
            device: None,
            timeout: storage_timeout().0,
            // A file has no controller that works on.
            leeway: Duration::ZERO,
            fsync: config.storage_fsync_timeout.0,
            flash: config.flash.clone(),
        }
    }

    fn check(config: &GadgetConfig) -> Result<(), ConfigError> {
        let shown = config.file.display();
        if !config.file.is_absolute() || config.file.file_name().is_none() {
            let text =
                format!("{shown} is no absolute path of a file, e.g. /var/lib/rigd/card.img");
            return Err(ConfigError::new("file", text));
        }
        match config.size {
            Some(size) if size.0 == 0 || !size.0.is_multiple_of(SECTOR) => {
                let text = format!("{size}: a card has whole sectors of {SECTOR} bytes, e.g. 8GiB");
                return Err(ConfigError::new("size", text));
            }
            _ => {}
        }
        for (key, name) in [("gadget", &config.gadget), ("udc", &config.udc)] {
            if let Some(name) = name
                && !is_name(name)
            {
                let text = format!("{name:?} is no name of letters, digits, `.`, `_`, `:` and `-`");
                return Err(ConfigError::new(key, text));
            }
        }
        let printable = |serial: &String| serial.chars().all(|c| c.is_ascii_graphic());
        match &config.serial {
            Some(serial)
                if serial.is_empty() || serial.len() > USB_STRING || !printable(serial) =>
            {
                let text = format!(
                    "{serial:?} is no serial number: 1 to {USB_STRING} characters of ASCII without spaces"
                );
                Err(ConfigError::new("serial", text))
            }
            _ => Ok(()),
        }
    }

    async fn open(config: &GadgetConfig, cx: &OpenCx) -> Result<Self, OpenError> {
        let name = config.gadget.clone();
        let name = name.unwrap_or_else(|| default_name(cx.exporter(), cx.path()));
        let serial = config.serial.clone();
        let wanted = Wanted {
            serial: serial.unwrap_or_else(|| name.chars().take(USB_STRING).collect()),
            udc: config.udc.clone(),
            read_only: config.read_only,
            name: name.clone(),
        };
        let (kernel, file, size) = (config.kernel.clone(), config.file.clone(), config.size);
        let health = cx.health().clone();
        // What hangs here holds the instance's one thread, and no new one each time.
        let open = move || {
            let card = card_file(&file, size)?;
            let dir = kernel.lun(&wanted)?;
            let lun = Lun {
                kernel,
                dir,
                card,
                gadget: wanted.name,
                read_only: wanted.read_only,
                health,
            };
            lun.side().map_err(not_open)?;
            Ok(lun)
        };
        let lun = cx.blocking(open).await?;
        let card = lun.card.clone();
        let (name, limit) = (format!("the gadget {name}"), config.kernel.limit);
        let health = cx.health().clone();
        Ok(Self {
            worker: Worker::start("rigd:gadget", name, lun, limit, health)?,
            card,
        })
    }

    fn disk(&self) -> FindDisk {
        let card = self.card.clone();
        Arc::new(move || match card.exists() {
            true => Ok(card.clone()),
            false => Err(DriverError::Unavailable(format!(
                "{} is not there",
                card.display()
            ))),
        })
    }

    async fn set(&self, _: &Call, side: Side) -> Result<(), DriverError> {
        match side {
            Side::Dut => {
                let what = "give the card to the board";
                self.worker.ask(what, Lun::give).await
            }
            Side::Host | Side::Off => {
                let what = "take the card from the board";
                self.worker.ask(what, Lun::take).await
            }
        }
    }

    async fn get(&self) -> Result<Option<Side>, DriverError> {
        let side = self.worker.ask("ask where the card is", Lun::side).await?;
        Ok(Some(side))
    }
}

/// Whether it can be one directory's name, of characters that need no quotes.
fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
    !name.is_empty() && name.chars().all(allowed) && !name.chars().all(|c| c == '.')
}

/// A name that says whose gadget it is.
fn default_name(exporter: &str, path: &str) -> String {
    let kept = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let name = format!("rigd-{exporter}-{path}");
    name.chars()
        .map(|c| if kept(c) { c } else { '-' })
        .collect()
}

/// The file as the kernel will name it. It is made if it is not there.
fn card_file(file: &Path, size: Option<ByteCount>) -> Result<PathBuf, OpenError> {
    let shown = file.display();
    let found = match OpenOptions::new().read(true).write(true).open(file) {
        Ok(found) => Ok(found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return make(file, size),
        Err(error) => Err(error),
    };
    let found = found.and_then(|found| found.metadata()).map_err(|error| {
        OpenError::Faulty(format!(
            "cannot open {shown} for reading and writing: {error}"
        ))
    })?;
    if !found.is_file() {
        let text = format!("{shown} is not a regular file");
        return Err(OpenError::Faulty(text));
    }
    let bytes = found.len();
    if bytes == 0 || !bytes.is_multiple_of(SECTOR) {
        return Err(OpenError::Faulty(format!(
            "{shown} has {bytes} bytes, and a card has whole sectors of {SECTOR}: `truncate -s %{SECTOR} {shown}` fills \
             it up, or remove it and write `size` to have it made"
        )));
    }
    resolved(file)
}

fn make(file: &Path, size: Option<ByteCount>) -> Result<PathBuf, OpenError> {
    let shown = file.display();
    let Some(ByteCount(size)) = size else {
        return Err(OpenError::Faulty(format!(
            "there is no file {shown}; write `size`, e.g. `size: 8GiB`, to have it made"
        )));
    };
    let made = OpenOptions::new().write(true).create_new(true).open(file);
    let made = made.map_err(|error| {
        let text = format!("cannot make {shown}: {error}");
        match error.kind() {
            // A directory that is mounted later.
            io::ErrorKind::NotFound => OpenError::Absent(text),
            _ => OpenError::Faulty(text),
        }
    })?;
    let sized = |made: &File| made.set_len(size).and_then(|()| made.sync_all());
    if let Err(error) = sized(&made) {
        std::fs::remove_file(file).ok();
        let text = format!("cannot make {shown} of {size} bytes: {error}");
        return Err(OpenError::Faulty(text));
    }
    tracing::info!("Made the card {shown} of {size} bytes.");
    resolved(file)
}

fn resolved(file: &Path) -> Result<PathBuf, OpenError> {
    std::fs::canonicalize(file)
        .map_err(|error| OpenError::Faulty(format!("cannot resolve {}: {error}", file.display())))
}

#[cfg(test)]
mod tests;
