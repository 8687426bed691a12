//! A client of the lab, as its file describes it.

use std::{fs, path::Path, time::Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rigd_client::ExporterStatus;
use rigd_proto::{
    client::v1::{
        CreateLeaseRequest, DeleteLeaseRequest, Exporter, GetLeaseRequest, Lease,
        ListExportersRequest, ListLeasesRequest, UpdateLeaseRequest,
        client_service_client::ClientServiceClient,
    },
    v1::{DialRequest, DialResponse, controller_service_client::ControllerServiceClient},
};
use tonic::{
    Code, Request, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use super::{LIMIT, POLL, tunnel::Door, value};

/// Longer than any test.
const LEASE: i64 = 1800;

/// What a configuration file of a client or an exporter says.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) endpoint: String,
    pub(crate) ca_pem: String,
    pub(crate) token: String,
}

impl Credentials {
    pub(crate) fn read(file: &Path) -> Self {
        let text =
            fs::read_to_string(file).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
        let ca = STANDARD.decode(value(&text, "ca")).unwrap();
        let kind = value(&text, "kind").strip_suffix("Config").unwrap();
        Self {
            kind: kind.to_owned(),
            namespace: value(&text, "namespace").to_owned(),
            name: value(&text, "name").to_owned(),
            endpoint: value(&text, "endpoint").to_owned(),
            ca_pem: String::from_utf8(ca).unwrap(),
            token: value(&text, "token").to_owned(),
        }
    }

    /// A connection to `address`, where a certificate for the host of the endpoint is wanted.
    pub(crate) async fn connect_at(
        &self,
        address: &str,
    ) -> Result<Channel, tonic::transport::Error> {
        let (host, _) = self.endpoint.rsplit_once(':').unwrap();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.ca_pem))
            .domain_name(host);
        Endpoint::from_shared(format!("https://{address}"))?
            .tls_config(tls)?
            .connect_timeout(LIMIT)
            .connect()
            .await
    }

    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(LIMIT);
        for (key, value) in [
            ("authorization", format!("Bearer {}", self.token)),
            ("jumpstarter-kind", self.kind.clone()),
            ("jumpstarter-namespace", self.namespace.clone()),
            ("jumpstarter-name", self.name.clone()),
        ] {
            request.metadata_mut().insert(key, value.parse().unwrap());
        }
        request
    }
}

/// A client with a connection.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) who: Credentials,
    pub(crate) channel: Channel,
}

impl Caller {
    pub(crate) async fn connect(who: Credentials) -> Result<Self, tonic::transport::Error> {
        let channel = who.connect_at(&who.endpoint).await?;
        Ok(Self { who, channel })
    }

    pub(crate) fn service(&self) -> ClientServiceClient<Channel> {
        ClientServiceClient::new(self.channel.clone())
    }

    pub(crate) fn parent(&self) -> String {
        format!("namespaces/{}", self.who.namespace)
    }

    pub(crate) fn full(&self, lease: &str) -> String {
        format!("namespaces/{}/leases/{lease}", self.who.namespace)
    }

    /// A wish as it stands.
    pub(crate) async fn wish(&self, lease: Lease) -> Result<Lease, Status> {
        let wish = CreateLeaseRequest {
            parent: self.parent(),
            lease_id: String::new(),
            lease: Some(lease),
        };
        let answer = self.service().create_lease(self.who.request(wish)).await;
        answer.map(tonic::Response::into_inner)
    }

    /// Asks for a lease; its bare name.
    pub(crate) async fn ask(&self, selector: &str) -> String {
        let lease = self.wish(wanted(selector)).await.unwrap();
        lease.name.rsplit('/').next().unwrap().to_owned()
    }

    /// Asks for a lease and waits until it is held; its bare name.
    pub(crate) async fn lease(&self, selector: &str) -> String {
        let name = self.ask(selector).await;
        self.held(&name).await;
        name
    }

    /// Waits until a lease is held, and tells by which exporter.
    pub(crate) async fn held(&self, lease: &str) -> String {
        let held = self.until(lease, "it is held", is_ready).await;
        let exporter = held.exporter.unwrap();
        exporter.rsplit('/').next().unwrap().to_owned()
    }

    pub(crate) async fn get(&self, lease: &str) -> Result<Lease, Status> {
        let name = self.full(lease);
        let request = self.who.request(GetLeaseRequest { name });
        let answer = self.service().get_lease(request).await;
        answer.map(tonic::Response::into_inner)
    }

    /// Waits until a lease is so.
    pub(crate) async fn until(
        &self,
        lease: &str,
        what: &str,
        met: impl Fn(&Lease) -> bool,
    ) -> Lease {
        let end = Instant::now() + LIMIT;
        loop {
            let now = self.get(lease).await.unwrap();
            if met(&now) {
                return now;
            }
            assert!(Instant::now() < end, "not so: {what}: {now:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    pub(crate) async fn release(&self, lease: &str) -> Result<(), Status> {
        let name = self.full(lease);
        let request = self.who.request(DeleteLeaseRequest { name });
        self.service().delete_lease(request).await.map(drop)
    }

    /// Gives a lease another duration.
    pub(crate) async fn lengthen(&self, lease: &str, seconds: i64) -> Result<Lease, Status> {
        let wish = UpdateLeaseRequest {
            lease: Some(Lease {
                name: self.full(lease),
                duration: Some(prost_types::Duration { seconds, nanos: 0 }),
                ..Lease::default()
            }),
            update_mask: None,
        };
        let answer = self.service().update_lease(self.who.request(wish)).await;
        answer.map(tonic::Response::into_inner)
    }

    /// The exporters of a selector, as a list has them.
    pub(crate) async fn exporters(&self, filter: &str) -> Result<Vec<Exporter>, Status> {
        let request = ListExportersRequest {
            parent: self.parent(),
            filter: filter.to_owned(),
            ..ListExportersRequest::default()
        };
        let answer = self
            .service()
            .list_exporters(self.who.request(request))
            .await?;
        Ok(answer.into_inner().exporters)
    }

    /// Bare names of the exporters of a selector.
    pub(crate) async fn names(&self, filter: &str) -> Vec<String> {
        let all = self.exporters(filter).await.unwrap();
        let bare = |one: Exporter| one.name.rsplit('/').next().unwrap().to_owned();
        all.into_iter().map(bare).collect()
    }

    /// Waits until a selector finds these exporters, and all of them are there.
    pub(crate) async fn sees(&self, filter: &str, names: &[&str]) {
        let end = Instant::now() + LIMIT;
        loop {
            let all = self.exporters(filter).await.unwrap();
            let there = |one: &Exporter| one.status() == ExporterStatus::Available;
            let bare = |one: &Exporter| one.name.rsplit('/').next().unwrap().to_owned();
            let found: Vec<_> = all.iter().map(bare).collect();
            if found == names && all.iter().all(there) {
                return;
            }
            assert!(Instant::now() < end, "{filter:?} finds {all:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Open leases of all clients.
    pub(crate) async fn leases(&self) -> Result<Vec<Lease>, Status> {
        let request = ListLeasesRequest {
            parent: self.parent(),
            ..ListLeasesRequest::default()
        };
        let answer = self
            .service()
            .list_leases(self.who.request(request))
            .await?;
        Ok(answer.into_inner().leases)
    }

    pub(crate) async fn dial(&self, lease: &str) -> Result<DialResponse, Status> {
        let request = self.who.request(DialRequest {
            lease_name: lease.to_owned(),
        });
        let mut controller = ControllerServiceClient::new(self.channel.clone());
        let answer = controller.dial(request).await;
        answer.map(tonic::Response::into_inner)
    }

    /// Dials with the patience of released clients.
    pub(crate) async fn dial_in_time(&self, lease: &str) -> Result<DialResponse, Status> {
        let end = Instant::now() + LIMIT;
        loop {
            let status = match self.dial(lease).await {
                Ok(answer) => return Ok(answer),
                Err(status) => status,
            };
            let again = status.code() == Code::Unavailable
                || status.code() == Code::FailedPrecondition
                    && status.message().contains("not ready");
            if !again || Instant::now() > end {
                return Err(status);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The exporter of a lease, through the router.
    pub(crate) async fn open(&self, lease: &str) -> Door {
        Door::open(self.clone(), lease.to_owned()).await
    }

    /// Dials the lease and uses what it is for.
    pub(crate) async fn uses(&self, lease: &str) {
        let door = self.open(lease).await;
        door.exporter
            .device("power")
            .await
            .unwrap()
            .power()
            .on()
            .await
            .unwrap();
    }
}

/// A wish for half an hour.
pub(crate) fn wanted(selector: &str) -> Lease {
    Lease {
        selector: selector.to_owned(),
        duration: Some(prost_types::Duration {
            seconds: LEASE,
            nanos: 0,
        }),
        ..Lease::default()
    }
}

/// Status, reason and text of a condition.
pub(crate) fn condition(lease: &Lease, kind: &str) -> Option<(String, String, String)> {
    let found = lease.conditions.iter().find(|one| one.r#type() == kind)?;
    let text = |text: &str| text.to_owned();
    Some((
        text(found.status()),
        text(found.reason()),
        text(found.message()),
    ))
}

pub(crate) fn is_ready(lease: &Lease) -> bool {
    condition(lease, "Ready").is_some_and(|(status, ..)| status == "True")
}
