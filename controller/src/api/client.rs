//! ClientService: what clients of a lab see and ask for.
//!
//! ```text
//!   request ── caller ── resource names ──> page / rules of leases ── engine ──> messages
//! ```
//!
//! Every client of the lab sees every lease and exporter; it changes its own leases only.

pub(crate) mod filter;
mod messages;
mod page;
mod resource;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};

use rigd_proto::client::v1::{
    CreateLeaseRequest, DeleteLeaseRequest, Exporter, GetExporterRequest, GetLeaseRequest, Lease,
    ListExportersRequest, ListExportersResponse, ListLeasesRequest, ListLeasesResponse,
    RotateTokenRequest, RotateTokenResponse, UpdateLeaseRequest,
    client_service_server::{ClientService, ClientServiceServer},
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    caller::{self, For},
    gate::Gate,
};
use crate::{
    auth::{FailedLogins, Kind, Subject},
    engine::Engine,
    leases::{self, Limits, Refusal, Update, WantedTimes},
    schedule,
    selector::Selector,
    store::Change,
};
use filter::LeaseFilter;
use messages::Shown;
use page::Page;
use resource::{Collection, Names};

/// The service. Clones are the same one.
#[derive(Debug, Clone)]
pub struct ClientApi {
    engine: Engine,
    failed: Arc<Mutex<FailedLogins>>,
    limits: Limits,
}

impl ClientApi {
    /// For the clients of a lab. `failed` is the one that all its services count in.
    pub fn new(engine: Engine, failed: Arc<Mutex<FailedLogins>>, limits: Limits) -> Self {
        Self {
            engine,
            failed,
            limits,
        }
    }

    /// For a server.
    pub fn service(&self) -> Gate<ClientServiceServer<Self>> {
        Gate::new(
            ClientServiceServer::new(self.clone()),
            self.engine.clone(),
            Arc::clone(&self.failed),
            |_| Some(For::Only(Kind::Client)),
        )
    }

    fn names(&self) -> Names<'_> {
        Names(self.engine.namespace())
    }
}

#[tonic::async_trait]
impl ClientService for ClientApi {
    async fn get_exporter(
        &self,
        request: Request<GetExporterRequest>,
    ) -> Result<Response<Exporter>, Status> {
        caller(&request)?;
        let names = self.names();
        let request = request.into_inner();
        let name = names.read(Collection::Exporters, &request.name)?;
        let shown = Shown::now(names);
        let found = self.engine.read(|world| {
            let exporter = world.exporters.get(name);
            exporter.map(|exporter| shown.exporter(name, exporter))
        });
        let missing = || Status::unknown(format!("Exporter.jumpstarter.dev \"{name}\" not found"));
        found.map(Response::new).ok_or_else(missing)
    }

    async fn list_exporters(
        &self,
        request: Request<ListExportersRequest>,
    ) -> Result<Response<ListExportersResponse>, Status> {
        caller(&request)?;
        let names = self.names();
        let request = request.into_inner();
        names.parent(&request.parent)?;
        let page = Page::read(
            Collection::Exporters,
            request.page_size,
            &request.page_token,
        )?;
        let wanted: Selector = request.filter.parse().map_err(filter::no_selector)?;
        let shown = Shown::now(names);
        let (exporters, next_page_token) = self.engine.read(|world| {
            page.of(
                &world.exporters,
                |exporter| wanted.matches(&exporter.labels),
                |name, exporter| shown.exporter(name, exporter),
            )
        });
        Ok(Response::new(ListExportersResponse {
            exporters,
            next_page_token,
        }))
    }

    async fn get_lease(
        &self,
        request: Request<GetLeaseRequest>,
    ) -> Result<Response<Lease>, Status> {
        caller(&request)?;
        let request = request.into_inner();
        let name = self.names().read(Collection::Leases, &request.name)?;
        let missing = || Refusal::NotFound(name.to_owned()).into();
        self.lease(name).map(Response::new).ok_or_else(missing)
    }

    async fn list_leases(
        &self,
        request: Request<ListLeasesRequest>,
    ) -> Result<Response<ListLeasesResponse>, Status> {
        caller(&request)?;
        let names = self.names();
        let request = request.into_inner();
        names.parent(&request.parent)?;
        let page = Page::read(Collection::Leases, request.page_size, &request.page_token)?;
        let wanted = LeaseFilter::read(&request)?;
        let shown = Shown::now(names);
        // Without their places in the queue: each would take a look at the whole queue.
        let (leases, next_page_token) = self.engine.read(|world| {
            page.of(
                &world.leases,
                |lease| wanted.matches(lease),
                |name, lease| shown.lease(name, lease, &lease.conditions),
            )
        });
        Ok(Response::new(ListLeasesResponse {
            leases,
            next_page_token,
        }))
    }

    /// Answers with the lease as it was asked for: what became of it is in `GetLease` from then on.
    async fn create_lease(
        &self,
        request: Request<CreateLeaseRequest>,
    ) -> Result<Response<Lease>, Status> {
        let client = caller(&request)?;
        let request = request.into_inner();
        self.names().parent(&request.parent)?;
        let lease = request.lease.unwrap_or_default();
        let wish = leases::Request {
            id: request.lease_id,
            times: times(&lease),
            selector: lease.selector,
            exporter: lease.exporter_name,
            allow_disabled: lease.allow_disabled,
            tags: lease.tags,
            context: lease.context,
        };
        let plan = self.engine.change(|world, now| {
            let (limits, fresh) = (&self.limits, Uuid::now_v7());
            let created = leases::create(world, limits, &client, &wish, fresh, now)?;
            let change = Change::Lease(created.name.clone(), Some(created.lease.clone()));
            Ok((created, vec![change]))
        });
        let created = plan.await?;
        let shown = Shown::now(self.names());
        let lease = shown.lease(&created.name, &created.lease, &created.lease.conditions);
        Ok(Response::new(lease))
    }

    /// What is set in the request counts; the mask does not, as with Jumpstarter's controller.
    async fn update_lease(
        &self,
        request: Request<UpdateLeaseRequest>,
    ) -> Result<Response<Lease>, Status> {
        let client = caller(&request)?;
        let names = self.names();
        let wanted = request.into_inner().lease.unwrap_or_default();
        let name = names.read(Collection::Leases, &wanted.name)?;
        let target = match wanted.client.as_deref() {
            None | Some("") => None,
            Some(target) => Some(names.target(target)?.to_owned()),
        };
        let update = Update {
            times: times(&wanted),
            client: target,
        };
        let plan = self.engine.change(|world, _| {
            let lease = leases::update(world, &self.limits, &client, name, &update)?;
            let same = world.leases.get(name) == Some(&lease);
            let change = (!same).then(|| Change::Lease(name.to_owned(), Some(lease.clone())));
            Ok((lease, Vec::from_iter(change)))
        });
        let planned = plan.await?;
        let lease = self
            .lease(name)
            .unwrap_or_else(|| Shown::now(names).lease(name, &planned, &planned.conditions));
        Ok(Response::new(lease))
    }

    async fn delete_lease(
        &self,
        request: Request<DeleteLeaseRequest>,
    ) -> Result<Response<()>, Status> {
        let client = caller(&request)?;
        let request = request.into_inner();
        let name = self.names().read(Collection::Leases, &request.name)?;
        let plan = self.engine.change(|world, now| {
            let over = leases::delete(world, &client, name, &request.name, now)?;
            let change = over.map(|lease| Change::Lease(name.to_owned(), Some(lease)));
            Ok(((), Vec::from_iter(change)))
        });
        plan.await.map(Response::new)
    }

    /// The token of before stays valid until its end, or until an administrator revokes it.
    async fn rotate_token(
        &self,
        request: Request<RotateTokenRequest>,
    ) -> Result<Response<RotateTokenResponse>, Status> {
        let name = caller(&request)?;
        self.names().parent(&request.get_ref().parent)?;
        let known = self.engine.read(|world| {
            let client = world.clients.get(&name);
            client.map(|client| (client.uid, client.tokens_from))
        });
        let (uid, tokens_from) = known.ok_or_else(|| {
            let namespace = self.engine.namespace();
            Status::not_found(format!("client {namespace}/{name} not found"))
        })?;
        let subject = Subject {
            kind: Kind::Client,
            namespace: self.engine.namespace().to_owned(),
            name,
            uid,
        };
        let now = std::time::SystemTime::now();
        let issued = self.engine.tokens().issue(&subject, tokens_from, now);
        let issued = issued.map_err(|error| {
            tracing::error!(%error, "A token cannot be made.");
            Status::internal("the controller cannot make tokens; its log has the reason")
        })?;
        Ok(Response::new(RotateTokenResponse {
            token: issued.token.reveal().to_owned(),
            expiry: Some(issued.expires.into()),
        }))
    }
}

impl ClientApi {
    /// A lease as it is now, told its place in the queue.
    fn lease(&self, name: &str) -> Option<Lease> {
        let shown = Shown::now(self.names());
        self.engine.read(|world| {
            let lease = world.leases.get(name)?;
            Some(shown.lease(name, lease, &schedule::told(world, name, shown.at())))
        })
    }
}

/// The name of the client that calls.
#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
fn caller<T>(request: &Request<T>) -> Result<String, Status> {
    caller::caller(request, Kind::Client).map(|caller| caller.name)
}

fn times(lease: &Lease) -> WantedTimes {
    WantedTimes {
        duration: lease.duration,
        begin: lease.begin_time,
        end: lease.end_time,
    }
}
