//! `rfc2217://`: a serial port behind a terminal server, with its settings (RFC 2217).
//!
//! ```text
//!   bytes  ──> escape ───┐                        ┌──> decode ──> bytes
//!   orders ──> com_port ─┴──> one connection ─────┤──> options: what both ends do
//!                                                 └──> com_port: answers to orders
//! ```
//!
//! `telnet`, `options` and `com_port` know no I/O; `connection` is the one task that has the socket.

mod com_port;
mod connection;
mod options;
mod telnet;
mod url;

use std::{io, sync::Mutex};

use rigd_driver::{DriverError, OpenError, TaskScope, async_trait};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex},
    sync::{mpsc, oneshot},
    time::{Duration, Instant, timeout},
};

use crate::{
    settings::{FlowControl, Settings},
    tcp,
    wire::{ORDER_LIMIT, Order, Source, Wire},
};
use com_port::Request;
use connection::{BUFFER, Connection, Job, Step};
pub(crate) use url::Url;

/// How long a server has for the negotiation. With the connection before it and the settings after it
/// this stays within what an opening may take.
const NEGOTIATION_LIMIT: Duration = Duration::from_secs(3);
/// How long a job may take beyond its pauses: it ends by itself before its caller stops waiting.
const JOB_LIMIT: Duration = Duration::from_millis(ORDER_LIMIT.as_millis() as u64 - 500);
/// Jobs that wait. Callers come one at a time; who does not wait for the end is one more.
const JOBS: usize = 8;

/// A port of a terminal server that speaks RFC 2217.
#[derive(Debug)]
pub(crate) struct Rfc2217Source {
    url: Url,
    tasks: TaskScope,
}

impl Rfc2217Source {
    /// Connections are served by a task of that scope.
    pub(crate) fn new(url: Url, tasks: TaskScope) -> Self {
        Self { url, tasks }
    }

    /// A connection whose both ends agree.
    async fn connect(&self) -> Result<(DuplexStream, mpsc::Sender<Job>), OpenError> {
        let Url { host, port, .. } = &self.url;
        let shown = self.url.to_string();
        let tcp = tcp::connect(&shown, host, *port).await?;
        let (outer, inner) = duplex(BUFFER);
        let (jobs, waiting) = mpsc::channel(JOBS);
        let (agreed, agreement) = oneshot::channel();
        let connection = Connection::new(tcp, inner, &self.url, agreed);
        self.tasks.spawn(connection.run(waiting));
        let raw = "a port without RFC 2217 needs socket://HOST:PORT";
        match timeout(NEGOTIATION_LIMIT, agreement).await {
            Ok(Ok(Ok(()))) => Ok((outer, jobs)),
            Ok(Ok(Err(option))) => Err(OpenError::Faulty(format!(
                "{shown} refuses the Telnet option {option}; {raw}"
            ))),
            Ok(Err(_)) => Err(OpenError::Absent(format!("{shown} closed the connection"))),
            Err(_) => Err(OpenError::Faulty(format!(
                "{shown} did not negotiate within {} s; {raw}",
                NEGOTIATION_LIMIT.as_secs()
            ))),
        }
    }
}

#[async_trait]
impl Source for Rfc2217Source {
    async fn open(&self, settings: &Settings) -> Result<Box<dyn Wire>, OpenError> {
        let (stream, jobs) = self.connect().await?;
        let (reading, writing) = tokio::io::split(stream);
        let wire = Rfc2217Wire {
            peer: self.url.to_string(),
            reading: tokio::sync::Mutex::new(reading),
            writing: tokio::sync::Mutex::new(writing),
            jobs,
            settings: Mutex::new(None),
        };
        let mut steps = Vec::from(requests(settings).map(Step::Ask));
        steps.push(Step::Ask(Request::Dtr(settings.dtr)));
        if settings.flow_control != FlowControl::RtsCts {
            steps.push(Step::Ask(Request::Rts(settings.rts)));
        }
        let set = wire.run(steps, vec![], Duration::ZERO).await;
        set.map_err(|error| match error {
            DriverError::Unavailable(text) => OpenError::Absent(text),
            error => OpenError::Faulty(error.to_string()),
        })?;
        wire.remember(*settings);
        Ok(Box::new(wire))
    }
}

/// What speed, format and flow control are set by.
fn requests(settings: &Settings) -> [Request; 5] {
    let format = settings.format;
    [
        Request::Baudrate(settings.baudrate),
        Request::DataBits(format.data_bits),
        Request::Parity(format.parity),
        Request::StopBits(format.stop_bits),
        Request::Flow(settings.flow_control),
    ]
}

/// An open port of such a server.
#[derive(Debug)]
struct Rfc2217Wire {
    peer: String,
    // Held for single reads and writes; each has one user at a time anyway.
    reading: tokio::sync::Mutex<ReadHalf<DuplexStream>>,
    writing: tokio::sync::Mutex<WriteHalf<DuplexStream>>,
    jobs: mpsc::Sender<Job>,
    /// What the server has agreed to.
    settings: Mutex<Option<Settings>>,
}

impl Rfc2217Wire {
    /// Does all steps, or undoes them. `pauses` is how long they take by themselves.
    async fn run(
        &self,
        steps: Vec<Step>,
        undo: Vec<Request>,
        pauses: Duration,
    ) -> Result<(), DriverError> {
        let gone = || DriverError::Unavailable(format!("the connection to {} ended", self.peer));
        let (done, outcome) = oneshot::channel();
        let job = Job {
            steps: steps.into(),
            undo,
            until: Instant::now() + pauses + JOB_LIMIT,
            done,
        };
        let running = async {
            self.jobs.send(job).await.map_err(|_| gone())?;
            outcome.await.unwrap_or_else(|_| Err(gone()))
        };
        // A job ends by itself before; one that waits for those before it may not.
        let late = |_| DriverError::Timeout(format!("{} is busy with other requests", self.peer));
        timeout(pauses + ORDER_LIMIT, running).await.map_err(late)?
    }

    fn remember(&self, settings: Settings) {
        if let Ok(mut slot) = self.settings.lock() {
            *slot = Some(settings);
        }
    }
}

#[async_trait]
impl Wire for Rfc2217Wire {
    async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reading.lock().await.read(buffer).await
    }

    async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.writing.lock().await.write(bytes).await
    }

    async fn order(&self, order: Order) -> Result<(), DriverError> {
        let one = |request| self.run(vec![Step::Ask(request)], vec![], Duration::ZERO);
        match order {
            Order::Dtr(level) => one(Request::Dtr(level)).await,
            Order::Rts(level) => one(Request::Rts(level)).await,
            Order::Break(length) => {
                let steps = vec![
                    Step::Ask(Request::Break(true)),
                    Step::Pause(length),
                    Step::Ask(Request::Break(false)),
                ];
                self.run(steps, vec![Request::Break(false)], length).await
            }
            Order::Set(settings) => {
                let before = self.settings.lock().ok().and_then(|slot| *slot);
                let undo = before.map(|before| requests(&before).into());
                let steps = requests(&settings).map(Step::Ask).into();
                self.run(steps, undo.unwrap_or_default(), Duration::ZERO)
                    .await?;
                self.remember(settings);
                Ok(())
            }
        }
    }
}
