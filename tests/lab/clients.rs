//! ClientService: what `jmp` asks for and changes.

use std::{sync::Arc, time::Duration};

use rigd_proto::client::v1::{
    CreateLeaseRequest, DeleteLeaseRequest, Exporter, GetExporterRequest, GetLeaseRequest, Lease,
    ListExportersRequest, ListExportersResponse, ListLeasesRequest, ListLeasesResponse,
    RotateTokenRequest, RotateTokenResponse, UpdateLeaseRequest,
    client_service_server::ClientService,
};
use tonic::{Request, Response, Status, metadata::MetadataMap};

use super::{
    NAMESPACE,
    controller::unknown_method,
    heard::{Rpc, What},
    leases::{self, End, Wish},
    messages,
    selector::Selector,
    state::{Shared, State},
};

pub(super) struct Clients(pub(super) Arc<Shared>);

impl Clients {
    async fn looks(&self, rpc: Rpc, metadata: &MetadataMap) -> Result<String, Status> {
        let client = self.0.client(metadata)?;
        self.0
            .admit(rpc, &client, What::Looked { rpc }, |_| Ok(()))
            .await?;
        Ok(client)
    }

    fn lease(&self, name: &str) -> Result<Response<Lease>, Status> {
        let state = self.0.look();
        state
            .lease(name)
            .map(|lease| Response::new(messages::lease(lease)))
    }
}

#[tonic::async_trait]
impl ClientService for Clients {
    async fn get_exporter(
        &self,
        request: Request<GetExporterRequest>,
    ) -> Result<Response<Exporter>, Status> {
        self.looks(Rpc::GetExporter, request.metadata()).await?;
        let name = request.into_inner().name;
        let name = short(&name, "exporters")?;
        let state = self.0.look();
        let missing = || Status::unknown(format!("exporters.jumpstarter.dev \"{name}\" not found"));
        let exporter = state.exporters.get(name).ok_or_else(missing)?;
        Ok(Response::new(messages::exporter(name, exporter)))
    }

    async fn list_exporters(
        &self,
        request: Request<ListExportersRequest>,
    ) -> Result<Response<ListExportersResponse>, Status> {
        self.looks(Rpc::ListExporters, request.metadata()).await?;
        let selector = selector(&request.into_inner().filter)?;
        let state = self.0.look();
        let exporters = state.exporters.iter();
        let exporters = exporters
            .filter(|(_, exporter)| selector.matches(&exporter.labels))
            .map(|(name, exporter)| messages::exporter(name, exporter))
            .collect();
        Ok(Response::new(ListExportersResponse {
            exporters,
            next_page_token: String::new(),
        }))
    }

    async fn get_lease(
        &self,
        request: Request<GetLeaseRequest>,
    ) -> Result<Response<Lease>, Status> {
        self.looks(Rpc::GetLease, request.metadata()).await?;
        self.lease(short(&request.into_inner().name, "leases")?)
    }

    async fn list_leases(
        &self,
        request: Request<ListLeasesRequest>,
    ) -> Result<Response<ListLeasesResponse>, Status> {
        self.looks(Rpc::ListLeases, request.metadata()).await?;
        let request = request.into_inner();
        let selector = selector(&request.filter)?;
        let only_active = request.only_active.unwrap_or(true);
        let state = self.0.look();
        let mut found: Vec<_> = state
            .leases
            .values()
            .filter(|lease| !only_active || lease.ended.is_none())
            .filter(|lease| selector.matches(&lease.selector.equalities()))
            .collect();
        found.sort_by_key(|lease| lease.number);
        Ok(Response::new(ListLeasesResponse {
            leases: found.into_iter().map(messages::lease).collect(),
            next_page_token: String::new(),
        }))
    }

    async fn create_lease(
        &self,
        request: Request<CreateLeaseRequest>,
    ) -> Result<Response<Lease>, Status> {
        let client = self.0.client(request.metadata())?;
        let request = request.into_inner();
        let wanted = request.lease.unwrap_or_default();
        let name = Some(request.lease_id).filter(|it| !it.is_empty());
        let mut wish = Wish {
            name: name.clone(),
            selector: selector(&wanted.selector)?,
            pinned: wanted.exporter_name.filter(|it| !it.is_empty()),
            tags: wanted.tags,
            duration: duration(wanted.duration)?,
        };
        if wish.selector.is_empty() && wish.pinned.is_none() {
            let text = "one of selector or exporter_name is required";
            return Err(Status::invalid_argument(text));
        }
        if let Some(name) = name
            && self.0.look().leases.contains_key(&name)
        {
            let text = format!("leases.jumpstarter.dev \"{name}\" already exists");
            return Err(Status::unknown(text));
        }
        let name = self
            .0
            .change(|state| wish.name.get_or_insert_with(|| state.lease_name()).clone());
        let what = What::CreateLease { name };
        // The answer is what the lease was before anybody looked for an exporter.
        let effect = |state: &mut State| {
            let name = state.make_lease(&client, wish);
            Ok(messages::lease(&state.leases[&name]))
        };
        let answer = self
            .0
            .admit(Rpc::CreateLease, &client, what, effect)
            .await?;
        leases::assign(&self.0);
        Ok(Response::new(answer))
    }

    async fn update_lease(
        &self,
        request: Request<UpdateLeaseRequest>,
    ) -> Result<Response<Lease>, Status> {
        let client = self.0.client(request.metadata())?;
        let wanted = request.into_inner().lease.unwrap_or_default();
        let name = short(&wanted.name, "leases")?.to_owned();
        let what = What::UpdateLease { name: name.clone() };
        let new_client = wanted.client.filter(|it| !it.is_empty());
        let effect = |state: &mut State| {
            if state.lease(&name)?.client != client {
                return Err(Status::unknown("UpdateLease permission denied"));
            }
            if wanted.duration.is_some() {
                let duration = duration(wanted.duration)?;
                state
                    .leases
                    .entry(name.clone())
                    .and_modify(|it| it.duration = duration);
            }
            if let Some(new_client) = new_client {
                let new_client = short(&new_client, "clients")?;
                state.transfer(&name, new_client).map_err(Status::unknown)?;
            }
            Ok(())
        };
        self.0
            .admit(Rpc::UpdateLease, &client, what, effect)
            .await?;
        leases::watch(&self.0, name.clone());
        self.lease(&name)
    }

    async fn delete_lease(
        &self,
        request: Request<DeleteLeaseRequest>,
    ) -> Result<Response<()>, Status> {
        let client = self.0.client(request.metadata())?;
        let name = request.into_inner().name;
        let name = short(&name, "leases")?;
        let what = What::DeleteLease {
            name: name.to_owned(),
        };
        let effect = |state: &mut State| {
            let lease = state.lease(name)?;
            if lease.client != client {
                return Err(Status::unknown("DeleteLease permission denied"));
            }
            if lease.released {
                let text = "lease has already been released";
                return Err(Status::failed_precondition(text));
            }
            state.end_lease(name, End::Released);
            Ok(())
        };
        self.0
            .admit(Rpc::DeleteLease, &client, what, effect)
            .await?;
        leases::assign(&self.0);
        Ok(Response::new(()))
    }

    async fn rotate_token(
        &self,
        _: Request<RotateTokenRequest>,
    ) -> Result<Response<RotateTokenResponse>, Status> {
        Err(unknown_method())
    }
}

fn selector(text: &str) -> Result<Selector, Status> {
    Selector::parse(text).map_err(Status::unknown)
}

fn duration(wanted: Option<prost_types::Duration>) -> Result<Duration, Status> {
    let wanted = wanted.and_then(|it| Duration::try_from(it).ok());
    // Beyond a century the clock would not hold it.
    let century = Duration::from_secs(100 * 365 * 86400);
    let fine = wanted.filter(|it| !it.is_zero() && *it < century);
    fine.ok_or_else(|| Status::unknown("duration is required and must be positive"))
}

/// The last part of `namespaces/NS/KIND/NAME`.
fn short<'a>(name: &'a str, kind: &str) -> Result<&'a str, Status> {
    let wrong = || Status::invalid_argument(format!("invalid resource name \"{name}\""));
    let rest = name.strip_prefix("namespaces/").ok_or_else(wrong)?;
    match rest.split('/').collect::<Vec<_>>()[..] {
        [NAMESPACE, found, short] if found == kind => Ok(short),
        [_, found, _] if found == kind => Err(Status::permission_denied("namespace mismatch")),
        _ => Err(wrong()),
    }
}
