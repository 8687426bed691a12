//! One exporter served directly, without a controller: from its plan to the end of its sockets.
//!
//! ```text
//!   bind ─> open instances ─> lease start ─> LEASE_READY ─> serve ─stop─> revoke keys ─> lease end
//!                                                                  ─> sockets end ─> close
//! ```
//!
//! The whole run is one lease; a client's EndSession does not end it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures::future::join_all;
use rigd_proto::v1::ExporterStatus;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    config::ExporterConfig,
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

/// An exporter with open instances.
#[derive(Debug)]
pub(crate) struct Exporter {
    name: String,
    tree: Arc<Tree>,
    session: Session,
    status: Arc<StatusBoard>,
    clients: Arc<ClientLogs>,
}

impl Exporter {
    /// Opens the instances of a plan and starts its one lease. Hardware that is absent is told in
    /// the log and tried again; it stops nothing.
    pub(crate) async fn open(
        config: &ExporterConfig,
        plan: Plan,
        state_dir: &std::path::Path,
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
        let state_dir: PathBuf = state_dir.join("exporters").join(paths::component(&name));
        let tree = Tree::build(plan, &state_dir, config.motd.clone());
        let status = Arc::new(StatusBoard::default());
        let session = Session::new(tree.clone(), status.clone(), logs);
        let span = tracing::info_span!("exporter", exporter = name);
        let opening = async {
            tree.start().await;
            tree.lease_start().await;
        };
        opening.instrument(span).await;
        status.set(ExporterStatus::LeaseReady, "Ready for commands");
        Self {
            name,
            tree,
            session,
            status,
            clients,
        }
    }

    /// Serves clients on `listeners` until `stop`; a cancelled `cut` ends the grace at once.
    pub(crate) async fn serve(
        self,
        listeners: Vec<Listener>,
        stop: CancellationToken,
        cut: CancellationToken,
    ) {
        let span = tracing::info_span!("exporter", exporter = self.name);
        self.run(listeners, stop, cut).instrument(span).await;
    }

    async fn run(self, listeners: Vec<Listener>, stop: CancellationToken, cut: CancellationToken) {
        let shutdown = Shutdown {
            begin: CancellationToken::new(),
            cut,
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
        let ending = async {
            stop.cancelled().await;
            self.status
                .set(ExporterStatus::Offline, "Exporter shutting down");
            self.session.end("the exporter is stopping");
            self.tree.lease_end().await;
            // Calls and streams have ended with their key; what is left never ends by itself.
            self.session.close().await;
            shutdown.begin.cancel();
        };
        tokio::join!(join_all(servers), ending);
        self.tree.close().await;
        self.clients.remove(&self.name);
    }

    /// Instances that cannot be used, with the reason.
    pub(crate) fn unusable(&self) -> Vec<(String, String)> {
        self.tree.unusable()
    }

    /// Path of the first instance with this client class, as `j` names it.
    pub(crate) fn first_with_client(&self, client: &str) -> Option<String> {
        let instances = self.tree.instances();
        let found = instances
            .iter()
            .find(|i| i.blueprint().client() == client)?;
        Some(found.path().replace('.', " "))
    }
}
