//! One exporter served directly, without a controller: from its plan to the end of its sockets.
//!
//! ```text
//!   bind ─> open instances ─> sockets serve ─> the lease of the run (lease::runner)
//!                                                 └─ stop, hook policy ─> sockets end ─> close
//! ```
//!
//! The whole run is one lease; a client's EndSession does not end it. Clients may come while
//! beforeLease runs: what they ask of instruments is held until the lease is ready.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures::future::join_all;
use rigd_driver::KeyKind;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    config::{self, ExporterConfig, Spanned},
    lease::{
        hook,
        hooks::{Hooks, RUN, STANDALONE},
        journal::Journal,
        machine::{HookPolicy, Lease, OnFailure, Policy},
        runner::{Runner, Setup},
        safe_state::SafeState,
    },
    os::paths,
    session::{LogHub, Session, StatusBoard},
    telemetry::{ClientLogs, ExporterLogs},
    transport::{Passphrase, Shutdown, serve, tcp, unix},
    tree::{Plan, Tree},
};

/// How long clients have to leave after a stop was asked for.
const GRACE: Duration = Duration::from_secs(1);

/// A socket of an exporter, bound.
#[derive(Debug)]
pub(crate) enum Listener {
    /// For clients on this host.
    Unix(unix::Listener),
    /// For clients anywhere.
    Tcp(tcp::Listener, Option<Passphrase>),
}

/// Where an exporter keeps its things.
#[derive(Debug, Clone)]
pub(crate) struct Directories {
    /// For what survives a restart.
    pub(crate) state: PathBuf,
    /// For sockets.
    pub(crate) runtime: PathBuf,
}

/// An exporter with open instances.
#[derive(Debug)]
pub(crate) struct Exporter {
    name: String,
    tree: Arc<Tree>,
    session: Session,
    clients: Arc<ClientLogs>,
    runner: Runner,
    ready: oneshot::Receiver<()>,
}

impl Exporter {
    /// Opens the instances of a plan. Hardware that is absent is told in the log and tried again;
    /// it stops nothing.
    pub(crate) async fn open(
        config: &ExporterConfig,
        plan: Plan,
        directories: &Directories,
        clients: Arc<ClientLogs>,
    ) -> Self {
        let name = config.metadata.name.clone();
        let logs = Arc::new(LogHub::default());
        let levels = plan.log_levels();
        clients.add(
            &name,
            ExporterLogs {
                hub: logs.clone(),
                levels,
            },
        );
        let component = paths::component(&name);
        let state_dir = directories.state.join("exporters").join(&component);
        let tree = Tree::build(plan, &state_dir, config.motd.clone());
        let status = Arc::new(StatusBoard::default());
        let session = Session::new(tree.clone(), status.clone(), logs.clone(), KeyKind::Client);
        let span = tracing::info_span!("exporter", exporter = name);
        tree.start().instrument(span.clone()).await;

        let steps = config
            .safe_state
            .as_ref()
            .map(|found| found.value.as_slice());
        let safe_state = SafeState::new(steps.unwrap_or_default(), &tree);
        let policy = policy(config, &safe_state);
        let border =
            policy.before.is_some() || policy.after.is_some() || policy.safe_state.is_some();
        let socket = directories.runtime.join(format!("{component}.hook.sock"));
        let setup = Setup {
            tree: tree.clone(),
            status: status.clone(),
            logs: logs.clone(),
            session: session.clone(),
            hooks: Hooks::new(config.hooks.clone(), tree.clone(), status, logs, socket),
            safe_state,
            journal: border.then(|| Journal::new(&state_dir)),
            policy,
        };
        let (ready_tx, ready) = oneshot::channel();
        let runner = Runner::new(setup, ready_tx).instrument(span).await;
        Self {
            name,
            tree,
            session,
            clients,
            runner,
            ready,
        }
    }

    /// Serves clients on `listeners` until `stop`, or until a hook ends the run; gives the exit
    /// code. `announce` is called once clients may act. A cancelled `cut` ends every grace at once.
    pub(crate) async fn serve(
        self,
        listeners: Vec<Listener>,
        announce: impl FnOnce(&Tree),
        stop: CancellationToken,
        cut: CancellationToken,
    ) -> u8 {
        let span = tracing::info_span!("exporter", exporter = self.name);
        self.run(listeners, announce, stop, cut)
            .instrument(span)
            .await
    }

    async fn run(
        self,
        listeners: Vec<Listener>,
        announce: impl FnOnce(&Tree),
        stop: CancellationToken,
        cut: CancellationToken,
    ) -> u8 {
        let shutdown = Shutdown {
            begin: CancellationToken::new(),
            cut: cut.clone(),
        };
        let servers = listeners.into_iter().map(|listener| {
            let (routes, shutdown) = (self.session.routes(), shutdown.clone());
            async move {
                let cut = shutdown.cut.clone();
                let served = match listener {
                    Listener::Unix(l) => {
                        serve(routes, None, l.incoming(cut), shutdown, GRACE).await
                    }
                    Listener::Tcp(l, passphrase) => {
                        serve(routes, passphrase, l.incoming(cut), shutdown, GRACE).await
                    }
                };
                if let Err(error) = served {
                    tracing::error!(%error, "A listener failed.");
                }
            }
        });
        let lease = async {
            let code = self.runner.run(standalone(), stop, cut).await;
            // Calls and streams have ended with their key; what is left never ends by itself.
            self.session.close().await;
            shutdown.begin.cancel();
            code
        };
        let telling = async {
            if self.ready.await.is_ok() {
                announce(&self.tree);
            }
        };
        let (_, code, ()) = tokio::join!(join_all(servers), lease, telling);
        self.tree.close().await;
        self.clients.remove(&self.name);
        code
    }
}

/// The lease of a run without a controller. Its name differs from run to run: a crash ended the one
/// before for good.
fn standalone() -> Lease {
    Lease {
        name: format!("{STANDALONE}{RUN}{}", uuid::Uuid::new_v4()),
        client: String::new(),
    }
}

/// What the machine needs to know of a configuration.
fn policy(config: &ExporterConfig, safe_state: &SafeState) -> Policy {
    let policy = |hook: &Option<Spanned<config::Hook>>| {
        hook.as_ref().map(|hook| HookPolicy {
            timeout: hook::time_limit(&hook.value),
            on_failure: match hook.value.on_failure {
                config::OnFailure::Warn => OnFailure::Warn,
                config::OnFailure::EndLease => OnFailure::EndLease,
                config::OnFailure::Exit => OnFailure::Exit,
            },
        })
    };
    Policy {
        before: policy(&config.hooks.before_lease),
        after: policy(&config.hooks.after_lease),
        safe_state: safe_state.budget(),
        // The lease is the run.
        exit_on_lease_end: true,
    }
}
