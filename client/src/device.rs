//! One device of an exporter, and the typed handles made from it.

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    ByteChannel, Compression, Console, DeviceInfo, Error, Exporter, Items, Power, Storage, transfer,
};

/// A device found by its path.
///
/// ```no_run
/// # async fn run(exporter: rigd_client::Exporter) -> Result<(), rigd_client::Error> {
/// let gpio = exporter.device("reset").await?;
/// gpio.call("on", vec![]).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Device {
    exporter: Exporter,
    info: DeviceInfo,
}

impl Device {
    pub(crate) fn new(exporter: Exporter, info: DeviceInfo) -> Self {
        Self { exporter, info }
    }

    /// What the exporter reports about it.
    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// Handle for a power switch.
    pub fn power(self) -> Power {
        Power::new(self)
    }

    /// Handle for a console.
    pub fn console(self) -> Console {
        Console::new(self)
    }

    /// Handle for a storage mux.
    pub fn storage(self) -> Storage {
        Storage::new(self)
    }

    /// Calls a method, see [`Exporter::call`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn call(&self, method: &str, args: Vec<Value>) -> Result<Value, Error> {
        self.exporter.call(&self.info.uuid, method, args).await
    }

    /// Calls a method that gives its results one by one, see [`Exporter::streaming_call`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn streaming_call(&self, method: &str, args: Vec<Value>) -> Result<Items, Error> {
        (self.exporter)
            .streaming_call(&self.info.uuid, method, args)
            .await
    }

    /// Opens a byte stream, see [`Exporter::stream`].
    pub fn stream(&self, method: &str) -> ByteChannel {
        self.exporter.stream(&self.info.uuid, method)
    }

    /// Sends bytes to a method, see [`Exporter::upload`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn upload(
        &self,
        method: &str,
        args: impl FnOnce(Value) -> Vec<Value>,
        source: impl AsyncRead + Unpin,
        compression: Compression,
    ) -> Result<Value, Error> {
        transfer::upload(
            &self.exporter,
            &self.info.uuid,
            method,
            args,
            source,
            compression,
        )
        .await
    }

    /// Receives bytes from a method, see [`Exporter::download`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn download(
        &self,
        method: &str,
        args: impl FnOnce(Value) -> Vec<Value>,
        sink: impl AsyncWrite + Unpin,
        compression: Compression,
    ) -> Result<u64, Error> {
        transfer::download(
            &self.exporter,
            &self.info.uuid,
            method,
            args,
            sink,
            compression,
        )
        .await
    }
}
