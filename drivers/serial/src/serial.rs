//! The driver `serial`: a console that clients of `PySerialClient` use.

use std::{
    borrow::Cow,
    marker::PhantomData,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rigd_driver::{
    ByteStream, Call, ConfigError, ConsoleTap, Driver, DriverError, Interface, Mode, OpenCx,
    OpenError, echo_stream,
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tracing::{debug, error, info};

use crate::{
    capture::{Capture, CaptureConfig},
    config::{Hold, SerialConfig, check_baudrate},
    console::{Console, Plan, Tap, Want},
    keeper::Keeper,
    pace::{Pace, PacedSink},
    settings::{FlowControl, Format, Settings},
    streams::connect,
    wire::Order,
};

/// Length of a break that does not say its own: what `tcsendbreak` sends at least.
const BREAK: Duration = Duration::from_millis(250);
/// The longest break. Longer ones are a line that is held down, and hold up every other call.
const MAX_BREAK: Duration = Duration::from_secs(5);

/// What a configuration says of a console: the one of `serial`, or of a driver whose port is part of
/// a larger device.
pub trait PortConfig: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// Short name of the driver for `type:`.
    const TYPE: &'static str;

    /// The console and its port.
    ///
    /// # Errors
    /// What can be found wrong without hardware, by the keys of this configuration.
    fn console(&self) -> Result<Cow<'_, SerialConfig>, ConfigError>;
}

impl PortConfig for SerialConfig {
    const TYPE: &'static str = "serial";

    fn console(&self) -> Result<Cow<'_, SerialConfig>, ConfigError> {
        self.check()?;
        Ok(Cow::Borrowed(self))
    }
}

/// A serial console of the driver `serial`.
pub type Serial = SerialOn<SerialConfig>;

/// A serial console.
///
/// The port is open as long as the instance is. Each stream `connect` reads what arrives from its
/// opening on and may write; `close` ends streams and leaves the port alone.
#[derive(Debug)]
pub struct SerialOn<C> {
    /// `Connecting to …`, as clients know it from logs.
    connecting: String,
    pace: Pace,
    configured: Settings,
    device: Device,
    config: PhantomData<fn() -> C>,
}

#[derive(Debug)]
enum Device {
    /// A loop has a line too, which leads nowhere.
    Loop(Mutex<Settings>),
    Port {
        console: Arc<Console>,
        hold: Hold,
        /// What holds the port for the daemon, or for the clients of a lease.
        held: Mutex<Option<Want>>,
    },
}

impl<C: PortConfig> Driver for SerialOn<C> {
    const TYPE: &'static str = C::TYPE;
    const CLIENT: &'static str = "jumpstarter_driver_pyserial.client.PySerialClient";
    const CATEGORY: &'static str = "serial";
    type Config = C;

    fn interface() -> Interface<Self> {
        Interface::new()
            .stream("connect", Self::connect)
            .call("close", Mode::Preempting, Self::close_streams)
            .call("set_dtr", Mode::Exclusive, Self::set_dtr)
            .call("set_rts", Mode::Exclusive, Self::set_rts)
            .call("send_break", Mode::Exclusive, Self::send_break)
            .call("set_baudrate", Mode::Exclusive, Self::set_baudrate)
            .call("set_format", Mode::Exclusive, Self::set_format)
            .call("set_flow_control", Mode::Exclusive, Self::set_flow_control)
            .call("get_settings", Mode::Shared, Self::get_settings)
    }

    fn check(config: &C) -> Result<(), ConfigError> {
        config.console().map(drop)
    }

    async fn open(config: &C, cx: &OpenCx) -> Result<Self, OpenError> {
        let faulty = |error: ConfigError| OpenError::Faulty(error.to_string());
        let config = config.console().map_err(faulty)?;
        let source = config.source(cx.tasks()).map_err(faulty)?;
        let settings = config.settings().map_err(faulty)?;
        let pace = Pace::new(config.cps).map_err(OpenError::Faulty)?;
        let cps = config.cps.map(|cps| format!(", cps: {cps}"));
        let device = match source {
            None => Device::Loop(Mutex::new(settings)),
            Some(source) => {
                let plan = Plan {
                    name: config.name(),
                    settings,
                    pace,
                    history: config.history,
                    capture: capture(config.capture.as_ref(), cx)?,
                };
                let console = Arc::new(Console::new(plan));
                let held = (config.hold == Hold::Always).then(|| console.want());
                let (tried, first) = oneshot::channel();
                let keeper = Keeper {
                    console: console.clone(),
                    source,
                    health: cx.health().clone(),
                    tried: Some(tried),
                };
                cx.tasks().spawn(keeper.run());
                // What is not there is waited for; what is lent is not tried.
                if held.is_some()
                    && let Ok(Err(failure)) = first.await
                    && config.check_present
                {
                    error!(%failure, "The port is expected to be present.");
                }
                Device::Port {
                    console,
                    hold: config.hold,
                    held: Mutex::new(held),
                }
            }
        };
        Ok(Self {
            connecting: format!(
                "Connecting to {}, baudrate: {}{}",
                config.name(),
                config.baudrate,
                cps.unwrap_or_default()
            ),
            pace,
            configured: settings,
            device,
            config: PhantomData,
        })
    }

    async fn lease_start(&self) -> Result<(), DriverError> {
        match &self.device {
            Device::Loop(_) => Ok(()),
            Device::Port { console, .. } => console.lease_start().await,
        }
    }

    async fn lease_end(&self) -> Result<(), DriverError> {
        match &self.device {
            Device::Loop(now) => {
                *lock(now) = self.configured;
                Ok(())
            }
            Device::Port { console, .. } => console.lease_end().await,
        }
    }

    async fn clients_start(&self) -> Result<(), DriverError> {
        if let Device::Port { console, held, .. } = &self.device {
            lock(held).get_or_insert_with(|| console.want());
        }
        Ok(())
    }

    async fn clients_end(&self) -> Result<(), DriverError> {
        if let Device::Port {
            console,
            hold: Hold::Lease,
            held,
        } = &self.device
        {
            drop(lock(held).take());
            console.streams.end();
            console.released().await;
        }
        Ok(())
    }

    fn console(&self) -> Option<Arc<dyn ConsoleTap>> {
        match &self.device {
            Device::Loop(_) => None,
            Device::Port { console, .. } => Some(Arc::new(Tap(console.clone()))),
        }
    }

    async fn close(&self) {
        if let Device::Port { console, .. } = &self.device {
            console.close().await;
        }
    }
}

pub(crate) fn capture(
    config: Option<&CaptureConfig>,
    cx: &OpenCx,
) -> Result<Option<Capture>, OpenError> {
    let Some(capture) = config else {
        return Ok(None);
    };
    let name = format!("{}.{}", cx.exporter(), cx.path());
    let started = Capture::start(capture, &name);
    let cannot = |error| OpenError::Faulty(format!("cannot start the capture: {error}"));
    started.map(Some).map_err(cannot)
}

impl<C> SerialOn<C> {
    async fn connect(self: Arc<Self>, call: Call) -> Result<ByteStream, DriverError> {
        info!("{}", self.connecting);
        match &self.device {
            Device::Loop(_) => {
                let mut stream = echo_stream();
                stream.writer = Box::new(PacedSink {
                    inner: stream.writer,
                    pace: self.pace,
                });
                Ok(stream)
            }
            Device::Port { console, .. } => connect(console, call.key().kind()).await,
        }
    }

    async fn close_streams(self: Arc<Self>, _: Call) -> Result<(), DriverError> {
        let any = match &self.device {
            Device::Loop(_) => false,
            Device::Port { console, .. } => console.streams.end(),
        };
        if !any {
            debug!("close() called but no active connection (no-op)");
        }
        Ok(())
    }

    async fn set_dtr(self: Arc<Self>, _: Call, value: bool) -> Result<(), DriverError> {
        self.order(Order::Dtr(value)).await
    }

    async fn set_rts(self: Arc<Self>, _: Call, value: bool) -> Result<(), DriverError> {
        self.order(Order::Rts(value)).await
    }

    async fn send_break(self: Arc<Self>, _: Call, ms: Option<u64>) -> Result<(), DriverError> {
        let length = ms.map_or(BREAK, Duration::from_millis);
        if length > MAX_BREAK {
            let text = format!("a break has at most {} ms", MAX_BREAK.as_millis());
            return Err(DriverError::InvalidArgument(text));
        }
        self.order(Order::Break(length)).await
    }

    async fn set_baudrate(self: Arc<Self>, _: Call, baudrate: u32) -> Result<(), DriverError> {
        check_baudrate(baudrate).map_err(|text| DriverError::InvalidArgument(text.into()))?;
        self.set(|settings| settings.baudrate = baudrate).await
    }

    async fn set_format(self: Arc<Self>, _: Call, format: Value) -> Result<(), DriverError> {
        let format = Format::from_json(&format).map_err(DriverError::InvalidArgument)?;
        self.set(|settings| settings.format = format).await
    }

    async fn set_flow_control(
        self: Arc<Self>,
        _: Call,
        flow_control: FlowControl,
    ) -> Result<(), DriverError> {
        self.set(|settings| settings.flow_control = flow_control)
            .await
    }

    async fn get_settings(self: Arc<Self>, _: Call) -> Result<Value, DriverError> {
        let Settings {
            baudrate,
            format,
            flow_control,
            dtr,
            rts,
        } = self.settings();
        Ok(json!({
            "baudrate": baudrate,
            "format": format.to_string(),
            "flow_control": flow_control,
            "dtr": dtr,
            "rts": rts,
        }))
    }

    fn settings(&self) -> Settings {
        match &self.device {
            Device::Loop(settings) => *lock(settings),
            Device::Port { console, .. } => console.settings(),
        }
    }

    async fn set(&self, change: impl FnOnce(&mut Settings)) -> Result<(), DriverError> {
        let mut settings = self.settings();
        change(&mut settings);
        self.order(Order::Set(settings)).await
    }

    async fn order(&self, order: Order) -> Result<(), DriverError> {
        match &self.device {
            Device::Loop(settings) => {
                let mut now = lock(settings);
                *now = order.applied(*now);
                Ok(())
            }
            Device::Port { console, .. } => console.order(order).await,
        }
    }
}

fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}
