//! The hooks of an exporter, and what they may do: a key and a socket of their own.
//!
//! ```text
//!   first hook of a lease: key issued, socket bound ──> … ──> end(): key revoked, socket gone
//! ```
//!
//! The key lives until afterLease and safeState are done; nothing of a client needs it.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context;
use futures::{FutureExt, future::BoxFuture};
use rigd_driver::{Key, KeyKind};
use tokio::sync::watch;
use tracing::Instrument;

use super::{
    hook::{self, HookContext, motd},
    machine::{Hook, Lease, Outcome},
};
use crate::{
    config,
    os::paths,
    session::{LogHub, Session, StatusBoard},
    transport::{Shutdown, serve, unix},
    tree::Tree,
};

/// What hooks are told as the name of the lease when there is no controller.
pub(crate) const STANDALONE: &str = "standalone";
/// Stands between that and what tells runs apart; no name of a controller holds it.
pub(crate) const RUN: char = '/';

/// The hooks of an exporter.
#[derive(Debug)]
pub(crate) struct Hooks {
    config: config::Hooks,
    tree: Arc<Tree>,
    status: Arc<StatusBoard>,
    logs: Arc<LogHub>,
    /// Where `j` in a hook finds the exporter.
    socket: PathBuf,
    rights: Option<Rights>,
    /// What the last beforeLease hook has to say to the client.
    greeting: Arc<Mutex<Option<String>>>,
    cut: watch::Sender<Option<Duration>>,
}

/// The right to act of the hooks of one lease.
#[derive(Debug)]
struct Rights {
    session: Session,
    serving: bool,
    shutdown: Shutdown,
}

impl Drop for Rights {
    fn drop(&mut self) {
        self.session.end("the hooks of the lease are over");
        self.shutdown.begin.cancel();
        self.shutdown.cut.cancel();
    }
}

impl Hooks {
    /// Hooks that reach the exporter at `socket` while they run.
    pub(crate) fn new(
        config: config::Hooks,
        tree: Arc<Tree>,
        status: Arc<StatusBoard>,
        logs: Arc<LogHub>,
        socket: PathBuf,
    ) -> Self {
        let cut = watch::Sender::new(None);
        Self {
            config,
            tree,
            status,
            logs,
            socket,
            rights: None,
            greeting: Arc::default(),
            cut,
        }
    }

    /// The key for everything that happens at the border of the lease.
    pub(crate) fn key(&mut self) -> Key {
        self.rights().session.key()
    }

    fn rights(&mut self) -> &mut Rights {
        let (tree, status, logs) = (&self.tree, &self.status, &self.logs);
        self.rights.get_or_insert_with(|| Rights {
            session: Session::new(tree.clone(), status.clone(), logs.clone(), KeyKind::Hook),
            serving: false,
            shutdown: Shutdown::default(),
        })
    }

    /// Runs a hook; the future ends with it. Its socket is served from the first hook on.
    pub(crate) async fn start(&mut self, kind: Hook, lease: &Lease) -> BoxFuture<'static, Outcome> {
        let configured = match kind {
            Hook::Before => &self.config.before_lease,
            Hook::After => &self.config.after_lease,
        };
        let Some(hook) = configured.as_ref().map(|hook| hook.value.clone()) else {
            return std::future::ready(Outcome::Done).boxed();
        };
        if let Err(error) = self.serve().await {
            return std::future::ready(Outcome::Failed(format!("Error executing hook: {error:#}")))
                .boxed();
        }
        // A run without a controller has a name of its own each time, which is of no use to people.
        let name = lease.name.split(RUN).next().unwrap_or(STANDALONE);
        let motd_file = (kind == Hook::Before).then(|| self.socket.with_extension("motd"));
        let cx = HookContext {
            kind,
            lease: name.to_owned(),
            client: lease.client.clone(),
            host: self.socket.clone(),
            motd_file: motd_file.clone(),
        };
        self.cut.send_replace(None);
        let (logs, cut) = (self.logs.clone(), self.cut.subscribe());
        let greeting = self.greeting.clone();
        async move {
            if let Some(file) = &motd_file
                && let Err(error) = motd::prepare(file)
            {
                return Outcome::Failed(format!("Error executing hook: {error}"));
            }
            let outcome = hook::run(&hook, cx, logs, cut).await;
            if let Some(file) = &motd_file
                && let Ok(mut greeting) = greeting.lock()
            {
                *greeting = motd::take(file);
            }
            outcome
        }
        .boxed()
    }

    /// What the beforeLease hook that ended last has to say to the client.
    pub(crate) fn greeting(&self) -> Option<String> {
        self.greeting.lock().ok()?.take()
    }

    async fn serve(&mut self) -> anyhow::Result<()> {
        let socket = self.socket.clone();
        let rights = self.rights();
        if rights.serving {
            return Ok(());
        }
        if let Some(dir) = socket.parent() {
            paths::make_private(dir).with_context(|| format!("cannot use {}", dir.display()))?;
        }
        let listener = unix::Listener::bind(&socket).await?;
        let (routes, shutdown) = (rights.session.routes(), rights.shutdown.clone());
        let serving = async move {
            let incoming = listener.incoming(shutdown.cut.clone());
            let served = serve(routes, None, incoming, shutdown, Duration::ZERO).await;
            if let Err(error) = served {
                tracing::error!(%error, "The socket of the hooks failed.");
            }
        };
        rights.serving = true;
        tokio::spawn(serving.in_current_span());
        Ok(())
    }

    /// Ends the running hook: TERM to its group, KILL after `grace`.
    pub(crate) fn cut(&self, grace: Duration) {
        self.cut.send_replace(Some(grace));
    }

    /// Nothing acts under this lease any more.
    pub(crate) fn end(&mut self) {
        self.rights = None;
    }
}
