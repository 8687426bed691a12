//! The driver of all muxes.
//!
//! ```text
//!            host, write, read                  dut: complete, let go
//!   unknown ───────────────────> at the host <──────────────────────> at the board
//!      ^                             │ off (a mux that has it) ──> at neither
//!      └── from when an order goes out until it is known to be done ──┘
//! ```
//!
//! The position is what the hardware says where it can be asked, else what it was told last. A write or
//! a read refuses every other call until it is over, so nothing switches under it.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rigd_driver::{
    Call, ConfigError, Driver, DriverError, Interface, Mode, OpenCx, OpenError, ResourceHandle,
};
use rigd_flash::{Access, Flasher, ImageFrom, Medium, Report, WriteOptions};
use tokio::time::sleep;

use crate::{
    card::Card,
    mux::{FindDisk, Mux, Side, not_open},
};

/// The client of every mux that can flash.
const CLIENT: &str = "jumpstarter_driver_opendal.client.StorageMuxFlasherClient";

/// A card behind a mux.
pub struct SdMux<M> {
    mux: M,
    card: Card,
    leeway: Duration,
    flasher: Flasher,
    /// None: nobody knows.
    side: Mutex<Option<Side>>,
    /// Counts what is known of the position; changed with `side` locked.
    orders: AtomicU64,
}

impl<M: Mux> Driver for SdMux<M> {
    const TYPE: &'static str = M::TYPE;
    const CLIENT: &'static str = CLIENT;
    const CATEGORY: &'static str = "storage";
    type Config = M::Config;

    fn interface() -> Interface<Self> {
        Interface::new()
            .call("host", Mode::Exclusive, Self::host)
            .call("dut", Mode::Exclusive, Self::dut)
            .call("off", Mode::Exclusive, Self::off)
            .call("write", Mode::Transfer, Self::write)
            .call("write_file", Mode::Transfer, Self::write_file)
            .call("read", Mode::Transfer, Self::read)
            .switches("host", Side::Host.word())
            .switches("dut", Side::Dut.word())
            .switches("off", M::OFF.word())
            .variant("write_file", "write")
            .passes("write", const { &[Side::Host.word()] })
            .passes("write_file", const { &[Side::Host.word()] })
            .passes("read", const { &[Side::Host.word()] })
    }

    fn state(&self) -> Option<&'static str> {
        self.side().map(Side::word)
    }

    async fn ask_state(&self) -> Result<(), DriverError> {
        let before = self.orders.load(Ordering::SeqCst);
        if let Some(side) = self.mux.get().await? {
            let mut now = self.side.lock().unwrap_or_else(PoisonError::into_inner);
            // An order in between makes it an old answer.
            if self.orders.load(Ordering::SeqCst) == before {
                *now = Some(side);
            }
        }
        Ok(())
    }

    fn check(config: &M::Config) -> Result<(), ConfigError> {
        M::card(config).check()?;
        M::check(config)
    }

    async fn open(config: &M::Config, cx: &OpenCx) -> Result<Self, OpenError> {
        let mux = M::open(config, cx).await?;
        let card = M::card(config);
        let find: FindDisk = match card.device {
            Some(device) => Arc::new(move || Ok(device.clone())),
            None => mux.disk(),
        };
        let (flash, state_dir) = (card.flash, cx.state_dir().to_owned());
        let flasher = cx
            .blocking(move || Flasher::open(flash, &state_dir))
            .await?;
        let side = mux.get().await.map_err(not_open)?;
        Ok(Self {
            mux,
            card: Card::new(find, card.timeout),
            leeway: card.leeway,
            flasher: flasher.with_sync_limit(card.fsync),
            side: Mutex::new(side),
            orders: AtomicU64::new(0),
        })
    }

    /// Card, position and mark stay; only what still runs of a write has to end.
    async fn lease_end(&self) -> Result<(), DriverError> {
        self.flasher.idle().await;
        Ok(())
    }

    async fn close(&self) {
        self.flasher.idle().await;
        self.mux.close().await;
    }
}

impl<M: Mux> SdMux<M> {
    async fn host(self: Arc<Self>, call: Call) -> Result<(), DriverError> {
        self.switch(&call, Side::Host).await
    }

    async fn dut(self: Arc<Self>, call: Call) -> Result<(), DriverError> {
        self.flasher.check_complete()?;
        self.switch(&call, Side::Dut).await
    }

    async fn off(self: Arc<Self>, call: Call) -> Result<(), DriverError> {
        self.switch(&call, M::OFF).await
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
        let disk = self.at_host(&call, Access::Write);
        let report = self.flasher.write(&call, image, &options, disk).await?;
        // Some cards go on working after they said that they were done.
        sleep(self.leeway).await;
        Ok(report)
    }

    async fn read(self: Arc<Self>, call: Call, handle: ResourceHandle) -> Result<(), DriverError> {
        let disk = self.at_host(&call, Access::Read);
        self.flasher.read(&call, handle, disk).await
    }

    async fn at_host(&self, call: &Call, access: Access) -> Result<Arc<dyn Medium>, DriverError> {
        self.switch(call, Side::Host).await?;
        let disk = self.card.open(call, access).await?;
        Ok(disk)
    }

    /// Brings the card to `to`, unless it is there.
    async fn switch(&self, call: &Call, to: Side) -> Result<(), DriverError> {
        let from = match self.mux.get().await? {
            Some(side) => {
                self.is_at(Some(side));
                Some(side)
            }
            None => self.side(),
        };
        if from == Some(to) {
            return Ok(());
        }
        // Also when nobody knows where it is: it may be at the host.
        let held = match from {
            Some(Side::Dut | Side::Off) => None,
            Some(Side::Host) | None => self.card.let_go(call).await?,
        };
        call.check()?;
        self.flasher.left_host();
        self.is_at(None);
        drop(held);
        self.mux.set(call, to).await?;
        if let Some(side) = self.mux.get().await?
            && side != to
        {
            self.is_at(Some(side));
            let text = format!("the mux does not switch to {to}: it says {side}");
            return Err(DriverError::Device(text));
        }
        self.is_at(Some(to));
        tracing::info!("The card is at {}.", place(to));
        if to != Side::Host {
            self.card.notice_absence(call).await;
        }
        Ok(())
    }

    /// Where the card is, as the mux last said or was told; none while nobody knows.
    pub fn side(&self) -> Option<Side> {
        *self.side.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_at(&self, side: Option<Side>) {
        let mut now = self.side.lock().unwrap_or_else(PoisonError::into_inner);
        self.orders.fetch_add(1, Ordering::SeqCst);
        *now = side;
    }
}

fn place(side: Side) -> &'static str {
    match side {
        Side::Host => "the host",
        Side::Dut => "the board",
        Side::Off => "neither side",
    }
}
