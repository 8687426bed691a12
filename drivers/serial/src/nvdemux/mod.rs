//! The driver `serial.nvdemux`: a console of an NVIDIA Tegra board, whose consoles share one USB port.
//!
//! ```text
//!   USB port ──> demuxer program, one for the board ──pty of a target──> console ──> streams
//!                       └── says which pty is which target ──> source
//! ```

mod child;
mod config;
mod demuxer;
mod pattern;
mod source;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rigd_driver::{
    ByteStream, Call, ConfigError, ConsoleTap, Driver, DriverError, Interface, Mode, OpenCx,
    OpenError,
};
use tokio::time::timeout;
use tracing::{debug, info};

use crate::{
    console::{Console, Plan, Tap, Want},
    keeper::Keeper,
    pace::Pace,
    serial::capture,
    streams::connect,
};
pub use config::NvDemuxConfig;
use demuxer::{Demuxer, Membership};
use source::NvDemuxSource;

/// How long the program has to end when the daemon stops: its own time, and a second to be killed.
const STOP_LIMIT: Duration = Duration::from_secs(6);

/// A console of a board behind a demuxer.
///
/// The program runs as long as one of its consoles is configured, and is started again when it ends.
#[derive(Debug)]
pub struct NvDemux {
    /// `Connecting to …`, as clients know it from logs.
    connecting: String,
    console: Arc<Console>,
    /// The daemon holds the port for as long as it runs.
    _held: Want,
    membership: Mutex<Option<Membership>>,
}

impl Driver for NvDemux {
    const TYPE: &'static str = "serial.nvdemux";
    const CLIENT: &'static str = "jumpstarter_driver_pyserial.client.PySerialClient";
    const CATEGORY: &'static str = "serial";
    type Config = NvDemuxConfig;

    fn interface() -> Interface<Self> {
        Interface::new().stream("connect", Self::connect).call(
            "close",
            Mode::Preempting,
            Self::close_streams,
        )
    }

    fn check(config: &NvDemuxConfig) -> Result<(), ConfigError> {
        config.check()
    }

    fn check_beside(config: &NvDemuxConfig, earlier: &NvDemuxConfig) -> Result<(), ConfigError> {
        config.check_beside(earlier)
    }

    async fn open(config: &NvDemuxConfig, cx: &OpenCx) -> Result<Self, OpenError> {
        let pace = Pace::new(config.cps).map_err(OpenError::Faulty)?;
        let membership = Demuxer::join(cx.exporter(), &config.program(), &config.target);
        let membership = membership.map_err(OpenError::Faulty)?;
        let name = format!("{} of {}", config.target, config.device);
        let cps = config.cps.map(|cps| format!(", cps: {cps}"));
        let connecting = format!(
            "Connecting to {name}, baudrate: {}{}",
            config.baudrate,
            cps.unwrap_or_default()
        );
        let console = Arc::new(Console::new(Plan {
            name,
            settings: config.settings(),
            pace,
            history: config.history,
            capture: capture(config.capture.as_ref(), cx)?,
        }));
        let held = console.want();
        let keeper = Keeper {
            console: console.clone(),
            source: Arc::new(NvDemuxSource::new(config, membership.map())),
            health: cx.health().clone(),
            tried: None,
        };
        cx.tasks().spawn(keeper.run());
        Ok(Self {
            connecting,
            console,
            _held: held,
            membership: Mutex::new(Some(membership)),
        })
    }

    async fn lease_start(&self) -> Result<(), DriverError> {
        self.console.lease_start().await
    }

    async fn lease_end(&self) -> Result<(), DriverError> {
        self.console.lease_end().await
    }

    fn console(&self) -> Option<Arc<dyn ConsoleTap>> {
        Some(Arc::new(Tap(self.console.clone())))
    }

    async fn close(&self) {
        self.console.close().await;
        let membership = {
            let slot = self.membership.lock();
            slot.unwrap_or_else(PoisonError::into_inner).take()
        };
        if let Some(ended) = membership.and_then(Membership::leave) {
            timeout(STOP_LIMIT, ended.cancelled()).await.ok();
        }
    }
}

impl NvDemux {
    async fn connect(self: Arc<Self>, call: Call) -> Result<ByteStream, DriverError> {
        info!("{}", self.connecting);
        connect(&self.console, call.key().kind()).await
    }

    async fn close_streams(self: Arc<Self>, _: Call) -> Result<(), DriverError> {
        if !self.console.streams.end() {
            debug!("close() called but no active connection (no-op)");
        }
        Ok(())
    }
}
