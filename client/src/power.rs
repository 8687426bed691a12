//! Handle for a power switch.

use std::time::Duration;

use serde::Deserialize;

use crate::{Device, Error, Items};

/// What a power meter measured.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Reading {
    /// Volts.
    pub voltage: f64,
    /// Amperes.
    pub current: f64,
}

/// A power switch.
///
/// ```no_run
/// # async fn run(exporter: rigd_client::Exporter) -> Result<(), rigd_client::Error> {
/// let power = exporter.device("dutlink.power").await?.power();
/// power.cycle(std::time::Duration::from_secs(2)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Power {
    device: Device,
}

impl Power {
    pub(crate) fn new(device: Device) -> Self {
        Self { device }
    }

    /// Switches on.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`].
    pub async fn on(&self) -> Result<(), Error> {
        self.device.call("on", vec![]).await.map(drop)
    }

    /// Switches off.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`].
    pub async fn off(&self) -> Result<(), Error> {
        self.device.call("off", vec![]).await.map(drop)
    }

    /// Switches off, waits, and switches on. Not cancel-safe: dropped in the middle, the power
    /// stays off.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`].
    pub async fn cycle(&self, wait: Duration) -> Result<(), Error> {
        self.off().await?;
        tokio::time::sleep(wait).await;
        self.on().await
    }

    /// Measures; readings come until the device ends them or the result is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`].
    pub async fn read(&self) -> Result<Items<Reading>, Error> {
        let items = self.device.streaming_call("read", vec![]).await?;
        Ok(items.of())
    }
}
