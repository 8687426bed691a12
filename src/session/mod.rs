//! What the clients of one lease are served: report, calls, streams, resources, logs, status.
//!
//! ```text
//!   transport ──HTTP/2──> Exporter (calls, report, logs, status) ──┐
//!                    └──> Router (byte streams, resources) ────────┴─> Instance ─> driver
//! ```
//!
//! A session knows no transport: whatever brings an HTTP/2 connection serves [`Session::routes`].
//! All work is done under the session's key; [`Session::end`] revokes it.

mod backlog;
mod errors;
mod exporter;
mod frames;
mod holder;
mod logs;
mod operation;
mod resource;
mod router;
mod small_frames;
mod status;
mod stream;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use rigd_driver::{Instance, Key, KeyKind, KeyOwner};
use rigd_proto::v1::{
    GetReportResponse,
    exporter_service_server::{self, ExporterServiceServer},
    router_service_server::{self, RouterServiceServer},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Status, service::Routes};
use uuid::Uuid;

pub(crate) use errors::status as status_of;
pub use holder::Holder;
pub use logs::{LogHub, LogLine, LogReader};
pub use small_frames::SmallFrames;
pub use status::StatusBoard;

use crate::tree::Tree;
use resource::ResourceTable;

/// Largest message in both directions: gRPC's default, which the peers use as well.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// What `ExporterService` can be asked for.
const EXPORTER_METHODS: [&str; 7] = [
    "GetReport",
    "DriverCall",
    "StreamingDriverCall",
    "LogStream",
    "Reset",
    "GetStatus",
    "EndSession",
];

/// How long the tasks of a session have to end after their key was revoked; they only forward.
const CLOSE_LIMIT: Duration = Duration::from_millis(500);

/// One lease being served.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    tree: Arc<Tree>,
    status: Arc<StatusBoard>,
    logs: Arc<LogHub>,
    key: KeyOwner,
    resources: Arc<ResourceTable>,
    /// None where nobody's word ends the lease: without a controller, and for hooks.
    holder: Option<Holder>,
    /// Text of this lease for its clients, after that of the exporter.
    greeting: Mutex<String>,
    tasks: TaskTracker,
    /// Cancelled when the last word was said; ends what never ends by itself.
    over: CancellationToken,
    /// The first log line after that.
    last_line: Arc<AtomicU64>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    /// A session over `tree` for the clients of a lease, or for its hooks.
    pub fn new(
        tree: Arc<Tree>,
        status: Arc<StatusBoard>,
        logs: Arc<LogHub>,
        kind: KeyKind,
    ) -> Self {
        Self::with(tree, status, logs, kind, None)
    }

    /// A session for the holder of a lease, who can end it.
    pub fn held_by(
        holder: Holder,
        tree: Arc<Tree>,
        status: Arc<StatusBoard>,
        logs: Arc<LogHub>,
    ) -> Self {
        Self::with(tree, status, logs, KeyKind::Client, Some(holder))
    }

    fn with(
        tree: Arc<Tree>,
        status: Arc<StatusBoard>,
        logs: Arc<LogHub>,
        kind: KeyKind,
        holder: Option<Holder>,
    ) -> Self {
        let tasks = TaskTracker::new();
        let key = KeyOwner::issue(kind);
        Self(Arc::new(Inner {
            tree,
            status,
            logs,
            resources: Arc::new(ResourceTable::new(key.key(), tasks.clone())),
            key,
            holder,
            greeting: Mutex::default(),
            tasks,
            over: CancellationToken::new(),
            last_line: Arc::new(AtomicU64::new(u64::MAX)),
        }))
    }

    /// The gRPC services, for a transport to serve.
    pub fn routes(&self) -> Routes {
        let exporter = ExporterServiceServer::new(exporter::Exporter(self.clone()));
        let router = RouterServiceServer::new(router::Router(self.clone()));
        let exporter = exporter
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        let router = router
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        let unknown = || async {
            Status::unimplemented("Method not found!").into_http::<tonic::body::Body>()
        };
        let mut routes = Routes::default().into_axum_router().fallback(unknown);
        // One by one, so that an unknown method of a known service takes the fallback as well.
        for method in EXPORTER_METHODS {
            let path = format!("/{}/{method}", exporter_service_server::SERVICE_NAME);
            routes = routes.route_service(&path, exporter.clone());
        }
        let path = format!("/{}/Stream", router_service_server::SERVICE_NAME);
        Routes::from(routes.route_service(&path, router))
    }

    /// Adds to what clients are greeted with: what beforeLease has to say to them.
    pub fn greet(&self, text: &str) {
        if let Ok(mut greeting) = self.0.greeting.lock() {
            greeting.clear();
            greeting.push_str(text);
        }
    }

    /// What clients are told of the tree.
    fn report(&self) -> GetReportResponse {
        let mut report = self.0.tree.report().clone();
        if let Ok(greeting) = self.0.greeting.lock()
            && !greeting.is_empty()
        {
            if !report.motd.is_empty() {
                report.motd.push('\n');
            }
            report.motd.push_str(&greeting);
        }
        report
    }

    /// Ends the clients' right to act; report, status and logs go on.
    pub fn end(&self, reason: &str) {
        self.0.key.revoke(reason);
    }

    /// What is logged from now on is not for these clients; their log streams end.
    pub fn last_word(&self) {
        self.0.last_line.fetch_min(self.0.logs.place(), Relaxed);
        self.0.over.cancel();
    }

    /// Ends everything and waits for the session's tasks, at most half a second. Cancel-safe.
    pub async fn close(&self) {
        self.end("the session is over");
        self.last_word();
        self.0.tasks.close();
        if tokio::time::timeout(CLOSE_LIMIT, self.0.tasks.wait())
            .await
            .is_err()
        {
            // Each of them holds a connection that the transport cuts next.
            tracing::warn!(
                left = self.0.tasks.len(),
                "Tasks of the session did not end in time."
            );
        }
    }

    /// The key under which this session's work is done.
    pub fn key(&self) -> Key {
        self.0.key.key()
    }

    /// Waits until driver work may start: hooks run before the lease is ready, clients do not.
    async fn ready(&self) -> Result<(), Status> {
        match self.0.key.key().kind() {
            KeyKind::Client => {
                let key = self.key();
                // cancel-safe: both arms only wait. The key first: what is held when it goes is
                // refused for that reason.
                tokio::select! {
                    biased;
                    fenced = key.revoked() => Err(errors::status(&fenced.into())),
                    ready = self.0.status.ready() => ready.map_err(|e| errors::status(&e)),
                }
            }
            KeyKind::Hook | KeyKind::Daemon => Ok(()),
        }
    }

    /// The instance a client names.
    ///
    /// # Errors
    /// UNKNOWN, not NOT_FOUND: clients read that as a method that is not there.
    fn instance(&self, uuid: &str) -> Result<&Arc<Instance>, Status> {
        let id = Uuid::parse_str(uuid).map_err(|_| {
            Status::unknown(format!("'{uuid}': badly formed hexadecimal UUID string"))
        })?;
        let instance = self.0.tree.instance(id);
        instance.ok_or_else(|| Status::unknown(format!("no driver instance UUID('{id}')")))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;

    use super::*;

    #[test]
    fn every_method_of_the_services_is_routed() {
        let files = prost_types::FileDescriptorSet::decode(rigd_proto::FILE_DESCRIPTOR_SET);
        let files = files.unwrap().file;
        let methods = |wanted: &str| -> BTreeSet<String> {
            let all = files.iter().filter(|f| f.package() == "jumpstarter.v1");
            all.flat_map(|f| &f.service)
                .filter(|s| wanted.ends_with(&format!(".{}", s.name())))
                .flat_map(|s| s.method.iter().map(|m| m.name().to_owned()))
                .collect()
        };
        let routed = EXPORTER_METHODS.map(str::to_owned).into();
        assert_eq!(methods(exporter_service_server::SERVICE_NAME), routed);
        let stream = ["Stream".to_owned()].into();
        assert_eq!(methods(router_service_server::SERVICE_NAME), stream);
    }
}
