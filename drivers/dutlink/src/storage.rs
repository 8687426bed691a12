//! The storage port: its disk is at the host, at the board, or at neither.
//!
//! The DUTLink cannot be asked where the disk is: the position is what it was told last.

use std::{marker::PhantomData, sync::Arc};

use rigd_driver::{Call, ConfigError, DriverError, OpenCx, OpenError};
use rigd_drivers_sdmux::{CardSettings, FindDisk, Mux, SdMux, Side};
use rigd_usb::{Bus, HostBus};

use crate::{
    DutlinkStorageConfig,
    board::{Board, Card, wanted},
    config::{check, limit},
};

/// The storage port of a DUTLink on a bus `B`.
pub type DutlinkStorage<B = HostBus> = SdMux<DutlinkMux<B>>;

/// The mux of a [`DutlinkStorage`].
#[derive(Debug)]
pub struct DutlinkMux<B = HostBus> {
    board: Board,
    bus: PhantomData<fn() -> B>,
}

impl<B: Bus> Mux for DutlinkMux<B> {
    const TYPE: &'static str = "dutlink.storage";
    const OFF: Side = Side::Off;
    type Config = DutlinkStorageConfig;

    fn card(config: &DutlinkStorageConfig) -> CardSettings {
        config.card()
    }

    fn check(config: &DutlinkStorageConfig) -> Result<(), ConfigError> {
        check(config.serial.as_ref(), &config.usb, config.timeout_s)
    }

    async fn open(config: &DutlinkStorageConfig, cx: &OpenCx) -> Result<Self, OpenError> {
        let wanted = wanted(config.serial.as_ref(), &config.usb);
        Ok(Self {
            board: Board::open::<B>(&wanted, limit(config.timeout_s), cx).await?,
            bus: PhantomData,
        })
    }

    fn disk(&self) -> FindDisk {
        Arc::new(|| {
            let text = "`storage_device` names the disk of a DUTLink";
            Err(DriverError::FailedPrecondition(text.into()))
        })
    }

    async fn set(&self, _: &Call, side: Side) -> Result<(), DriverError> {
        let card = match side {
            Side::Host => Card::Host,
            Side::Dut => Card::Dut,
            Side::Off => Card::Off,
        };
        self.board.card(card).await
    }

    async fn get(&self) -> Result<Option<Side>, DriverError> {
        Ok(None)
    }
}
