//! The threads of the exporters, and the signals that end them.
//!
//! Each exporter has a thread with a runtime of its own: what blocks or breaks one of them by
//! mistake does not reach another, and a call wakes no second thread.
//!
//! ```text
//!   every thread: bind ──told──> main: all bound? ──go──> open, serve ──done──> main
//! ```
//!
//! All sockets are bound before any hardware is opened: a port in use must not be found after
//! relays have moved.

use std::sync::Arc;

use futures::future::join_all;
use tokio::{runtime, sync::oneshot};
use tokio_util::sync::CancellationToken;

use super::sockets::Sockets;
use crate::{
    cli::Failure,
    config::ExporterConfig,
    exporter::{Directories, Exporter},
    os::signals::StopSignals,
    telemetry::ClientLogs,
    tree::{Plan, Tree},
};

/// Threads of one exporter for the odd blocking call of a library, such as a name look-up. Device
/// work has threads of its own.
const MAX_BLOCKING: usize = 4;
/// Ends all exporters.
#[derive(Clone, Default)]
struct Stop {
    /// Clients have a moment to leave.
    begin: CancellationToken,
    /// They have not.
    cut: CancellationToken,
}

/// One exporter on its thread.
struct Hosted {
    name: String,
    bound: oneshot::Receiver<Result<(), Failure>>,
    go: oneshot::Sender<()>,
    /// The exit code.
    done: oneshot::Receiver<u8>,
}

/// Serves the exporters until a signal, or until all of them have ended.
pub(super) fn serve(
    planned: Vec<(ExporterConfig, Plan, Sockets)>,
    directories: &Directories,
    clients: &Arc<ClientLogs>,
) -> Result<(), Failure> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Runtime(error.into()))?;
    runtime.block_on(async {
        let signals = StopSignals::listen().map_err(|error| Failure::Runtime(error.into()))?;
        let stop = Stop::default();
        let mut hosted = Vec::new();
        for (config, plan, sockets) in planned {
            hosted.push(host(config, plan, sockets, directories, clients, &stop)?);
        }
        let mut serving = Vec::new();
        for Hosted {
            name,
            bound,
            go,
            done,
        } in hosted
        {
            bound.await.unwrap_or_else(|_| Err(died(&name)))?;
            serving.push((name, go, done));
        }
        run(serving, signals, stop).await
    })
}

async fn run(
    serving: Vec<(String, oneshot::Sender<()>, oneshot::Receiver<u8>)>,
    mut signals: StopSignals,
    stop: Stop,
) -> Result<(), Failure> {
    let serving = serving.into_iter().map(|(name, go, done)| {
        // A thread that is gone already is told of below.
        go.send(()).ok();
        async move {
            done.await.map_err(|_| {
                tracing::error!(exporter = name, "An exporter failed unexpectedly.");
                died(&name)
            })
        }
    });
    let mut serving = std::pin::pin!(join_all(serving));
    // cancel-safe: `serving` is pinned outside, the signals only take what is there.
    let ended = tokio::select! {
        ended = &mut serving => ended,
        signal = signals.next() => {
            tracing::info!(signal, "Stopping.");
            stop.begin.cancel();
            tokio::select! {
                ended = &mut serving => ended,
                signal = signals.next() => {
                    tracing::warn!(signal, "Stopping at once: hooks and clients are cut.");
                    stop.cut.cancel();
                    // What is left has its deadlines; who does not want to wait for them either
                    // says so once more.
                    tokio::select! {
                        ended = &mut serving => ended,
                        _ = signals.next() => Vec::new(),
                    }
                }
            }
        }
    };
    // The worst of them is that of the process.
    let codes: Result<Vec<u8>, Failure> = ended.into_iter().collect();
    match codes?.into_iter().max() {
        None | Some(0) => Ok(()),
        Some(code) => Err(Failure::Ended(code)),
    }
}

fn died(name: &str) -> Failure {
    Failure::Runtime(anyhow::anyhow!(
        "exporter {name} failed unexpectedly; the log has the place"
    ))
}

/// Starts the thread of an exporter.
fn host(
    config: ExporterConfig,
    plan: Plan,
    sockets: Sockets,
    directories: &Directories,
    clients: &Arc<ClientLogs>,
    stop: &Stop,
) -> Result<Hosted, Failure> {
    let name = config.metadata.name.clone();
    let (bound_tx, bound) = oneshot::channel();
    let (go, go_rx) = oneshot::channel();
    let (done_tx, done) = oneshot::channel();
    let (directories, clients, stop) = (directories.clone(), clients.clone(), stop.clone());
    let work = move || {
        let runtime = runtime::Builder::new_current_thread()
            .max_blocking_threads(MAX_BLOCKING)
            .enable_all()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                // Whoever does not listen any more is stopping already; so below.
                bound_tx.send(Err(Failure::Runtime(error.into()))).ok();
                return;
            }
        };
        let code = runtime.block_on(async {
            let listeners = match sockets.bind().await {
                Ok(listeners) => listeners,
                Err(failure) => {
                    bound_tx.send(Err(failure)).ok();
                    return 1;
                }
            };
            bound_tx.send(Ok(())).ok();
            if go_rx.await.is_err() {
                return 1;
            }
            let exporter = Exporter::open(&config, plan, &directories, clients).await;
            let announce = |tree: &Tree| announce(&config, tree, &sockets);
            exporter
                .serve(listeners, announce, stop.begin, stop.cut)
                .await
        });
        // Threads that hang on a device end with the process.
        runtime.shutdown_background();
        done_tx.send(code).ok();
    };
    std::thread::Builder::new()
        .name(format!("rigd-{name}"))
        .spawn(work)
        .map_err(|error| Failure::Runtime(error.into()))?;
    Ok(Hosted {
        name,
        bound,
        go,
        done,
    })
}

fn announce(config: &ExporterConfig, tree: &Tree, sockets: &Sockets) {
    use std::io::Write;
    let power = first_with_client(tree, "jumpstarter_driver_power.client.PowerClient");
    let command = power.map_or_else(|| "--help".into(), |path| format!("{path} on"));
    let mut out = std::io::stdout().lock();
    let mut say = |line: &str| {
        // Nobody has to read along.
        writeln!(out, "{line}").ok();
    };
    say(&format!(
        "Exporter {} is ready. In another terminal:",
        config.metadata.name
    ));
    for line in sockets.lines(&command) {
        say(&format!("  {line}"));
    }
    for (path, reason) in tree.unusable() {
        say(&format!("  {path} cannot be used: {reason}"));
    }
}

/// The first instance with this client class, as `j` names it.
fn first_with_client(tree: &Tree, client: &str) -> Option<String> {
    let instances = tree.instances();
    let found = instances
        .iter()
        .find(|i| i.blueprint().client() == client)?;
    Some(found.path().replace('.', " "))
}
