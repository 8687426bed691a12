//! Sends the log lines of one exporter to the lab's log collection.
//!
//! ```text
//!   LogHub ──collect──> queue (newest 10 000) ──push──> TelemetryService of the first endpoint
//! ```
//!
//! Two halves of one task, so that lines are taken while a batch is under way. What cannot be
//! delivered is dropped and counted; nothing here ever holds up an exporter. What the task itself
//! has to say carries no span and with that no exporter's name, so that it never comes back here as
//! a line to send.

mod entry;
mod queue;
mod reach;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rigd_proto::v1::{
    LogEntry, PushLogsRequest, PushLogsResponse, TelemetryEndpoint,
    telemetry_service_client::TelemetryServiceClient,
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};

use super::{
    answer::{Answer, cause},
    backoff::{Backoff, Trouble},
};
use crate::session::{LogHub, LogLine, LogReader};
pub(crate) use reach::Reach;

use entry::{Severity, entry};
use queue::{MAX_ENTRIES, Queue};

/// Between two batches: what upstream keeps, at most 100 entries/s.
const PERIOD: Duration = Duration::from_millis(500);
/// For one batch, with the connection it may need: what upstream gives it.
const PUSH_LIMIT: Duration = Duration::from_secs(10);
/// For what is left when the exporter stops: longer would keep a service manager waiting.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// Whose lines these are; the lease and its client change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Context {
    /// Name of the exporter.
    pub(crate) exporter: String,
    /// Its namespace.
    pub(crate) namespace: String,
    /// Name of the lease; empty between leases.
    pub(crate) lease: String,
    /// Who holds it; empty between leases.
    pub(crate) client: String,
}

/// How the endpoint is reached, and as whom.
pub(crate) trait Access: Send + Sync + 'static {
    /// A connection to the endpoint. Called again after each failure; may be cancelled.
    fn channel(
        &self,
        endpoint: &TelemetryEndpoint,
    ) -> impl Future<Output = Result<Channel, Status>> + Send;

    /// The value of `authorization`, `Bearer …` with the token of this moment; asked for with each
    /// batch.
    fn authorization(&self) -> Result<MetadataValue<Ascii>, Status>;
}

/// What became of the entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Stored by the endpoint.
    pub(crate) accepted: u64,
    /// Delivered, and refused by the endpoint.
    pub(crate) refused: u64,
    /// Never delivered.
    pub(crate) lost: u64,
}

/// The sender of one exporter's lines.
#[derive(Debug)]
pub(crate) struct Telemetry;

impl Telemetry {
    /// Sends the lines of `hub` from now on to the first of `endpoints`, until `stop`; then what is
    /// left, for at most 2 s. Push the last line before you cancel `stop`. Without an endpoint
    /// nothing is started and nothing costs anything.
    pub(crate) fn start(
        hub: &Arc<LogHub>,
        endpoints: &[TelemetryEndpoint],
        access: impl Access,
        context: watch::Receiver<Context>,
        stop: CancellationToken,
    ) -> Option<JoinHandle<Totals>> {
        let endpoint = endpoints.first()?.clone();
        let sender = Sender {
            least: Severity::parse(&endpoint.min_severity),
            endpoint,
            access,
            context,
            stop,
            state: Mutex::default(),
        };
        // From this moment on, not from when the task first runs.
        let reader = hub.collector();
        Some(tokio::spawn(sender.run(reader)))
    }
}

#[derive(Debug, Default)]
struct State {
    queue: Queue,
    totals: Totals,
    /// Entries of the batch under way.
    under_way: u64,
    /// While the endpoint takes nothing: entries lost since it last did.
    outage: Option<u64>,
}

struct Sender<A> {
    least: Severity,
    endpoint: TelemetryEndpoint,
    access: A,
    context: watch::Receiver<Context>,
    stop: CancellationToken,
    /// Shared by the two halves; never held over an await.
    state: Mutex<State>,
}

type Client = TelemetryServiceClient<Channel>;

/// What came of an attempt to send.
enum Attempt {
    NothingToSend,
    Delivered,
    /// And whether it may work in a moment.
    Failed(Trouble),
}

impl<A: Access> Sender<A> {
    async fn run(self, reader: LogReader) -> Totals {
        let work = async {
            let ((), client) = tokio::join!(self.collect(reader), self.push());
            self.flush(client).await;
        };
        let cutoff = async {
            self.stop.cancelled().await;
            sleep(FLUSH_LIMIT).await;
        };
        // cancel-safe: what is cut off is over, and is counted as lost.
        tokio::select! {
            biased;
            () = work => {}
            () = cutoff => {}
        }
        self.end()
    }

    /// Puts lines into the queue until the stop, and then those that are there already.
    async fn collect(&self, mut reader: LogReader) {
        loop {
            // cancel-safe: both arms only wait.
            let line = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                line = reader.next() => line,
            };
            let Some(line) = line else { return };
            self.keep(line);
        }
        // More than fits is not worth a look, and a driver that goes on talking does not hold us.
        for _ in 0..MAX_ENTRIES {
            let Some(line) = reader.take() else {
                return;
            };
            self.keep(line);
        }
    }

    fn keep(&self, line: LogLine) {
        let entry = entry(line, &self.context.borrow(), self.least);
        if let Some(entry) = entry {
            self.state().queue.push(entry);
        }
    }

    /// Sends a batch now and then until the stop; gives the connection for those that are left.
    async fn push(&self) -> Option<Client> {
        let mut client = None;
        let (mut wait, mut backoff) = (PERIOD, Backoff::default());
        loop {
            // cancel-safe: both arms only wait.
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return client,
                () = sleep(wait) => {}
            }
            wait = match self.send(&mut client).await {
                Attempt::NothingToSend => PERIOD,
                Attempt::Delivered => {
                    backoff = Backoff::default();
                    PERIOD
                }
                Attempt::Failed(trouble) => backoff.next(trouble),
            };
        }
    }

    async fn flush(&self, mut client: Option<Client>) {
        while let Attempt::Delivered = self.send(&mut client).await {}
    }

    async fn send(&self, client: &mut Option<Client>) -> Attempt {
        let entries = {
            let mut state = self.state();
            let entries = state.queue.batch();
            state.under_way = entries.len() as u64;
            entries
        };
        if entries.is_empty() {
            return Attempt::NothingToSend;
        }
        let answer = timeout(PUSH_LIMIT, self.rpc(client, entries)).await;
        let answer = answer.unwrap_or_else(|_| {
            let limit = PUSH_LIMIT.as_secs();
            Err(Status::deadline_exceeded(format!("no answer in {limit} s")))
        });
        match answer {
            Ok(answer) => {
                self.delivered(&answer);
                Attempt::Delivered
            }
            Err(status) => {
                // The next one is made anew: the address may have moved.
                *client = None;
                self.failed(&status);
                Attempt::Failed(Answer::of(&status).trouble())
            }
        }
    }

    async fn rpc(
        &self,
        client: &mut Option<Client>,
        entries: Vec<LogEntry>,
    ) -> Result<PushLogsResponse, Status> {
        let client = match client {
            Some(client) => client,
            none => none.insert(Client::new(self.access.channel(&self.endpoint).await?)),
        };
        let mut request = Request::new(PushLogsRequest { entries });
        request.set_timeout(PUSH_LIMIT);
        let authorization = self.access.authorization()?;
        request
            .metadata_mut()
            .insert("authorization", authorization);
        Ok(client.push_logs(request).await?.into_inner())
    }

    fn delivered(&self, answer: &PushLogsResponse) {
        let mut state = self.state();
        let count = std::mem::take(&mut state.under_way);
        let refused = u64::from(answer.dropped).min(count);
        state.totals.accepted += count - refused;
        state.totals.refused += refused;
        let pushed_out = state.queue.take_pushed_out();
        state.totals.lost += pushed_out;
        if let Some(lost) = state.outage.take() {
            let (exporter, endpoint) = (self.exporter(), &self.endpoint.endpoint);
            let lost = lost + pushed_out;
            tracing::info!(parent: None, exporter, endpoint, lost, "Telemetry is delivered again.");
        }
    }

    fn failed(&self, status: &Status) {
        let mut state = self.state();
        let lost = std::mem::take(&mut state.under_way) + state.queue.take_pushed_out();
        state.totals.lost += lost;
        if let Some(outage) = &mut state.outage {
            *outage += lost;
            return;
        }
        state.outage = Some(lost);
        let (exporter, endpoint) = (self.exporter(), &self.endpoint.endpoint);
        let error = cause(status);
        tracing::warn!(
            parent: None, exporter, endpoint, error,
            "Telemetry cannot be delivered; what is too much to keep is dropped."
        );
    }

    fn end(&self) -> Totals {
        let mut state = self.state();
        state.totals.lost += state.under_way + state.queue.len() as u64;
        state.totals.lost += state.queue.take_pushed_out();
        let (totals, exporter) = (state.totals, self.exporter());
        if totals.lost > 0 {
            let (endpoint, lost) = (&self.endpoint.endpoint, totals.lost);
            tracing::warn!(parent: None, exporter, endpoint, lost, "Telemetry ends with losses.");
        }
        totals
    }

    fn exporter(&self) -> String {
        self.context.borrow().exporter.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked with it left counts, which are true enough.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
