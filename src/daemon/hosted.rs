//! The thread of an exporter.
//!
//! Each exporter has a thread with a runtime of its own: what blocks or breaks one of them by
//! mistake does not reach another, and a call wakes no second thread.
//!
//! ```text
//!   thread: bind ──told──> daemon: go ──> open instances, serve ──> Ended
//! ```
//!
//! Sockets are bound before any hardware is opened: a port in use must not be found after relays
//! have moved.

use std::{sync::Arc, time::Instant};

use tokio::{
    runtime,
    sync::{mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;

use super::{access::Access, handle::ExporterHandle, paste};
use crate::{
    cli::Failure,
    config::ExporterConfig,
    exporter::{Directories, Exporter, Opening},
    os::lock::Lock,
    telemetry::ClientLogs,
    tree::{Plan, Tree},
};

/// Threads of one exporter for the odd blocking call of a library, such as a name look-up. Device
/// work has threads of its own.
const MAX_BLOCKING: usize = 4;

/// An exporter that is to be served.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) config: Arc<ExporterConfig>,
    pub(super) plan: Plan,
    pub(super) access: Access,
}

/// Ends exporters.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop {
    /// Clients have a moment to leave.
    pub(super) begin: CancellationToken,
    /// They have not.
    pub(super) cut: CancellationToken,
}

impl Stop {
    /// One that the whole ends as well.
    pub(super) fn child(&self) -> Self {
        Self {
            begin: self.begin.child_token(),
            cut: self.cut.child_token(),
        }
    }
}

/// An exporter has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) name: String,
    /// Which of those of this name.
    pub(super) id: u64,
    /// The exit code; none when its thread died.
    pub(super) code: Option<u8>,
}

/// An exporter on its thread.
#[derive(Debug)]
pub(super) struct Hosted {
    pub(super) id: u64,
    pub(super) config: Arc<ExporterConfig>,
    /// What people are told to try with `j`.
    pub(super) command: String,
    pub(super) direct: bool,
    /// The controller of this process leases it.
    pub(super) own: bool,
    pub(super) handle: ExporterHandle,
    pub(super) stop: Stop,
    pub(super) started: Instant,
}

/// A thread that has begun, until it may open hardware.
pub(super) struct Starting {
    bound: oneshot::Receiver<Result<(), Failure>>,
    go: oneshot::Sender<()>,
}

impl Starting {
    /// Waits until the sockets are bound; the answer lets it go on. Cancel-safe: one that is
    /// dropped opens nothing and ends.
    ///
    /// # Errors
    /// They cannot be bound.
    pub(super) async fn bound(self) -> Result<oneshot::Sender<()>, Failure> {
        let died = || anyhow::anyhow!("its thread died before it began");
        self.bound
            .await
            .unwrap_or_else(|_| Err(Failure::Runtime(died())))?;
        Ok(self.go)
    }
}

/// What all exporters have in common.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    pub(super) directories: Directories,
    pub(super) clients: Arc<ClientLogs>,
    pub(super) ended: mpsc::UnboundedSender<Ended>,
}

/// Starts the thread of an exporter.
///
/// # Errors
/// The system has no thread for it.
pub(super) fn host(
    planned: Planned,
    id: u64,
    stop: Stop,
    around: &Surroundings,
) -> std::io::Result<(Hosted, Starting)> {
    let Planned {
        config,
        plan,
        access,
    } = planned;
    let name = config.metadata.name.clone();
    let (bound_tx, bound) = oneshot::channel();
    let (go, go_rx) = oneshot::channel();
    let (handle, asks) = ExporterHandle::new();
    let command = paste::command(&plan);
    let hosted = Hosted {
        id,
        command: command.clone(),
        config: config.clone(),
        direct: access.is_direct(),
        own: access.is_own_lab(),
        handle,
        stop: stop.clone(),
        started: Instant::now(),
    };
    let Surroundings {
        directories,
        clients,
        ended,
    } = around.clone();
    let last_word = LastWord {
        ended,
        name: name.clone(),
        id,
        code: None,
    };
    let thread = format!("rigd-{name}");
    let work = move || {
        // Whole, so that it is dropped with the thread.
        let mut last_word = last_word;
        let runtime = runtime::Builder::new_current_thread()
            .max_blocking_threads(MAX_BLOCKING)
            .enable_all()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                // Whoever does not listen any more is stopping already; so below.
                bound_tx.send(Err(Failure::Runtime(error.into()))).ok();
                last_word.code = Some(1);
                return;
            }
        };
        let code = runtime.block_on(async {
            let way = match access.open(&config).await {
                Ok(way) => way,
                Err(failure) => {
                    bound_tx.send(Err(failure)).ok();
                    return 1;
                }
            };
            let _held = match Lock::take(&directories.exporter(&name)) {
                Ok(held) => held,
                Err(error) => {
                    bound_tx.send(Err(Failure::Runtime(error.into()))).ok();
                    return 1;
                }
            };
            bound_tx.send(Ok(())).ok();
            if go_rx.await.is_err() {
                return 1;
            }
            let opening = Opening {
                config: &config,
                plan,
                directories: &directories,
                clients,
                way,
                asks,
            };
            let exporter = Exporter::open(opening, stop.cut).await;
            let announce = |tree: &Tree| announce(&config, tree, &access, &command);
            exporter.serve(announce, stop.begin).await
        });
        // Threads that hang on a device end with the process.
        runtime.shutdown_background();
        last_word.code = Some(code);
    };
    std::thread::Builder::new().name(thread).spawn(work)?;
    Ok((hosted, Starting { bound, go }))
}

/// Says how a thread ended, also when it panics.
struct LastWord {
    ended: mpsc::UnboundedSender<Ended>,
    name: String,
    id: u64,
    code: Option<u8>,
}

impl Drop for LastWord {
    fn drop(&mut self) {
        let ended = Ended {
            name: std::mem::take(&mut self.name),
            id: self.id,
            code: self.code,
        };
        // A daemon that is gone needs no word.
        self.ended.send(ended).ok();
    }
}

fn announce(config: &ExporterConfig, tree: &Tree, access: &Access, command: &str) {
    use std::io::Write;
    // Those of a controller are told by whoever sees that they can be leased.
    let Access::Sockets(sockets) = access else {
        return;
    };
    let mut out = std::io::stdout().lock();
    let mut say = |line: &str| {
        // Nobody has to read along.
        writeln!(out, "{line}").ok();
    };
    say(&format!(
        "Exporter {} is ready. In another terminal:",
        config.metadata.name
    ));
    for line in sockets.lines(command) {
        say(&format!("  {line}"));
    }
    for (path, reason) in tree.unusable() {
        say(&format!("  {path} cannot be used: {reason}"));
    }
}
