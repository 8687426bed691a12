//! Logs: one stream of events, told to people on standard error and to the clients of each exporter.

mod client_logs;

use std::sync::Arc;

use tracing_subscriber::{
    EnvFilter, Layer, Registry, layer::SubscriberExt, util::SubscriberInitExt,
};

pub use client_logs::{ClientLogs, ExporterLogs};

/// How log lines look on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging for the process. `filter` is in the syntax of `tracing_subscriber::EnvFilter`,
/// e.g. `info` or `rigd=debug,warn`.
///
/// # Errors
/// The filter does not parse, or logging was started before.
pub fn start(filter: &str, format: LogFormat) -> anyhow::Result<Arc<ClientLogs>> {
    use std::io::IsTerminal;

    use anyhow::Context;
    let filter = EnvFilter::try_new(filter)
        .with_context(|| format!("log filter '{filter}' is not valid, e.g. 'info' is"))?;
    let clients = Arc::new(ClientLogs::default());
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let stderr = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(colours);
    let stderr: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => stderr.with_target(false).with_filter(filter).boxed(),
        LogFormat::Json => stderr
            .json()
            .flatten_event(true)
            .with_filter(filter)
            .boxed(),
    };
    let subscriber = Registry::default()
        .with(stderr)
        .with(client_logs::layer(clients.clone()));
    subscriber
        .try_init()
        .context("logging was started before")?;
    Ok(clients)
}
