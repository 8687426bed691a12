//! A small controller and router for tests: the other side of the Jumpstarter protocol, in one
//! process with the test.
//!
//! It records what it hears, gives leases as the test says or as clients ask, and misbehaves on
//! demand. It is no product: tokens are compared, not verified, nothing is stored, and of
//! scheduling there is only "the first exporter that is free and fits".
//!
//! ```text
//!   exporter, jmp, Dialled -- TLS --> Port (Wires: freeze, cut, stop) --> Controller, Clients,
//!                                                                        Router, Telemetry
//!   test -- Lab --> Shared (State behind one lock) <---------------------------------'
//! ```
//!
//! Streams send their response headers with their first message, as grpc-go does.

#![allow(
    dead_code,
    reason = "every test binary compiles this anew and uses its own part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy exempts only functions marked as tests"
)]

mod caller;
mod certs;
mod clients;
mod controller;
mod dialer;
mod faults;
mod heard;
mod leases;
mod messages;
mod misbehave;
mod port;
mod router;
mod selector;
mod state;
mod story;
mod telemetry;
mod tokens;
mod wire;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use rigd_proto::{
    client::v1::client_service_server::ClientServiceServer,
    v1::{
        ExporterStatus, LogEntry, TelemetryEndpoint,
        controller_service_server::ControllerServiceServer,
        router_service_server::RouterServiceServer,
        telemetry_service_server::TelemetryServiceServer,
    },
};
use tokio::runtime::Runtime;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;

use self::{
    certs::Certs,
    clients::Clients,
    controller::Controller,
    dialer::Dialer,
    leases::{End, Wish},
    port::{Incoming, Port},
    router::Router,
    state::Shared,
    telemetry::Telemetry,
    tokens::Kind,
};
#[allow(unused_imports, reason = "every test binary uses its own part of it")]
pub(crate) use self::{
    dialer::{Dialled, RawTunnel},
    faults::Fault,
    heard::{Heard, Rpc, What, listing},
    misbehave::{Memory, Part},
    story::{reported, story},
};

/// The namespace of all exporters and clients.
pub(crate) const NAMESPACE: &str = "lab";

/// What leases last that a test gives without saying how long.
const LEASE: Duration = Duration::from_secs(1800);
/// Enough that small frames of a slow reader do not end a whole connection: the budget for them is
/// half of this.
const CONNECTION_WINDOW: u32 = 8 << 20;

/// A controller with its router, on 127.0.0.1 until this is dropped.
pub(crate) struct Lab {
    shared: Arc<Shared>,
    certs: Certs,
    controller: Port,
    /// `None`: on the controller's port.
    router: Option<Port>,
    /// Taken when this is dropped.
    runtime: Option<Runtime>,
}

impl Lab {
    /// All services on one port.
    pub(crate) fn start() -> Self {
        Self::launch(false)
    }

    /// The router on a port of its own, so that it can vanish alone.
    pub(crate) fn start_with_router_port() -> Self {
        Self::launch(true)
    }

    fn launch(own_port: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("lab")
            .enable_all()
            .build()
            .unwrap();
        let certs = Certs::new();
        let open = || Port::open(certs.server.clone(), runtime.handle());
        let (controller, incoming) = open();
        let (router, router_incoming) = own_port.then(open).unzip();
        let router_endpoint = router.as_ref().unwrap_or(&controller).endpoint();
        let id = lab_id();
        let shared = Shared::new(runtime.handle().clone(), router_endpoint, id);
        serve(&runtime, &shared, incoming, !own_port);
        if let Some(incoming) = router_incoming {
            let routes = server().add_service(router_service(&shared));
            let incoming = ReceiverStream::new(incoming);
            runtime.spawn(routes.serve_with_incoming(incoming));
        }
        Self {
            shared,
            certs,
            controller,
            router,
            runtime: Some(runtime),
        }
    }

    /// `localhost:PORT` of the controller.
    pub(crate) fn endpoint(&self) -> String {
        self.controller.endpoint()
    }

    /// The controller's port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.controller.number()
    }

    /// The router's `localhost:PORT`.
    pub(crate) fn router_endpoint(&self) -> String {
        self.shared.router_endpoint.clone()
    }

    /// What to trust, PEM.
    pub(crate) fn ca_pem(&self) -> &str {
        &self.certs.ca_pem
    }

    /// For `tls.ca`.
    pub(crate) fn ca_base64(&self) -> String {
        tokens::ca_base64(&self.certs.ca_pem)
    }

    /// The token of an exporter, which this makes known.
    pub(crate) fn exporter_token(&self, name: &str) -> String {
        self.shared.change(|state| {
            state.exporters.entry(name.to_owned()).or_default();
        });
        self.shared.token(Kind::Exporter, name)
    }

    /// The token of a client, which this makes known.
    pub(crate) fn client_token(&self, name: &str) -> String {
        self.shared
            .change(|state| state.clients.insert(name.to_owned()));
        self.shared.token(Kind::Client, name)
    }

    /// An ExporterConfig for this lab; `rest` are the other top-level keys, such as `export`.
    pub(crate) fn exporter_yaml(&self, name: &str, rest: &str) -> String {
        let token = self.exporter_token(name);
        let head = tokens::config(
            Kind::Exporter,
            name,
            &self.endpoint(),
            self.ca_pem(),
            &token,
        );
        head + rest
    }

    /// Makes `dir` what `JMP_CLIENT_CONFIG_HOME` may name: `jmp` is then that client.
    pub(crate) fn client_home(&self, dir: &Path, client: &str) {
        let token = self.client_token(client);
        let head = tokens::config(
            Kind::Client,
            client,
            &self.endpoint(),
            self.ca_pem(),
            &token,
        );
        tokens::write_client_home(dir, &(head + "drivers: {allow: ['*'], unsafe: false}\n"));
    }

    /// Puts a label on an exporter, as an administrator does it.
    pub(crate) fn label(&self, exporter: &str, key: &str, value: &str) {
        self.shared.change(|state| {
            let exporter = state.exporters.entry(exporter.to_owned()).or_default();
            exporter.labels.insert(key.to_owned(), value.to_owned());
        });
    }

    /// Gives an exporter to a client for half an hour, whatever it does at the moment.
    #[track_caller]
    pub(crate) fn lease(&self, exporter: &str, client: &str) -> String {
        self.lease_for(exporter, client, LEASE)
    }

    /// As `lease`, for that time.
    #[track_caller]
    pub(crate) fn lease_for(&self, exporter: &str, client: &str, time: Duration) -> String {
        self.give(exporter, client, time, false)
    }

    /// Changes the lease of an exporter without a `leased: false` in between.
    #[track_caller]
    pub(crate) fn switch_lease(&self, exporter: &str, client: &str) -> String {
        self.give(exporter, client, LEASE, true)
    }

    #[track_caller]
    fn give(&self, exporter: &str, client: &str, duration: Duration, switch: bool) -> String {
        let name = self.shared.change(|state| {
            let held = state.exporters.get_mut(exporter).map(|it| it.lease.take());
            let held = held.unwrap_or_else(|| panic!("the lab has no exporter {exporter}"));
            assert_eq!(held.is_some(), switch, "{exporter} has the lease {held:?}");
            if let Some(held) = held {
                state.end_silently(&held, End::Released);
            }
            let wish = Wish {
                duration,
                pinned: Some(exporter.to_owned()),
                ..Wish::default()
            };
            let name = state.make_lease(client, wish);
            state.give(&name, exporter);
            state.announce(exporter);
            name
        });
        leases::watch(&self.shared, name.clone());
        name
    }

    /// Ends a lease as `jmp delete lease` does it; one that has ended stays as it is.
    pub(crate) fn end_lease(&self, name: &str) {
        self.shared
            .change(|state| state.end_lease(name, End::Released));
        leases::assign(&self.shared);
    }

    /// Gives a running lease to another client.
    #[track_caller]
    pub(crate) fn transfer(&self, name: &str, client: &str) {
        let done = self.shared.change(|state| {
            state.clients.insert(client.to_owned());
            state.transfer(name, client)
        });
        done.unwrap();
    }

    /// The lease that an exporter has at the moment.
    pub(crate) fn lease_of(&self, exporter: &str) -> Option<String> {
        self.shared.look().exporters.get(exporter)?.lease.clone()
    }

    /// What an exporter reported last, unless it opened a Status stream after it was offline.
    pub(crate) fn status_of(&self, exporter: &str) -> Option<(ExporterStatus, String)> {
        let state = self.shared.look();
        let exporter = state.exporters.get(exporter)?;
        Some((exporter.status?, exporter.message.clone()))
    }

    /// All that was heard so far.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.shared.look().heard.clone()
    }

    /// Blocks until the condition holds, and returns all that was heard until then; panics with the
    /// list when it does not come to that in time. In asynchronous tests use
    /// `tokio::task::block_in_place`.
    #[track_caller]
    pub(crate) fn wait(&self, limit: Duration, met: impl Fn(&[Heard]) -> bool) -> Vec<Heard> {
        let came = self.shared.wait(limit, |state| met(&state.heard));
        let heard = self.heard();
        assert!(
            came,
            "not heard within {limit:?}; all that was:\n{}",
            listing(&heard)
        );
        heard
    }

    /// A local socket that dials the lease for each connection, in the name of its client.
    pub(crate) fn dial(&self, lease: &str) -> Dialled {
        Dialled::open(self.dialer(lease))
    }

    /// One dial of the lease, for frames that no client sends.
    pub(crate) fn raw_tunnel(&self, lease: &str) -> RawTunnel {
        RawTunnel::open(self.dialer(lease))
    }

    fn dialer(&self, lease: &str) -> Dialer {
        Dialer {
            shared: self.shared.clone(),
            endpoint: self.endpoint(),
            ca_pem: self.certs.ca_pem.clone(),
            lease: lease.to_owned(),
        }
    }

    /// What GetServiceEndpoints answers; `None`, as at the start, is UNIMPLEMENTED.
    pub(crate) fn service_endpoints(&self, endpoints: Option<Vec<TelemetryEndpoint>>) {
        self.shared.change(|state| state.endpoints = endpoints);
    }

    /// Makes GetServiceEndpoints name the lab's own sink.
    pub(crate) fn offer_telemetry(&self, min_severity: &str) {
        self.service_endpoints(Some(vec![TelemetryEndpoint {
            endpoint: self.endpoint(),
            certificate: self.certs.ca_pem.clone(),
            min_severity: min_severity.to_owned(),
        }]));
    }

    /// The entries that the sink got.
    pub(crate) fn telemetry(&self) -> Vec<LogEntry> {
        self.shared.look().telemetry.clone()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.controller.stop();
        if let Some(router) = &self.router {
            router.stop();
        }
        if let Some(runtime) = self.runtime.take() {
            // Also from within an asynchronous test, where nothing may block.
            runtime.shutdown_background();
        }
        if std::thread::panicking() {
            eprintln!("the lab heard:\n{}", listing(&self.heard()));
        }
    }
}

fn server() -> Server {
    Server::builder()
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(1 << 20)
}

fn serve(runtime: &Runtime, shared: &Arc<Shared>, incoming: Incoming, with_router: bool) {
    let routes = server()
        .add_service(ControllerServiceServer::new(Controller(shared.clone())))
        .add_service(ClientServiceServer::new(Clients(shared.clone())))
        .add_service(TelemetryServiceServer::new(Telemetry(shared.clone())))
        .add_optional_service(with_router.then(|| router_service(shared)));
    runtime.spawn(routes.serve_with_incoming(ReceiverStream::new(incoming)));
}

fn router_service(shared: &Arc<Shared>) -> RouterServiceServer<Router> {
    RouterServiceServer::new(Router(shared.clone()))
}

/// Different in each lab of a process.
fn lab_id() -> String {
    static LABS: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), LABS.fetch_add(1, SeqCst))
}
