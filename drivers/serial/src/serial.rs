//! The driver `serial`: a console that clients of `PySerialClient` use.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rigd_driver::{
    ByteStream, Call, ConfigError, Driver, DriverError, Interface, Mode, OpenCx, OpenError,
    echo_stream,
};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::{net::TcpStream, sync::oneshot, time::timeout};
use tokio_serial::SerialStream;
use tracing::{debug, error, info};

use crate::{
    address::Address,
    console::Console,
    pace::{Pace, PacedSink},
    port::{Io, Port},
    tty::{self, Line, Lines},
};

/// How long a terminal server has to accept the connection. Half of what an opening may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// A serial console on a tty, a pty or a terminal server.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SerialConfig {
    /// Path of a tty or pty (best one of `/dev/serial/by-id`), `socket://HOST:PORT` for a terminal
    /// server's raw port, or `loop://`, which gives back what it is sent.
    pub url: String,
    /// Bits per second; 8 data bits, no parity, one stop bit, no flow control.
    #[serde(default = "default_baudrate")]
    pub baudrate: u32,
    /// Whether the port is expected to be there when the daemon starts: its absence is then an
    /// error in the log. The daemon starts and waits for the port in any case.
    #[serde(default = "default_check_present")]
    pub check_present: bool,
    /// Characters per second to send at most, for devices that lose bytes at full speed. 0 or
    /// nothing: no limit. What the device sends is never slowed down.
    #[serde(default)]
    pub cps: Option<f64>,
    /// Leave DTR as it is when the port is closed; boards that reset on DTR then keep running when
    /// the daemon stops.
    #[serde(default)]
    pub disable_hupcl: bool,
    // The port is tried again and again; its absence is told once.
    #[serde(skip)]
    absence_told: AtomicBool,
}

fn default_baudrate() -> u32 {
    115_200
}

fn default_check_present() -> bool {
    true
}

/// A serial console.
///
/// The port is open as long as the instance is. Each stream `connect` reads what arrives from its
/// opening on and may write; `close` ends streams and leaves the port alone.
#[derive(Debug)]
pub struct Serial {
    /// `Connecting to …`, as clients know it from logs.
    connecting: String,
    url: String,
    pace: Pace,
    device: Device,
    /// A client has set a modem line, so the next lease finds it raised again.
    lines_set: AtomicBool,
}

#[derive(Debug)]
enum Device {
    /// A loop has lines too, which lead nowhere.
    Loop,
    Port {
        console: Arc<Console>,
        lines: Option<Lines>,
    },
}

impl Driver for Serial {
    const TYPE: &'static str = "serial";
    const CLIENT: &'static str = "jumpstarter_driver_pyserial.client.PySerialClient";
    const CATEGORY: &'static str = "serial";
    type Config = SerialConfig;

    fn interface() -> Interface<Self> {
        Interface::new()
            .stream("connect", Self::connect)
            .call("close", Mode::Preempting, Self::close_streams)
            .call("set_dtr", Mode::Exclusive, Self::set_dtr)
            .call("set_rts", Mode::Exclusive, Self::set_rts)
    }

    fn check(config: &SerialConfig) -> Result<(), ConfigError> {
        Address::parse(&config.url)?;
        if config.baudrate == 0 {
            let text = "0 baud hangs up; use the speed of the console, e.g. 115200";
            return Err(ConfigError::new("baudrate", text));
        }
        Pace::new(config.cps).map_err(|text| ConfigError::new("cps", text))?;
        Ok(())
    }

    async fn open(config: &SerialConfig, cx: &OpenCx) -> Result<Self, OpenError> {
        let faulty = |error: ConfigError| OpenError::Faulty(error.to_string());
        let address = Address::parse(&config.url).map_err(faulty)?;
        let pace = Pace::new(config.cps).map_err(OpenError::Faulty)?;
        let url = config.url.clone();
        let device = match open_port(address, config, cx).await {
            Ok(None) => Device::Loop,
            Ok(Some((io, lines))) => {
                config.absence_told.store(false, Ordering::Relaxed);
                let console = Arc::new(Console::new(url.clone(), Port::new(io), pace));
                let (reading, health) = (console.clone(), cx.health().clone());
                cx.tasks().spawn(async move { reading.run(health).await });
                Device::Port { console, lines }
            }
            Err(failure) => {
                if config.check_present && !config.absence_told.swap(true, Ordering::Relaxed) {
                    error!(%failure, "The port is expected to be present.");
                }
                return Err(failure);
            }
        };
        let baudrate = config.baudrate;
        let cps = config.cps.map(|cps| format!(", cps: {cps}"));
        let cps = cps.unwrap_or_default();
        Ok(Self {
            connecting: format!("Connecting to {url}, baudrate: {baudrate}{cps}"),
            url,
            pace,
            device,
            lines_set: AtomicBool::new(false),
        })
    }

    /// Upstream opens the port anew for each use, which raises DTR and RTS.
    async fn lease_start(&self) -> Result<(), DriverError> {
        let Device::Port { lines, .. } = &self.device else {
            return Ok(());
        };
        match lines {
            Some(lines) if self.lines_set.swap(false, Ordering::Relaxed) => {
                raise(lines.clone()).await
            }
            _ => Ok(()),
        }
    }

    async fn lease_end(&self) -> Result<(), DriverError> {
        if let Device::Port { console, .. } = &self.device {
            console.end_streams();
        }
        Ok(())
    }

    async fn close(&self) {
        if let Device::Port { console, .. } = &self.device {
            console.close();
        }
    }
}

/// The port behind `address`; none for a loop.
async fn open_port(
    address: Address,
    config: &SerialConfig,
    cx: &OpenCx,
) -> Result<Option<(Io, Option<Lines>)>, OpenError> {
    match address {
        Address::Loop => Ok(None),
        Address::Device(path) => {
            let (url, baudrate) = (config.url.clone(), config.baudrate);
            let disable_hupcl = config.disable_hupcl;
            let open = move || {
                let (port, lines) = tty::open(&path, baudrate)?;
                if disable_hupcl {
                    tty::disable_hupcl(&port, &url);
                }
                Ok((port, lines))
            };
            let (port, lines) = cx.blocking(open).await?;
            let stream = SerialStream::try_from(port);
            let stream = stream
                .map_err(|e| OpenError::Faulty(format!("cannot wait for {}: {e}", config.url)))?;
            Ok(Some((Io::Tty(stream), Some(lines))))
        }
        Address::Socket { host, port } => {
            let connecting = timeout(CONNECT_LIMIT, TcpStream::connect((host.as_str(), port)));
            let absent = |what: &dyn std::fmt::Display| {
                OpenError::Absent(format!("cannot connect to {}: {what}", config.url))
            };
            let connected = connecting.await.map_err(|_| {
                absent(&format_args!(
                    "no answer within {} s",
                    CONNECT_LIMIT.as_secs()
                ))
            })?;
            let stream = connected.map_err(|error| absent(&error))?;
            // Keystrokes are single bytes; waiting to fill a packet only delays them.
            stream.set_nodelay(true).map_err(|error| absent(&error))?;
            Ok(Some((Io::Tcp(stream), None)))
        }
    }
}

/// Raises both lines on a thread of its own: the device may take its time, and the step of a lease
/// that waits for it has a limit.
async fn raise(lines: Lines) -> Result<(), DriverError> {
    let (tx, rx) = oneshot::channel();
    let thread = std::thread::Builder::new().name("rigd:tty-lines".into());
    let raising = move || {
        let done = lines.set(Line::Dtr, true).and(lines.set(Line::Rts, true));
        // Nobody listens any more after the limit.
        tx.send(done).ok();
    };
    thread
        .spawn(raising)
        .map_err(|e| DriverError::Exhausted(format!("cannot start a thread: {e}")))?;
    rx.await
        .unwrap_or_else(|_| Err(DriverError::Device("setting DTR and RTS failed".into())))
}

impl Serial {
    async fn connect(self: Arc<Self>, _: Call) -> Result<ByteStream, DriverError> {
        info!("{}", self.connecting);
        match &self.device {
            Device::Loop => {
                let mut stream = echo_stream();
                stream.writer = Box::new(PacedSink {
                    inner: stream.writer,
                    pace: self.pace,
                });
                Ok(stream)
            }
            Device::Port { console, .. } => console.connect(),
        }
    }

    async fn close_streams(self: Arc<Self>, _: Call) -> Result<(), DriverError> {
        let any = match &self.device {
            Device::Loop => false,
            Device::Port { console, .. } => console.end_streams(),
        };
        if !any {
            debug!("close() called but no active connection (no-op)");
        }
        Ok(())
    }

    async fn set_dtr(self: Arc<Self>, call: Call, value: bool) -> Result<(), DriverError> {
        self.set_line(call, Line::Dtr, value).await
    }

    async fn set_rts(self: Arc<Self>, call: Call, value: bool) -> Result<(), DriverError> {
        self.set_line(call, Line::Rts, value).await
    }

    async fn set_line(&self, call: Call, line: Line, active: bool) -> Result<(), DriverError> {
        match &self.device {
            Device::Loop => Ok(()),
            Device::Port { lines: None, .. } => Err(DriverError::Unimplemented(format!(
                "{} is a network connection and has no modem lines",
                self.url
            ))),
            Device::Port {
                lines: Some(lines), ..
            } => {
                let lines = lines.clone();
                self.lines_set.store(true, Ordering::Relaxed);
                call.blocking(move |_| lines.set(line, active)).await
            }
        }
    }
}
