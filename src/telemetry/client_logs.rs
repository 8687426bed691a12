//! Which log line goes to the clients of which exporter.
//!
//! The source follows the span: inside an `instance` span it is DRIVER, else SYSTEM; a line without
//! the field `exporter` on any of its spans belongs to the daemon and goes to no client. What the link
//! says, with addresses and errors of the controller, is for the lab's collection alone.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
    sync::{Arc, RwLock},
    time::SystemTime,
};

use rigd_proto::v1::LogSource;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    layer::Context,
    registry::{LookupSpan, Scope},
};

use crate::{
    config::LogLevel,
    session::{LogHub, LogLine},
};

/// Where the lines come from that are no client's business: the lab's own, which name controllers,
/// other clients and what a person did. What hooks print comes to clients another way.
const LABS_OWN: [&str; 2] = ["rigd::link", "rigd::lease"];

/// Where the lines of one exporter go.
#[derive(Debug, Clone)]
pub struct ExporterLogs {
    /// Its clients.
    pub hub: Arc<LogHub>,
    /// Least levels of its instances, by path; INFO for the others.
    pub levels: BTreeMap<String, LogLevel>,
}

/// The exporters of this process by name.
#[derive(Debug, Default)]
pub struct ClientLogs(RwLock<HashMap<String, ExporterLogs>>);

impl ClientLogs {
    /// From now on the lines of `exporter` go to `logs`.
    pub fn add(&self, exporter: &str, logs: ExporterLogs) {
        if let Ok(mut table) = self.0.write() {
            table.insert(exporter.into(), logs);
        }
    }

    /// The exporter is gone.
    pub fn remove(&self, exporter: &str) {
        if let Ok(mut table) = self.0.write() {
            table.remove(exporter);
        }
    }
}

/// The layer that feeds `clients`. DEBUG is let through for instances with `log_level: DEBUG`; what
/// is finer, and what libraries say (several events for each HTTP/2 frame), never concerns a client
/// and is switched off where it would be made.
pub(super) fn layer<S>(clients: Arc<ClientLogs>) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    ClientLayer(clients).with_filter(Targets::new().with_target("rigd", LevelFilter::DEBUG))
}

struct ClientLayer(Arc<ClientLogs>);

/// What a span says about the lines inside of it.
#[derive(Default)]
struct Origin {
    exporter: Option<String>,
    instance: Option<String>,
    driver_type: Option<String>,
    operation: Option<String>,
}

impl Origin {
    fn is_empty(&self) -> bool {
        self.exporter.is_none() && self.instance.is_none() && self.operation.is_none()
    }

    fn slot(&mut self, field: &Field) -> Option<&mut Option<String>> {
        match field.name() {
            "exporter" => Some(&mut self.exporter),
            "instance" => Some(&mut self.instance),
            "driver_type" => Some(&mut self.driver_type),
            "operation" => Some(&mut self.operation),
            _ => None,
        }
    }
}

impl Visit for Origin {
    fn record_str(&mut self, field: &Field, value: &str) {
        if let Some(slot) = self.slot(field) {
            *slot = Some(value.into());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if let Some(slot) = self.slot(field) {
            *slot = Some(format!("{value:?}"));
        }
    }
}

/// Message and fields of an event.
#[derive(Default)]
struct Text {
    message: String,
    fields: Vec<(String, String)>,
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }
}

impl Text {
    fn add(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            // Fields of the `log` crate's bridge repeat what the event itself says.
            name if name.starts_with("log.") => {}
            name => self.fields.push((name.into(), value)),
        }
    }
}

impl<S> Layer<S> for ClientLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, cx: Context<'_, S>) {
        let mut origin = Origin::default();
        attributes.record(&mut origin);
        if !origin.is_empty()
            && let Some(span) = cx.span(id)
        {
            span.extensions_mut().insert(origin);
        }
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        let Some(scope) = cx.event_scope(event) else {
            return;
        };
        let origin = merge(scope);
        let Some(exporter) = &origin.exporter else {
            return;
        };
        let Ok(table) = self.0.0.read() else { return };
        let Some(logs) = table.get(exporter) else {
            return;
        };
        let level = origin
            .instance
            .as_ref()
            .and_then(|path| logs.levels.get(path));
        if !wanted(event.metadata(), level.copied()) {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        let Text {
            mut message,
            fields,
        } = text;
        for (name, value) in &fields {
            // Writing to a string does not fail.
            write!(message, " {name}={value}").ok();
        }
        let source = if origin.instance.is_some() {
            LogSource::Driver
        } else {
            LogSource::System
        };
        let line = LogLine {
            severity: severity(*event.metadata().level()),
            message,
            source,
            driver_type: origin.driver_type,
            operation: origin.operation,
            fields,
            time: SystemTime::now(),
        };
        let target = event.metadata().target();
        if LABS_OWN.iter().any(|own| target.starts_with(own)) {
            logs.hub.record(|| line);
        } else {
            logs.hub.push(line);
        }
    }
}

/// What the spans around an event say together; the inner ones win.
fn merge<S: for<'a> LookupSpan<'a>>(scope: Scope<'_, S>) -> Origin {
    let mut merged = Origin::default();
    for span in scope {
        let extensions = span.extensions();
        let Some(origin) = extensions.get::<Origin>() else {
            continue;
        };
        let Origin {
            exporter,
            instance,
            driver_type,
            operation,
        } = origin;
        merged.exporter = merged.exporter.or_else(|| exporter.clone());
        merged.instance = merged.instance.or_else(|| instance.clone());
        merged.driver_type = merged.driver_type.or_else(|| driver_type.clone());
        merged.operation = merged.operation.or_else(|| operation.clone());
    }
    merged
}

fn wanted(event: &Metadata<'_>, level: Option<LogLevel>) -> bool {
    let least = match level.unwrap_or(LogLevel::Info) {
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Info => Level::INFO,
        LogLevel::Warning => Level::WARN,
        LogLevel::Error | LogLevel::Critical => Level::ERROR,
    };
    *event.level() <= least
}

/// The names that clients know.
fn severity(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        _ => "DEBUG",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    /// One subscriber for the process: with a scoped one, other tests that run at the same time
    /// would decide which spans exist.
    fn clients() -> Arc<ClientLogs> {
        static CLIENTS: std::sync::OnceLock<Arc<ClientLogs>> = std::sync::OnceLock::new();
        let start = || {
            let clients = Arc::new(ClientLogs::default());
            let subscriber = tracing_subscriber::Registry::default().with(layer(clients.clone()));
            tracing::subscriber::set_global_default(subscriber).unwrap();
            clients
        };
        CLIENTS.get_or_init(start).clone()
    }

    async fn lines(log: impl FnOnce()) -> Vec<(String, LogSource)> {
        let hub = Arc::new(LogHub::default());
        let levels = [("quiet".to_owned(), LogLevel::Error)].into();
        clients().add(
            "rpi4",
            ExporterLogs {
                hub: hub.clone(),
                levels,
            },
        );
        log();
        tracing::info_span!("exporter", exporter = "rpi4").in_scope(|| tracing::info!("end"));
        let mut reader = hub.reader();
        let mut lines = Vec::new();
        loop {
            let line = reader.next().await.unwrap();
            if line.message == "end" {
                return lines;
            }
            lines.push((line.message, line.source));
        }
    }

    #[tokio::test]
    async fn the_source_follows_the_span_and_others_see_nothing() {
        let seen = lines(|| {
            tracing::info!("of the daemon");
            tracing::info_span!("exporter", exporter = "other").in_scope(|| tracing::info!("x"));
            let exporter = tracing::info_span!("exporter", exporter = "rpi4");
            let _exporter = exporter.enter();
            tracing::info!(lease = "l1", "Lease started.");
            tracing::warn!(target: "rigd::link::hear", "No connection to the controller.");
            tracing::debug!("too fine");
            let instance = tracing::info_span!("instance", instance = "dutlink.power");
            instance.in_scope(|| tracing::info!("power on"));
            let quiet = tracing::info_span!("instance", instance = "quiet");
            quiet.in_scope(|| tracing::warn!("not wanted"));
        });
        let wanted = [
            ("Lease started. lease=l1".to_owned(), LogSource::System),
            ("power on".to_owned(), LogSource::Driver),
        ];
        assert_eq!(seen.await, wanted);
    }
}
