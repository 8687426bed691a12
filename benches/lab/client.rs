//! A client of the lab: acquire, dial, call, release.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rigd_proto::{
    client::v1::{
        CreateLeaseRequest, DeleteLeaseRequest, GetLeaseRequest, Lease,
        client_service_client::ClientServiceClient,
    },
    v1::{
        DialRequest, DriverCallRequest, controller_service_client::ControllerServiceClient,
        exporter_service_client::ExporterServiceClient, router_service_client::RouterServiceClient,
    },
};
use tokio::time::{Instant, sleep};
use tonic::transport::{Channel, Endpoint};

use crate::{
    Failure,
    connection::{Credentials, Known, connect, windows},
    frames::Tunnel,
    site::{NAMESPACE, Site},
};

/// Between two looks at a lease that waits.
const POLL: Duration = Duration::from_millis(2);
/// Longer than any queue of a measurement.
const READY_LIMIT: Duration = Duration::from_secs(20);
/// Longer than any lease of a measurement.
const LEASE_SECONDS: i64 = 600;

/// One of those who share a lab's exporters; its connection to the controller stays open.
#[derive(Clone)]
pub(crate) struct Client {
    site: Arc<Site>,
    leases: ClientServiceClient<Known>,
    controller: ControllerServiceClient<Known>,
}

/// When the parts of one turn were done, counted from its planned begin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    /// GetLease said Ready.
    pub(crate) acquired: Duration,
    /// The call through the tunnel was answered.
    pub(crate) called: Duration,
    /// The release was acknowledged.
    pub(crate) whole: Duration,
}

impl Client {
    pub(crate) async fn connect(site: Arc<Site>, who: Credentials) -> Result<Self, Failure> {
        let channel = connect(&site.endpoint, &site.ca).await?;
        Ok(Self {
            leases: ClientServiceClient::with_interceptor(channel.clone(), who.clone()),
            controller: ControllerServiceClient::with_interceptor(channel, who),
            site,
        })
    }

    /// All of it.
    pub(crate) async fn turn(
        mut self,
        selector: String,
        planned: Instant,
    ) -> Result<Turn, Failure> {
        let name = self.acquire(selector).await?;
        let acquired = planned.elapsed();
        let exporter = self.dial(&name).await?;
        let mut service = ExporterServiceClient::new(exporter);
        service.driver_call(DriverCallRequest::default()).await?;
        let called = planned.elapsed();
        self.release(&name).await?;
        Ok(Turn {
            acquired,
            called,
            whole: planned.elapsed(),
        })
    }

    /// The resource name of a lease that is ready.
    pub(crate) async fn acquire(&mut self, selector: String) -> Result<String, Failure> {
        let wish = CreateLeaseRequest {
            parent: format!("namespaces/{NAMESPACE}"),
            lease_id: String::new(),
            lease: Some(Lease {
                selector,
                duration: Some(prost_types::Duration {
                    seconds: LEASE_SECONDS,
                    nanos: 0,
                }),
                ..Lease::default()
            }),
        };
        let lease = self.leases.create_lease(wish).await?.into_inner();
        let began = Instant::now();
        loop {
            let name = lease.name.clone();
            let now = self.leases.get_lease(GetLeaseRequest { name }).await?;
            if is_ready(&now.into_inner()) {
                return Ok(lease.name);
            }
            if began.elapsed() > READY_LIMIT {
                return Err(format!("{} waits since {READY_LIMIT:?}", lease.name).into());
            }
            sleep(POLL).await;
        }
    }

    /// A connection through the router.
    pub(crate) async fn dial(&mut self, lease: &str) -> Result<Channel, Failure> {
        let name = lease.rsplit('/').next().unwrap_or(lease).to_owned();
        let dial = DialRequest { lease_name: name };
        let dialled = self.controller.dial(dial).await?.into_inner();
        let router = connect(&dialled.router_endpoint, &self.site.ca).await?;
        let router = RouterServiceClient::new(router);
        inside(Tunnel::through(router, &dialled.router_token)?).await
    }

    pub(crate) async fn release(&mut self, lease: &str) -> Result<(), Failure> {
        let name = lease.to_owned();
        self.leases
            .delete_lease(DeleteLeaseRequest { name })
            .await?;
        Ok(())
    }
}

/// The connection that a tunnel carries.
pub(crate) async fn inside(tunnel: Tunnel) -> Result<Channel, Failure> {
    let tunnel = Arc::new(Mutex::new(Some(tunnel)));
    let connector = tower::service_fn(move |_| {
        // It is asked once, as there is no second tunnel.
        let tunnel = tunnel.lock().ok().and_then(|mut tunnel| tunnel.take());
        let gone = || std::io::Error::other("the tunnel has been used");
        std::future::ready(tunnel.map(TokioIo::new).ok_or_else(gone))
    });
    let endpoint = windows(Endpoint::from_static("http://tunnel"));
    Ok(endpoint.connect_with_connector(connector).await?)
}

fn is_ready(lease: &Lease) -> bool {
    let mut conditions = lease.conditions.iter();
    conditions.any(|one| one.r#type() == "Ready" && one.status() == "True")
}
