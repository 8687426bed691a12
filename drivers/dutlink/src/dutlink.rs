//! The board with all of its parts.

use std::{
    marker::PhantomData,
    path::{Path, PathBuf},
    time::Duration,
};

use rigd_device::DeviceMatch;
use rigd_driver::{Child, ConfigError, Driver, DriverError, Interface, OpenCx, OpenError};
use rigd_drivers_serial::{Serial, SerialConfig};
use rigd_usb::{Bus, HostBus};
use tokio::time::{Instant, sleep};

use crate::{
    DutlinkConfig, DutlinkPower, DutlinkPowerConfig, DutlinkStorageConfig,
    board::{Board, Supply, wanted},
    config::{check, limit},
    console::on_board,
    storage::DutlinkStorage,
};

/// Client class path of what has nothing but parts.
const CLIENT: &str = "jumpstarter_driver_composite.client.CompositeClient";
/// How long a console may take that comes with the power of the board under test.
const POWERED: Duration = Duration::from_secs(5);
/// How often it is looked for meanwhile.
const LOOK: Duration = Duration::from_millis(100);

/// A DUTLink board on a bus `B`.
#[derive(Debug)]
pub struct Dutlink<B = HostBus> {
    board: Board,
    alternate_console: Option<PathBuf>,
    bus: PhantomData<fn() -> B>,
}

impl<B: Bus> Driver for Dutlink<B> {
    const TYPE: &'static str = "dutlink";
    const CLIENT: &'static str = CLIENT;
    type Config = DutlinkConfig;

    fn interface() -> Interface<Self> {
        Interface::new()
    }

    fn check(config: &DutlinkConfig) -> Result<(), ConfigError> {
        check(config.serial.as_ref(), &config.usb, config.timeout_s)?;
        if let Some(path) = config
            .alternate_console
            .as_ref()
            .filter(|path| path.is_relative())
        {
            let text = format!("{} does not start with /dev/", path.display());
            return Err(ConfigError::new("alternate_console", text));
        }
        DutlinkPower::<B>::check(&power(config))?;
        Serial::check(&console(config))?;
        storage(config).map_or(Ok(()), |storage| DutlinkStorage::<B>::check(&storage))
    }

    fn children(config: &DutlinkConfig) -> Vec<Child> {
        let mut parts = vec![
            Child::new::<DutlinkPower<B>>("power", power(config)),
            Child::new::<Serial>("console", console(config)),
        ];
        let storage = storage(config).map(|it| Child::new::<DutlinkStorage<B>>("storage", it));
        parts.extend(storage);
        parts
    }

    async fn open(config: &DutlinkConfig, cx: &OpenCx) -> Result<Self, OpenError> {
        let wanted = wanted(config.serial.as_ref(), &config.usb);
        let board = Board::open::<B>(&wanted, limit(config.timeout_s), cx).await?;
        Ok(Self {
            board,
            alternate_console: config.alternate_console.clone(),
            bus: PhantomData,
        })
    }

    async fn lease_start(&self) -> Result<(), DriverError> {
        match &self.alternate_console {
            Some(console) if !console.exists() => self.look_for(console).await,
            _ => Ok(()),
        }
    }
}

impl<B> Dutlink<B> {
    /// Some consoles are there only while the board under test has power.
    async fn look_for(&self, console: &Path) -> Result<(), DriverError> {
        let shown = console.display();
        tracing::warn!(
            "failed to open alternate console {shown} but trying to power on the target once"
        );
        self.board.supply(Supply::On).await?;
        let end = Instant::now() + POWERED;
        while !console.exists() && Instant::now() < end {
            sleep(LOOK).await;
        }
        let came = console.exists();
        self.board.supply(Supply::Off).await?;
        if came {
            return Ok(());
        }
        let text = format!(
            "{shown} did not come within {} s of power",
            POWERED.as_secs()
        );
        Err(DriverError::Unavailable(text))
    }
}

/// The console: the serial port of the same device, or the other one.
fn console(config: &DutlinkConfig) -> SerialConfig {
    match &config.alternate_console {
        Some(path) => SerialConfig::on_device(DeviceMatch::path(path), config.baudrate),
        None => on_board(config.serial.as_ref(), &config.usb, config.baudrate),
    }
}

fn power(config: &DutlinkConfig) -> DutlinkPowerConfig {
    DutlinkPowerConfig {
        serial: config.serial.clone(),
        usb: config.usb.clone(),
        timeout_s: config.timeout_s,
        switching: config.switching.clone(),
    }
}

fn storage(config: &DutlinkConfig) -> Option<DutlinkStorageConfig> {
    Some(DutlinkStorageConfig {
        serial: config.serial.clone(),
        usb: config.usb.clone(),
        timeout_s: config.timeout_s,
        storage_device: config.storage_device.clone()?,
        storage_timeout: config.storage_timeout,
        storage_leeway: config.storage_leeway,
        storage_fsync_timeout: config.storage_fsync_timeout,
        flash: config.flash.clone(),
    })
}
