//! `storage.file`: a storage mux whose card is a file.
//!
//! ```text
//!             write begins              all bytes synced
//!   complete ─────────────> incomplete ─────────────────> complete
//!                             │  ^ broken upload, disk full, crash
//!                             └──┘  `dut` is refused with the cause
//! ```
//!
//! The mark of an incomplete card is a file beside it, made and synced before the first byte
//! changes and removed after the last one is synced, so that it also tells of a crash. The card's
//! content outlives leases; its position and mark are about the content and do, too.

use std::{path::PathBuf, sync::Arc};

use rigd_driver::{
    Call, ConfigError, Driver, DriverError, HealthHandle, Interface, Mode, OpenCx, OpenError,
    ResourceHandle,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{lane::Lane, transfer};

mod card;

use card::{Card, CardError, Position};

/// A card that is a file on the lab host, behind a mux that is only a state.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileMuxConfig {
    /// The file; its directory must exist. A relative path is below the instance's own directory
    /// in the daemon's state directory.
    pub path: PathBuf,
    /// Capacity of the card in bytes; a larger image is refused. Without it the disk is the limit.
    #[serde(default)]
    pub size: Option<u64>,
}

/// A storage mux over a file.
#[derive(Debug)]
pub struct FileMux {
    card: Arc<Card>,
    lane: Lane,
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
            .call("read", Mode::Transfer, Self::read)
            .switches("host", Position::Host.word())
            .switches("dut", Position::Dut.word())
            .switches("off", Position::Off.word())
            .passes("write", const { &[Position::Host.word()] })
            .passes("read", const { &[Position::Host.word()] })
    }

    fn state(&self) -> Option<&'static str> {
        Some(self.card.position().word())
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
        let FileMuxConfig { path, size } = config.clone();
        let card = cx.blocking(move || Card::open(path, size, own_dir)).await?;
        Ok(Self {
            card: Arc::new(card),
            lane: Lane::new(),
            health: cx.health().clone(),
        })
    }

    /// Card, mark and position stay; only what still runs of a write has to end.
    async fn lease_end(&self) -> Result<(), DriverError> {
        self.lane.idle().await
    }
}

impl FileMux {
    async fn host(self: Arc<Self>, _: Call) -> Result<(), DriverError> {
        self.card.switch(Position::Host);
        Ok(())
    }

    async fn dut(self: Arc<Self>, _: Call) -> Result<(), DriverError> {
        if let Some(cause) = self.card.incomplete() {
            return Err(DriverError::FailedPrecondition(format!(
                "card incomplete: {cause}"
            )));
        }
        self.card.switch(Position::Dut);
        Ok(())
    }

    async fn off(self: Arc<Self>, _: Call) -> Result<(), DriverError> {
        self.card.switch(Position::Off);
        Ok(())
    }

    async fn write(self: Arc<Self>, call: Call, handle: ResourceHandle) -> Result<(), DriverError> {
        let mut upload = call.upload(handle).await?;
        self.card.switch(Position::Host);
        let medium = self.on_card(&call, Card::begin_write).await?;
        let size = self.card.size();
        let done = async {
            let bytes = transfer::store(&call, &self.lane, &mut upload, &medium, size).await?;
            transfer::sync(medium).await?;
            self.on_card(&call, Card::finish_write).await?;
            Ok::<u64, DriverError>(bytes)
        };
        match done.await {
            Ok(bytes) => {
                tracing::debug!(bytes, "Wrote the card.");
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "The card is incomplete.");
                let cause = error.to_string();
                // The mark is there already; this only adds the cause for after a restart.
                self.on_card(&call, move |card| card.note(cause)).await.ok();
                Err(error)
            }
        }
    }

    async fn read(self: Arc<Self>, call: Call, handle: ResourceHandle) -> Result<(), DriverError> {
        let download = call.download(handle).await?;
        self.card.switch(Position::Host);
        match self.on_card(&call, Card::begin_read).await? {
            Some(medium) => {
                let bytes = transfer::send(&call, &self.lane, &medium, download).await?;
                tracing::debug!(bytes, "Read the card.");
                Ok(())
            }
            // Nothing was written yet: an empty card.
            None => download.finish().await,
        }
    }

    /// One step on the card; a card that is gone makes the instance absent.
    async fn on_card<T: Send + 'static>(
        &self,
        call: &Call,
        step: impl FnOnce(&Card) -> Result<T, CardError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let card = self.card.clone();
        let health = self.health.clone();
        let step = move |_: &Call| {
            step(&card).map_err(|error| match error {
                CardError::Gone(reason) => {
                    health.lost(reason.clone());
                    DriverError::Unavailable(reason)
                }
                CardError::Failed(error) => error,
            })
        };
        self.lane.run(call, step).await
    }
}
