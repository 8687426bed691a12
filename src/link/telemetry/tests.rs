//! The sender against a collection in this process, over pipes and with a clock that does not wait.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::SystemTime,
};

use hyper_util::rt::TokioIo;
use rigd_proto::v1::{
    LogSource,
    telemetry_service_server::{TelemetryService, TelemetryServiceServer},
};
use tokio::{
    io::DuplexStream,
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_stream::{StreamExt, wrappers::UnboundedReceiverStream};
use tonic::{
    Response,
    transport::{Endpoint, Server},
};
use tracing_subscriber::{Layer, layer::SubscriberExt, registry::LookupSpan};

use super::*;

/// What the collection does with a batch.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Take,
    /// It refuses three entries.
    RefuseThree,
    Never,
}

struct Batch {
    at: Instant,
    entries: Vec<LogEntry>,
    authorization: String,
}

struct Collection {
    answer: watch::Receiver<Answer>,
    batches: mpsc::UnboundedSender<Batch>,
}

#[tonic::async_trait]
impl TelemetryService for Collection {
    async fn push_logs(
        &self,
        request: Request<PushLogsRequest>,
    ) -> Result<Response<PushLogsResponse>, Status> {
        let answer = *self.answer.borrow();
        let authorization = request.metadata().get("authorization");
        let authorization = authorization.unwrap().to_str().unwrap().into();
        let entries = request.into_inner().entries;
        let count = u32::try_from(entries.len()).unwrap();
        let batch = Batch {
            at: Instant::now(),
            entries,
            authorization,
        };
        // A test that has seen enough is gone.
        self.batches.send(batch).ok();
        let dropped = match answer {
            Answer::Take => 0,
            Answer::RefuseThree => 3,
            Answer::Never => std::future::pending().await,
        };
        Ok(Response::new(PushLogsResponse {
            accepted: count - dropped,
            dropped,
        }))
    }
}

struct Pipes {
    incoming: mpsc::UnboundedSender<DuplexStream>,
    down: Arc<AtomicBool>,
}

impl Access for Pipes {
    async fn channel(&self, endpoint: &TelemetryEndpoint) -> Result<Channel, Status> {
        assert_eq!(endpoint.endpoint, "logs.lab:443");
        if self.down.load(Relaxed) {
            return Err(Status::unavailable("connection refused"));
        }
        let incoming = self.incoming.clone();
        let connect = tower::service_fn(move |_| {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            let sent = incoming.send(theirs).map_err(std::io::Error::other);
            async { sent.map(|()| TokioIo::new(ours)) }
        });
        let endpoint = Endpoint::from_static("http://pipe");
        let channel = endpoint.connect_with_connector(connect).await;
        channel.map_err(|error| Status::unavailable(error.to_string()))
    }

    fn authorization(&self) -> Result<MetadataValue<Ascii>, Status> {
        Ok(MetadataValue::from_static("Bearer secret"))
    }
}

struct Lab {
    hub: Arc<LogHub>,
    answer: watch::Sender<Answer>,
    down: Arc<AtomicBool>,
    context: watch::Sender<Context>,
    stop: CancellationToken,
    sender: JoinHandle<Totals>,
    batches: mpsc::UnboundedReceiver<Batch>,
    /// Ends with the test.
    _server: tokio_util::task::AbortOnDropHandle<()>,
}

impl Lab {
    fn start(min_severity: &str) -> Self {
        let (answer, answers) = watch::channel(Answer::Take);
        let (batch, batches) = mpsc::unbounded_channel();
        let (incoming, connections) = mpsc::unbounded_channel();
        let collection = TelemetryServiceServer::new(Collection {
            answer: answers,
            batches: batch,
        });
        let connections = UnboundedReceiverStream::new(connections).map(Ok::<_, std::io::Error>);
        let server = tokio::spawn(async move {
            let server = Server::builder().add_service(collection);
            server.serve_with_incoming(connections).await.unwrap();
        });
        let down = Arc::new(AtomicBool::new(false));
        let access = Pipes {
            incoming,
            down: down.clone(),
        };
        let (context, contexts) = watch::channel(Context {
            exporter: "rpi4".into(),
            ..Context::default()
        });
        let endpoints = [("logs.lab:443", min_severity), ("other.lab:443", "debug")];
        let endpoints = endpoints.map(|(endpoint, min_severity)| TelemetryEndpoint {
            endpoint: endpoint.into(),
            certificate: String::new(),
            min_severity: min_severity.into(),
        });
        let (hub, stop) = (Arc::new(LogHub::default()), CancellationToken::new());
        hub.push(line("INFO", "before"));
        let sender = Telemetry::start(&hub, &endpoints, access, contexts, stop.clone());
        Self {
            hub,
            answer,
            down,
            context,
            stop,
            sender: sender.unwrap(),
            batches,
            _server: tokio_util::task::AbortOnDropHandle::new(server),
        }
    }

    fn say(&self, lines: std::ops::Range<usize>) {
        lines.for_each(|n| self.hub.push(line("INFO", &n.to_string())));
    }

    async fn batch(&mut self) -> Batch {
        let batch = timeout(Duration::from_secs(600), self.batches.recv());
        batch.await.unwrap().unwrap()
    }

    async fn messages(&mut self) -> Vec<String> {
        let entries = self.batch().await.entries;
        entries.into_iter().map(|entry| entry.message).collect()
    }

    async fn end(self) -> Totals {
        self.stop.cancel();
        self.sender.await.unwrap()
    }
}

fn line(severity: &'static str, message: &str) -> LogLine {
    LogLine {
        severity,
        message: message.into(),
        source: LogSource::System,
        driver_type: None,
        operation: None,
        fields: Vec::new(),
        time: SystemTime::UNIX_EPOCH,
    }
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn lines_go_out_in_batches_of_50_each_half_second() {
    let mut lab = Lab::start("");
    let start = Instant::now();
    lab.say(0..120);
    let mut at = Vec::new();
    for range in [0..50, 50..100, 100..120] {
        let batch = lab.batch().await;
        at.push((batch.at - start).as_millis() / 500);
        assert_eq!(batch.authorization, "Bearer secret");
        let messages = batch.entries.into_iter().map(|entry| entry.message);
        assert_eq!(messages.collect::<Vec<_>>(), numbers(range));
    }
    assert_eq!(at, [1, 2, 3]);
    lab.answer.send_replace(Answer::RefuseThree);
    lab.say(0..5);
    lab.batch().await;
    let totals = Totals {
        accepted: 122,
        refused: 3,
        lost: 0,
    };
    // The answer to the last one is waited for.
    assert_eq!(lab.end().await, totals);
}

#[tokio::test(start_paused = true)]
async fn the_endpoint_says_which_severities_and_a_line_has_the_context_of_its_time() {
    let mut lab = Lab::start("warning");
    lab.hub.push(line("WARNING", "1"));
    lab.hub.push(line("INFO", "2"));
    lab.hub.record(|| line("ERROR", "3"));
    let first = lab.batch().await.entries;
    lab.context
        .send_modify(|context| context.lease = "l1".into());
    lab.hub.push(line("ERROR", "4"));
    let second = lab.batch().await.entries;
    let short = |entries: Vec<LogEntry>| -> Vec<_> {
        let each = entries.into_iter();
        each.map(|e| (e.message, e.exporter, e.lease)).collect()
    };
    let wanted = |message: &str, lease: &str| (message.into(), "rpi4".into(), lease.into());
    assert_eq!(short(first), [wanted("1", ""), wanted("3", "")]);
    assert_eq!(short(second), [wanted("4", "l1")]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_without_an_answer_is_given_up_after_10_s_and_the_others_wait() {
    let mut lab = Lab::start("");
    lab.answer.send_replace(Answer::Never);
    lab.say(0..60);
    let start = lab.batch().await.at;
    lab.answer.send_replace(Answer::Take);
    let second = lab.batch().await;
    let messages: Vec<_> = second.entries.into_iter().map(|e| e.message).collect();
    assert_eq!(messages, numbers(50..60));
    let waited = second.at - start;
    // 10 s, and half a second to a second of back-off.
    assert!((10_400..11_500).contains(&waited.as_millis()), "{waited:?}");
    assert_eq!(lab.end().await.lost, 50);
}

#[tokio::test(start_paused = true)]
async fn what_is_left_goes_out_at_the_end_and_within_2_s() {
    let mut lab = Lab::start("");
    lab.say(0..130);
    lab.stop.cancel();
    let start = Instant::now();
    for range in [0..50, 50..100, 100..130] {
        assert_eq!(lab.messages().await, numbers(range));
    }
    assert_eq!(lab.end().await.accepted, 130);
    assert!(start.elapsed() < Duration::from_millis(100));

    let mut lab = Lab::start("");
    lab.answer.send_replace(Answer::Never);
    lab.say(0..70);
    lab.batch().await;
    let start = Instant::now();
    assert_eq!(lab.end().await.lost, 70);
    let taken = start.elapsed().as_millis();
    assert!((2000..2100).contains(&taken), "{taken} ms");
}

#[tokio::test(start_paused = true)]
async fn without_an_endpoint_nothing_is_collected() {
    struct Nobody;
    impl Access for Nobody {
        async fn channel(&self, _: &TelemetryEndpoint) -> Result<Channel, Status> {
            Err(Status::internal("nobody asks"))
        }
        fn authorization(&self) -> Result<MetadataValue<Ascii>, Status> {
            Err(Status::internal("nobody asks"))
        }
    }
    let hub = Arc::new(LogHub::default());
    let (_context, contexts) = watch::channel(Context::default());
    let stop = CancellationToken::new();
    assert!(Telemetry::start(&hub, &[], Nobody, contexts, stop).is_none());
    assert!(!hub.is_collected());
}

/// An event of the module under test: what it says, its number of lost entries, and whether a span
/// is around it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Event {
    message: String,
    lost: Option<u64>,
    in_span: bool,
}

impl tracing::field::Visit for Event {
    fn record_u64(&mut self, field: &tracing::field::Field, value: u64) {
        if field.name() == "lost" {
            self.lost = Some(value);
        }
    }

    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}

/// Hears what is logged on this thread.
struct Heard(mpsc::UnboundedSender<Event>);

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Heard {
    fn on_event(&self, event: &tracing::Event<'_>, cx: tracing_subscriber::layer::Context<'_, S>) {
        if event.metadata().target() == "rigd::link::telemetry" {
            let mut heard = Event {
                in_span: cx.event_scope(event).is_some(),
                ..Event::default()
            };
            event.record(&mut heard);
            self.0.send(heard).unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_told_once_and_never_to_the_collection_itself() {
    let (heard, mut told) = mpsc::unbounded_channel();
    let subscriber = tracing_subscriber::Registry::default().with(Heard(heard));
    let _heard = tracing::subscriber::set_default(subscriber);
    let span = tracing::info_span!("exporter", exporter = "rpi4");
    let _span = span.enter();

    let mut lab = Lab::start("");
    lab.down.store(true, Relaxed);
    lab.say(0..1000);
    // Whether anybody listens is remembered at each place that logs; a test beside this one that came
    // to such a place just while the subscriber was set may have left the wrong answer.
    tracing::callsite::rebuild_interest_cache();
    // Several batches fail, with waits between half a second and 1, 2, 4 s.
    tokio::time::sleep(Duration::from_secs(6)).await;
    lab.down.store(false, Relaxed);
    let first: usize = lab.messages().await[0].parse().unwrap();
    assert!((150..=600).contains(&first), "{first}");
    assert_eq!(lab.end().await.lost, first as u64);
    let lost = Some(first as u64);
    for (message, lost) in [
        (
            "Telemetry cannot be delivered; what is too much to keep is dropped.",
            None,
        ),
        ("Telemetry is delivered again.", lost),
        ("Telemetry ends with losses.", lost),
    ] {
        let wanted = Event {
            message: message.into(),
            lost,
            in_span: false,
        };
        let next = tokio::time::timeout(Duration::from_secs(60), told.recv());
        assert_eq!(next.await.expect("an event"), Some(wanted));
    }
    assert!(told.try_recv().is_err());
}
