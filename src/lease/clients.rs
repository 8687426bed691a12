//! Who is served the instruments: the clients of one lease after the other, or those of the sockets
//! of a run without a controller.
//!
//! ```text
//!   open ──> serving ── end: no call acts any more ──> close: the last words, then the tunnels
//!              └─ transfer: the former holder is left to its last words, a new session serves
//! ```

use std::{sync::Arc, time::Duration};

use rigd_driver::KeyKind;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::{
    link::{Dial, Dialer, Tunnels},
    session::{Holder, LogHub, Session, StatusBoard},
    transport::{Shutdown, serve},
    tree::Tree,
};

/// How long the clients of a lease that is over have to leave by themselves.
const GRACE: Duration = Duration::from_secs(1);
/// How long the former holder of a transferred lease is told why nothing works any more.
const TRANSFERRED: Duration = Duration::from_secs(2);

/// How much earlier than the news of a transfer a client of the new holder may come in: both come
/// over the same connection, on two streams.
const OVERTAKING: Duration = Duration::from_millis(200);
/// Sessions on their way out that are given time. A controller that changes its mind again and again
/// does not fill the memory.
const LEAVING: usize = 8;

/// What a session is made of.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    /// The instruments.
    pub(crate) tree: Arc<Tree>,
    /// What is told of the exporter's state.
    pub(crate) status: Arc<StatusBoard>,
    /// What is told of what it does.
    pub(crate) logs: Arc<LogHub>,
}

/// The clients of an exporter.
#[derive(Debug)]
pub(crate) enum Clients {
    /// Those of its sockets, for the whole run.
    Direct(Session),
    /// Those of a lease at a time.
    Leased(Leases),
}

/// Serves leases.
#[derive(Debug)]
pub(crate) struct Leases {
    served: Served,
    dialer: Arc<Dialer>,
    now: Option<Serving>,
    /// Sessions that are on their way out.
    leaving: TaskTracker,
}

/// One holder of a lease.
#[derive(Debug)]
struct Serving {
    lease: String,
    holder: Holder,
    session: Session,
    tunnels: Tunnels<Dialer>,
    shutdown: Shutdown,
    server: JoinHandle<()>,
}

impl Clients {
    /// Those of leases that come from a controller.
    pub(crate) fn leased(served: Served, dialer: Dialer) -> Self {
        Self::Leased(Leases {
            served,
            dialer: Arc::new(dialer),
            now: None,
            leaving: TaskTracker::new(),
        })
    }

    /// From now on the holder of this lease is served; nothing of it acts before the status says so.
    pub(crate) fn open(&mut self, lease: &str) {
        if let Self::Leased(leases) = self {
            leases.open(lease);
        }
    }

    /// The same lease is somebody else's now.
    pub(crate) fn transfer(&mut self, lease: &str) {
        if let Self::Leased(leases) = self {
            if let Some(serving) = &leases.now {
                serving.tunnels.cut_since(OVERTAKING);
            }
            leases.leave("the lease was transferred to another client", TRANSFERRED);
            leases.open(lease);
        }
    }

    /// Nothing of the clients acts any more; report, status and logs go on.
    pub(crate) fn end(&self, reason: &str) {
        match self {
            Self::Direct(session) => session.end(reason),
            Self::Leased(leases) => {
                if let Some(serving) = &leases.now {
                    serving.session.end(reason);
                }
            }
        }
    }

    /// The last words are said. Clients of a lease leave within seconds, in the background.
    pub(crate) async fn close(&mut self) {
        match self {
            Self::Direct(session) => session.close().await,
            Self::Leased(leases) => leases.leave("the lease has ended", Duration::ZERO),
        }
    }

    /// Waits until those that are on their way out are gone. Each takes a few seconds at most.
    pub(crate) async fn gone(&self) {
        if let Self::Leased(leases) = self {
            leases.leaving.close();
            leases.leaving.wait().await;
        }
    }

    /// Lets a client in that the controller has sent.
    pub(crate) fn dial(&self, dial: Dial) {
        let serving = match self {
            Self::Leased(leases) => leases.now.as_ref(),
            Self::Direct(_) => None,
        };
        match serving.filter(|serving| serving.lease == dial.lease) {
            Some(serving) => serving.tunnels.dial(dial.place),
            None => tracing::debug!(lease = dial.lease, "A client came after its lease."),
        }
    }

    /// Adds to what clients are greeted with.
    pub(crate) fn greet(&self, text: &str) {
        match self {
            Self::Direct(session) => session.greet(text),
            Self::Leased(leases) => {
                if let Some(serving) = &leases.now {
                    serving.session.greet(text);
                }
            }
        }
    }

    /// Who can end the lease, and reads how it ended.
    pub(crate) fn holder(&self) -> Option<Holder> {
        match self {
            Self::Leased(leases) => leases.now.as_ref().map(|serving| serving.holder.clone()),
            Self::Direct(_) => None,
        }
    }

    /// Waits until nobody is connected who came through a controller. Cancel-safe.
    pub(crate) async fn deserted(&self) {
        match self {
            Self::Leased(leases) => {
                if let Some(serving) = &leases.now {
                    serving.tunnels.unused().await;
                }
            }
            Self::Direct(_) => std::future::pending().await,
        }
    }

    /// Tunnels that are open.
    pub(crate) fn tunnels(&self) -> usize {
        match self {
            Self::Leased(leases) => leases.now.as_ref().map_or(0, |s| s.tunnels.open()),
            Self::Direct(_) => 0,
        }
    }
}

impl Leases {
    fn open(&mut self, lease: &str) {
        let Served { tree, status, logs } = self.served.clone();
        let holder = Holder::default();
        let session = Session::held_by(holder.clone(), tree, status, logs);
        let shutdown = Shutdown::default();
        let (tunnels, incoming) = Tunnels::new(self.dialer.clone(), shutdown.cut.clone());
        let serving = serve(session.routes(), None, incoming, shutdown.clone(), GRACE);
        let serving = async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "The clients of the lease cannot be served.");
            }
        };
        self.now = Some(Serving {
            lease: lease.into(),
            holder,
            session,
            tunnels,
            shutdown,
            server: tokio::spawn(serving.in_current_span()),
        });
    }

    /// Nothing of whoever is served acts any more; after `notice` it is let go.
    fn leave(&mut self, reason: &str, notice: Duration) {
        let Some(serving) = self.now.take() else {
            return;
        };
        let notice = match self.leaving.len() < LEAVING {
            true => notice,
            false => Duration::ZERO,
        };
        serving.session.end(reason);
        // At once: what the next holder does is not for this one, whose connections last a while.
        serving.session.last_word();
        let leaving = async move {
            tokio::time::sleep(notice).await;
            serving.session.close().await;
            serving.shutdown.begin.cancel();
            // Bounded by its grace and its cut.
            serving.server.await.ok();
            serving.tunnels.end().await;
        };
        self.leaving.spawn(leaving.in_current_span());
    }
}

/// A session for the sockets of a run without a controller.
pub(crate) fn direct(served: &Served) -> Session {
    let Served { tree, status, logs } = served.clone();
    Session::new(tree, status, logs, KeyKind::Client)
}
