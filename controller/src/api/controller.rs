//! ControllerService: exporters say that they are there and hear who holds them, clients dial.
//!
//! ```text
//!   Register, ReportStatus, Status ──> engine ──holding──> Status of the exporter
//!   Dial ──token──> queue of the lease ──> Listen of the exporter
//!     └──token──> the client                 both go to the router with it
//! ```
//!
//! Codes and texts are those that Jumpstarter's peers match on: what its controller answers with a
//! plain error arrives as UNKNOWN. A call that is dropped leaves nothing behind.

mod dial;
mod exporters;
mod leases;
mod listen;
mod status;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};

use rigd_proto::v1::{
    DialRequest, DialResponse, GetLeaseRequest, GetLeaseResponse, GetServiceEndpointsRequest,
    GetServiceEndpointsResponse, ListLeasesRequest, ListLeasesResponse, ListenRequest,
    ListenResponse, RegisterRequest, RegisterResponse, ReleaseLeaseRequest, ReleaseLeaseResponse,
    ReportStatusRequest, ReportStatusResponse, RequestLeaseRequest, RequestLeaseResponse,
    StatusRequest, StatusResponse, UnregisterRequest, UnregisterResponse,
    controller_service_server::{self, ControllerServiceServer},
};
use tonic::{Request, Response, Status};

use super::{
    Answers,
    caller::{self, Caller, For, Peer},
    gate::Gate,
};
use crate::{
    auth::{FailedLogins, Kind, Refusal},
    engine::Engine,
    leases::Limits,
};
use listen::Listeners;

/// ControllerService of one lab. Clones are the same one.
#[derive(Debug, Clone)]
pub struct ControllerService {
    engine: Engine,
    failed: Arc<Mutex<FailedLogins>>,
    limits: Limits,
    /// As clients and exporters reach it, `host:port`.
    router: Arc<str>,
    listeners: Arc<Listeners>,
}

impl ControllerService {
    /// The service of the lab `engine`. `failed` is shared with its other services; `router` is where
    /// peers reach the lab's router, `host:port` without a scheme.
    pub fn new(
        engine: Engine,
        failed: Arc<Mutex<FailedLogins>>,
        limits: Limits,
        router: impl Into<Arc<str>>,
    ) -> Self {
        Self {
            engine,
            failed,
            limits,
            router: router.into(),
            listeners: Arc::default(),
        }
    }

    /// For a server. Two servers of one lab must have clones of one service: the queues of its leases
    /// are in it.
    pub fn service(&self) -> Gate<ControllerServiceServer<Self>> {
        Gate::new(
            ControllerServiceServer::new(self.clone()),
            self.engine.clone(),
            Arc::clone(&self.failed),
            wanted,
        )
    }

    /// The caller was there a moment ago.
    fn vanished(&self, kind: Kind, name: &str) -> Status {
        let namespace = self.engine.namespace().to_owned();
        let name = name.to_owned();
        let refusal = Refusal::NotFound {
            kind,
            namespace,
            name,
        };
        Status::not_found(refusal.to_string())
    }
}

/// For whom the call of that path is.
fn wanted(path: &str) -> Option<For> {
    let (_, call) = path.rsplit_once('/')?;
    Some(match call {
        "Register"
        | "Unregister"
        | "ReportStatus"
        | "Listen"
        | "Status"
        | "GetServiceEndpoints" => For::Only(Kind::Exporter),
        "Dial" | "GetLease" | "RequestLease" | "ListLeases" => For::Only(Kind::Client),
        "ReleaseLease" => For::Both,
        _ => return None,
    })
}

#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
fn exporter<T>(request: &Request<T>) -> Result<Caller, Status> {
    caller::caller(request, Kind::Exporter)
}

#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
fn client<T>(request: &Request<T>) -> Result<Caller, Status> {
    caller::caller(request, Kind::Client)
}

#[tonic::async_trait]
impl controller_service_server::ControllerService for ControllerService {
    type ListenStream = Answers<ListenResponse>;
    type StatusStream = Answers<StatusResponse>;

    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        let caller = exporter(&request)?;
        let uuid = self.do_register(&caller.name, request.into_inner()).await?;
        Ok(Response::new(RegisterResponse { uuid }))
    }

    async fn unregister(
        &self,
        request: Request<UnregisterRequest>,
    ) -> Result<Response<UnregisterResponse>, Status> {
        let caller = exporter(&request)?;
        let reason = request.into_inner().reason;
        self.do_unregister(&caller.name, &reason).await?;
        Ok(Response::new(UnregisterResponse {}))
    }

    async fn report_status(
        &self,
        request: Request<ReportStatusRequest>,
    ) -> Result<Response<ReportStatusResponse>, Status> {
        let caller = exporter(&request)?;
        self.do_report(&caller.name, request.into_inner()).await?;
        Ok(Response::new(ReportStatusResponse {}))
    }

    async fn listen(
        &self,
        request: Request<ListenRequest>,
    ) -> Result<Response<Self::ListenStream>, Status> {
        let caller = exporter(&request)?;
        let peer = Peer::of(&request);
        let lease = request.into_inner().lease_name;
        let stream = self.do_listen(&caller.name, lease, peer)?;
        Ok(Response::new(stream))
    }

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<Self::StatusStream>, Status> {
        let caller = exporter(&request)?;
        let stream = self.do_status(&caller.name)?;
        Ok(Response::new(stream))
    }

    async fn dial(&self, request: Request<DialRequest>) -> Result<Response<DialResponse>, Status> {
        let caller = client(&request)?;
        let lease = request.into_inner().lease_name;
        let answer = self.do_dial(&caller.name, &lease).await?;
        Ok(Response::new(answer))
    }

    async fn get_lease(
        &self,
        request: Request<GetLeaseRequest>,
    ) -> Result<Response<GetLeaseResponse>, Status> {
        let caller = client(&request)?;
        let answer = self.do_get(&caller.name, &request.into_inner().name)?;
        Ok(Response::new(answer))
    }

    async fn request_lease(
        &self,
        request: Request<RequestLeaseRequest>,
    ) -> Result<Response<RequestLeaseResponse>, Status> {
        let caller = client(&request)?;
        let name = self.do_request(&caller.name, request.into_inner()).await?;
        Ok(Response::new(RequestLeaseResponse { name }))
    }

    async fn release_lease(
        &self,
        request: Request<ReleaseLeaseRequest>,
    ) -> Result<Response<ReleaseLeaseResponse>, Status> {
        let (kind, caller) = caller::caller_of_any_kind(&request)?;
        let lease = request.into_inner().name;
        self.do_release(kind, &caller.name, lease).await?;
        Ok(Response::new(ReleaseLeaseResponse {}))
    }

    async fn list_leases(
        &self,
        request: Request<ListLeasesRequest>,
    ) -> Result<Response<ListLeasesResponse>, Status> {
        let caller = client(&request)?;
        let names = self.do_list(&caller.name);
        Ok(Response::new(ListLeasesResponse { names }))
    }

    async fn get_service_endpoints(
        &self,
        request: Request<GetServiceEndpointsRequest>,
    ) -> Result<Response<GetServiceEndpointsResponse>, Status> {
        exporter(&request)?;
        // A lab collects no telemetry.
        Ok(Response::new(GetServiceEndpointsResponse::default()))
    }
}
