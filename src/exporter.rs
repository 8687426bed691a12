//! One exporter, from its plan to its end.
//!
//! ```text
//!   open instances ─> leases (lease::runner) ─> policy, stop ─> close
//!                        │ clients of a controller come through tunnels, one lease at a time
//!                        └ without one, sockets serve, and the whole run is one lease
//! ```
//!
//! Clients may come while beforeLease runs: what they ask of instruments is held until the lease is
//! ready.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    config::{self, ExporterConfig, Spanned},
    daemon::handle::Ask,
    lease::{
        clients::{self, Clients, Served},
        hold::Hold,
        hook,
        hooks::{Hooks, RUN, STANDALONE},
        journal::Journal,
        machine::{HOOK_GRACE, HookPolicy, Lease, OnFailure, Policy},
        runner::{Runner, Setup},
        safe_state::SafeState,
    },
    link::{Dialer, Identity, Registration},
    os::paths,
    session::{LogHub, Session, StatusBoard},
    telemetry::{ClientLogs, ExporterLogs},
    transport::{Passphrase, Shutdown, serve, tcp, unix},
    tree::{Plan, Tree},
};

/// How long clients have to leave after a stop was asked for.
const GRACE: Duration = Duration::from_secs(1);
/// What beforeLease may take beyond its own time until driver work no longer waits for it.
const HOLD_MARGIN: Duration = Duration::from_secs(15);

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

/// Bytes of a name in the path of a hook's socket, which may have 107 in all.
const MAX_NAME: usize = 40;

impl Directories {
    /// What an exporter of this name keeps over restarts.
    pub(crate) fn exporter(&self, name: &str) -> PathBuf {
        self.state.join("exporters").join(paths::component(name))
    }

    /// Where hooks find the exporter. A long name is cut, and told apart by a hash.
    fn hook_socket(&self, name: &str) -> PathBuf {
        let mut file = paths::component(name);
        if file.len() > MAX_NAME {
            let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, name.as_bytes());
            // ASCII alone.
            file.truncate(MAX_NAME - 9);
            file.push('-');
            file.push_str(&id.simple().to_string()[..8]);
        }
        self.runtime.join("hooks").join(format!("{file}.sock"))
    }
}

/// How clients come to an exporter.
#[derive(Debug)]
pub(crate) enum Way {
    /// By sockets of its own, which are told to people as these texts.
    Sockets(Vec<Listener>, Vec<String>),
    /// By leases of a controller.
    Controller(config::Endpoint, Dialer, Identity),
}

/// What an exporter is opened with.
#[derive(Debug)]
pub(crate) struct Opening<'a> {
    /// Its file.
    pub(crate) config: &'a ExporterConfig,
    /// The plan of its instances.
    pub(crate) plan: Plan,
    /// Where it keeps its things.
    pub(crate) directories: &'a Directories,
    /// Where its log lines go to its clients.
    pub(crate) clients: Arc<ClientLogs>,
    /// How its clients come.
    pub(crate) way: Way,
    /// What people ask it.
    pub(crate) asks: mpsc::Receiver<Ask>,
}

/// An exporter with open instances.
#[derive(Debug)]
pub(crate) struct Exporter {
    name: String,
    tree: Arc<Tree>,
    clients: Arc<ClientLogs>,
    runner: Runner,
    /// Sockets, and what they serve.
    direct: Option<(Vec<Listener>, Session)>,
    ready: oneshot::Receiver<()>,
    cut: CancellationToken,
}

impl Exporter {
    /// Opens the instances of a plan. Hardware that is absent is told in the log and tried again;
    /// it stops nothing. A cancelled `cut` ends every grace at once.
    pub(crate) async fn open(opening: Opening<'_>, cut: CancellationToken) -> Self {
        let Opening {
            config,
            plan,
            directories,
            clients,
            way,
            asks,
        } = opening;
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
        let state_dir = directories.exporter(&name);
        let tree = Tree::build(plan, &state_dir, config.motd.clone());
        let span = tracing::info_span!("exporter", exporter = name);
        tree.start().instrument(span.clone()).await;

        let steps = config
            .safe_state
            .as_ref()
            .map(|found| found.value.as_slice());
        let safe_state = SafeState::new(steps.unwrap_or_default(), &tree);
        let policy = policy(config, &safe_state, matches!(way, Way::Sockets(..)));
        let status = Arc::new(match policy.before {
            Some(hook) => StatusBoard::new(hook.timeout + HOOK_GRACE + HOLD_MARGIN),
            None => StatusBoard::default(),
        });
        let served = Served {
            tree: tree.clone(),
            status: status.clone(),
            logs: logs.clone(),
        };
        let border =
            policy.before.is_some() || policy.after.is_some() || policy.safe_state.is_some();
        let mut journal = border.then(|| Journal::new(&state_dir));
        let (mut registration, mut direct, mut sockets) = (None, None, Vec::new());
        let served_by = match way {
            Way::Sockets(listeners, told) => {
                let session = clients::direct(&served);
                direct = Some((listeners, session.clone()));
                sockets = told;
                Clients::Direct(session)
            }
            Way::Controller(endpoint, dialer, identity) => {
                // Which lease it was matters even when nothing is run at its ends.
                journal = Some(Journal::new(&state_dir));
                let clients = Clients::leased(served.clone(), dialer.clone());
                registration = Some(Registration {
                    name: name.clone(),
                    namespace: identity.namespace().to_owned(),
                    endpoint,
                    dialer,
                    identity,
                    report: tree.report().clone(),
                });
                clients
            }
        };
        let socket = directories.hook_socket(&name);
        let setup = Setup {
            hooks: Hooks::new(config.hooks.clone(), tree.clone(), status, logs, socket),
            served,
            clients: served_by,
            safe_state,
            journal,
            hold: Hold::new(&state_dir),
            policy,
            registration,
            asks,
            sockets,
        };
        let (ready_tx, ready) = oneshot::channel();
        let runner = Runner::new(setup, ready_tx, cut.clone())
            .instrument(span)
            .await;
        Self {
            name,
            tree,
            clients,
            runner,
            direct,
            ready,
            cut,
        }
    }

    /// Serves clients until `stop`, or until a policy ends the exporter; gives the exit code.
    /// `announce` is called once clients of its sockets may act.
    pub(crate) async fn serve(self, announce: impl FnOnce(&Tree), stop: CancellationToken) -> u8 {
        let span = tracing::info_span!("exporter", exporter = self.name);
        let work = async {
            let code = match self.direct {
                None => self.runner.run(None, stop).await,
                Some((listeners, session)) => {
                    let shutdown = Shutdown {
                        begin: CancellationToken::new(),
                        cut: self.cut,
                    };
                    let servers = listeners
                        .into_iter()
                        .map(|listener| accept(listener, &session, shutdown.clone()));
                    let lease = async {
                        let code = self.runner.run(Some(standalone()), stop).await;
                        // Calls and streams have ended with their key; what is left never ends by
                        // itself.
                        session.close().await;
                        shutdown.begin.cancel();
                        code
                    };
                    let telling = async {
                        if self.ready.await.is_ok() {
                            announce(&self.tree);
                        }
                    };
                    let (_, code, ()) = tokio::join!(join_all(servers), lease, telling);
                    code
                }
            };
            self.tree.close().await;
            code
        };
        let code = work.instrument(span).await;
        self.clients.remove(&self.name);
        code
    }
}

/// Serves a session to the clients of a socket.
fn accept(
    listener: Listener,
    session: &Session,
    shutdown: Shutdown,
) -> impl Future<Output = ()> + use<> {
    let routes = session.routes();
    async move {
        let cut = shutdown.cut.clone();
        let served = match listener {
            Listener::Unix(l) => serve(routes, None, l.incoming(cut), shutdown, GRACE).await,
            Listener::Tcp(l, passphrase) => {
                serve(routes, passphrase, l.incoming(cut), shutdown, GRACE).await
            }
        };
        if let Err(error) = served {
            tracing::error!(%error, "A listener failed.");
        }
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
fn policy(config: &ExporterConfig, safe_state: &SafeState, direct: bool) -> Policy {
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
        // Without a controller the lease is the run.
        exit_on_lease_end: direct || config.exit_on_lease_end.value,
    }
}
