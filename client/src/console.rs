//! Handle for a console.

use crate::{ByteChannel, Device};

/// A serial console or another device with a `connect` stream.
///
/// ```no_run
/// # async fn run(exporter: rigd_client::Exporter) -> Result<(), rigd_client::Error> {
/// let mut console = exporter.device("dutlink.console").await?.console().open();
/// console.send(bytes::Bytes::from_static(b"root\n")).await?;
/// while let Some(bytes) = console.recv().await? {
///     print!("{}", String::from_utf8_lossy(&bytes));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Console {
    device: Device,
}

impl Console {
    pub(crate) fn new(device: Device) -> Self {
        Self { device }
    }

    /// Opens it, without waiting for the exporter, see [`Exporter::stream`](crate::Exporter::stream).
    pub fn open(&self) -> ByteChannel {
        self.device.stream("connect")
    }
}
