//! ControllerService: registration, reports, Status, Listen and Dial.
//!
//! A stream's response headers go out with its first message, as grpc-go sends them: a handler
//! returns only once it has something to say.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream::BoxStream};
use rigd_proto::v1::{
    DialRequest, DialResponse, ExporterStatus, GetLeaseRequest, GetLeaseResponse,
    GetServiceEndpointsRequest, GetServiceEndpointsResponse, ListLeasesRequest, ListLeasesResponse,
    ListenRequest, ListenResponse, RegisterRequest, RegisterResponse, ReleaseLeaseRequest,
    ReleaseLeaseResponse, ReportStatusRequest, ReportStatusResponse, RequestLeaseRequest,
    RequestLeaseResponse, StatusRequest, StatusResponse, UnregisterRequest, UnregisterResponse,
    controller_service_server::ControllerService,
};
use tokio::sync::mpsc::{self, error::TrySendError};
use tonic::{Request, Response, Status};

use super::{
    heard::{Rpc, What},
    leases::{self, End},
    state::{ListenTap, Shared, State},
    tokens::{self, Kind},
};

/// How many dials a controller keeps for an exporter that does not take them.
const DIALS_KEPT: usize = 8;
/// How long a Dial waits for an exporter that is on its way from Available.
const READY_LIMIT: Duration = Duration::from_secs(30);

pub(super) struct Controller(pub(super) Arc<Shared>);

#[tonic::async_trait]
impl ControllerService for Controller {
    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        let exporter = self.0.exporter(request.metadata())?;
        let RegisterRequest { labels, reports } = request.into_inner();
        let what = What::Register {
            labels: labels.clone(),
            reports: reports.clone(),
        };
        let effect = |state: &mut State| {
            let order = state.number();
            let entry = state.exporters.entry(exporter.clone()).or_default();
            entry.order.get_or_insert(order);
            entry.reports = Some(reports);
            // All other keys are the administrator's.
            let own = |key: &String| key.starts_with("jumpstarter.dev/");
            entry.labels.retain(|key, _| !own(key));
            entry
                .labels
                .extend(labels.into_iter().filter(|(key, _)| own(key)));
            Ok(())
        };
        self.0
            .admit(Rpc::Register, &exporter.clone(), what, effect)
            .await?;
        leases::assign(&self.0);
        let uuid = format!("{}-{exporter}", self.0.id);
        Ok(Response::new(RegisterResponse { uuid }))
    }

    async fn unregister(
        &self,
        request: Request<UnregisterRequest>,
    ) -> Result<Response<UnregisterResponse>, Status> {
        let exporter = self.0.exporter(request.metadata())?;
        let reason = request.into_inner().reason;
        let what = What::Unregister {
            reason: reason.clone(),
        };
        let effect = |state: &mut State| {
            let entry = state.exporters.entry(exporter.clone()).or_default();
            entry.reports = None;
            entry.order = None;
            entry.status = Some(ExporterStatus::Offline);
            entry.message = match reason.is_empty() {
                true => "Exporter unregistered".to_owned(),
                false => reason,
            };
            Ok(())
        };
        self.0
            .admit(Rpc::Unregister, &exporter, what, effect)
            .await?;
        Ok(Response::new(UnregisterResponse {}))
    }

    async fn report_status(
        &self,
        request: Request<ReportStatusRequest>,
    ) -> Result<Response<ReportStatusResponse>, Status> {
        let exporter = self.0.exporter(request.metadata())?;
        let request = request.into_inner();
        let (status, release) = (request.status(), request.release_lease());
        let message = request.message().to_owned();
        let what = What::Report {
            status,
            message: message.clone(),
            release,
        };
        let effect = |state: &mut State| {
            let entry = state.exporters.entry(exporter.clone()).or_default();
            entry.status = Some(status);
            entry.message = message;
            if let (true, Some(lease)) = (release, entry.lease.clone()) {
                state.end_lease(&lease, End::Released);
            }
            Ok(())
        };
        self.0
            .admit(Rpc::ReportStatus, &exporter, what, effect)
            .await?;
        leases::assign(&self.0);
        Ok(Response::new(ReportStatusResponse {}))
    }

    type ListenStream = BoxStream<'static, Result<ListenResponse, Status>>;

    async fn listen(
        &self,
        request: Request<ListenRequest>,
    ) -> Result<Response<Self::ListenStream>, Status> {
        let exporter = self.0.exporter(request.metadata())?;
        let lease = request.into_inner().lease_name;
        let what = What::Listen {
            lease: lease.clone(),
        };
        let (tx, rx) = mpsc::channel(DIALS_KEPT);
        let effect = |state: &mut State| {
            if state.lease(&lease)?.exporter.as_deref() != Some(exporter.as_str()) {
                return Err(Status::unknown("permission denied"));
            }
            let number = state.number();
            // An older one is superseded: without its sender it ends after what is queued.
            let tap = ListenTap { number, tx };
            state.listens.insert(lease.clone(), tap);
            Ok(number)
        };
        let number = self.0.admit(Rpc::Listen, &exporter, what, effect).await?;
        let shared = self.0.clone();
        let closed = OnDrop::new(move || {
            shared.change(|state| {
                if state
                    .listens
                    .get(&lease)
                    .is_some_and(|it| it.number == number)
                {
                    state.listens.remove(&lease);
                }
                state.hear(&exporter, What::ListenClosed { lease });
            });
        });
        lazily(rx, closed).await
    }

    type StatusStream = BoxStream<'static, Result<StatusResponse, Status>>;

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<Self::StatusStream>, Status> {
        let exporter = self.0.exporter(request.metadata())?;
        let effect = |state: &mut State| Ok(state.tap(&exporter));
        let (number, rx) = self
            .0
            .admit(Rpc::Status, &exporter, What::StatusOpened, effect)
            .await?;
        leases::assign(&self.0);
        let shared = self.0.clone();
        let closed = OnDrop::new(move || {
            shared.change(|state| {
                state.untap(&exporter, number);
                state.hear(&exporter, What::StatusClosed);
            });
        });
        lazily(rx, closed).await
    }

    async fn dial(&self, request: Request<DialRequest>) -> Result<Response<DialResponse>, Status> {
        let client = self.0.client(request.metadata())?;
        let lease = request.into_inner().lease_name;
        let what = What::Dial {
            lease: lease.clone(),
        };
        self.0.admit(Rpc::Dial, &client, what, |_| Ok(())).await?;
        let answer = dial(&self.0, &client, &lease).await;
        let code = answer
            .as_ref()
            .map_or_else(Status::code, |_| tonic::Code::Ok);
        self.0.hear(&client, What::Dialled { lease, code });
        answer.map(Response::new)
    }

    async fn release_lease(
        &self,
        request: Request<ReleaseLeaseRequest>,
    ) -> Result<Response<ReleaseLeaseResponse>, Status> {
        let caller = self.0.caller(request.metadata())?;
        let name = request.into_inner().name;
        let what = What::ReleaseLease { name: name.clone() };
        let effect = |state: &mut State| {
            match (caller.kind, state.leases.get(&name)) {
                (Kind::Exporter, None) => Err(Status::not_found("lease not found")),
                (Kind::Exporter, Some(lease)) if lease.exporter.as_ref() != Some(&caller.name) => {
                    Err(Status::failed_precondition(
                        "lease is not held by this exporter",
                    ))
                }
                (Kind::Client, found) if found.is_none_or(|it| it.client != caller.name) => {
                    Err(Status::unknown("ReleaseLease permission denied"))
                }
                _ => Ok(()),
            }?;
            state.end_lease(&name, End::Released);
            Ok(())
        };
        self.0
            .admit(Rpc::ReleaseLease, &caller.name, what, effect)
            .await?;
        leases::assign(&self.0);
        Ok(Response::new(ReleaseLeaseResponse {}))
    }

    async fn get_service_endpoints(
        &self,
        request: Request<GetServiceEndpointsRequest>,
    ) -> Result<Response<GetServiceEndpointsResponse>, Status> {
        let exporter = self.0.exporter(request.metadata())?;
        let effect = |state: &mut State| {
            let telemetry_endpoints = state.endpoints.clone().ok_or_else(unknown_method)?;
            Ok(GetServiceEndpointsResponse {
                telemetry_endpoints,
            })
        };
        self.0
            .admit(Rpc::GetServiceEndpoints, &exporter, What::Endpoints, effect)
            .await
            .map(Response::new)
    }

    // The client's side of an interface from before ClientService: no released client calls it.

    async fn get_lease(
        &self,
        _: Request<GetLeaseRequest>,
    ) -> Result<Response<GetLeaseResponse>, Status> {
        Err(unknown_method())
    }

    async fn request_lease(
        &self,
        _: Request<RequestLeaseRequest>,
    ) -> Result<Response<RequestLeaseResponse>, Status> {
        Err(unknown_method())
    }

    async fn list_leases(
        &self,
        _: Request<ListLeasesRequest>,
    ) -> Result<Response<ListLeasesResponse>, Status> {
        Err(unknown_method())
    }
}

pub(super) fn unknown_method() -> Status {
    Status::unimplemented("unknown method for this controller")
}

async fn dial(shared: &Shared, client: &str, lease: &str) -> Result<DialResponse, Status> {
    let mut changes = shared.changes();
    let ready = async {
        loop {
            changes.borrow_and_update();
            if let Some(verdict) = exporter_ready(&shared.look(), client, lease) {
                return verdict;
            }
            // Its sender lives in `shared`.
            changes.changed().await.ok();
        }
    };
    let late = "exporter is not ready (status: Available)";
    tokio::time::timeout(READY_LIMIT, ready)
        .await
        .unwrap_or_else(|_| Err(Status::failed_precondition(late)))?;
    shared.change(|state| {
        let router_token = tokens::stream(&shared.id, state.number());
        let answer = DialResponse {
            router_endpoint: shared.router_endpoint.clone(),
            router_token,
        };
        let item = ListenResponse {
            router_endpoint: answer.router_endpoint.clone(),
            router_token: answer.router_token.clone(),
        };
        let absent = || Status::unavailable(format!("exporter is not listening on lease {lease}"));
        let listener = state.listens.get(lease).ok_or_else(absent)?;
        match listener.tx.try_send(Ok(item)) {
            Ok(()) => {}
            Err(TrySendError::Closed(_)) => return Err(absent()),
            Err(TrySendError::Full(_)) => {
                return Err(Status::resource_exhausted("too many dials are waiting"));
            }
        }
        let token = answer.router_token.clone();
        state.dials.insert(token, lease.to_owned());
        Ok(answer)
    })
}

/// Whether the lease's exporter can be dialled; `None` while that may still change.
fn exporter_ready(state: &State, client: &str, lease: &str) -> Option<Result<(), Status>> {
    use ExporterStatus::{
        AfterLeaseHook, AfterLeaseHookFailed, Available, BeforeLeaseHook, BeforeLeaseHookFailed,
        LeaseReady, Offline, Unspecified,
    };
    let lease = match state.lease(lease) {
        Ok(lease) => lease,
        Err(missing) => return Some(Err(missing)),
    };
    if lease.client != client {
        return Some(Err(Status::unknown("permission denied")));
    }
    let Some(exporter) = &lease.exporter else {
        return Some(Err(Status::unknown("lease not active")));
    };
    let text = match state.exporters.get(exporter).and_then(|it| it.status) {
        None | Some(LeaseReady | BeforeLeaseHook | AfterLeaseHook | Unspecified) => {
            return Some(Ok(()));
        }
        Some(Available) => return None,
        Some(Offline) => "exporter is offline",
        Some(BeforeLeaseHookFailed) => "exporter beforeLease hook failed",
        Some(AfterLeaseHookFailed) => "exporter afterLease hook failed",
    };
    Some(Err(Status::failed_precondition(text)))
}

/// Answers only once there is a first item, or the end.
async fn lazily<T: Send + 'static>(
    mut rx: mpsc::Receiver<Result<T, Status>>,
    closed: OnDrop,
) -> Result<Response<BoxStream<'static, Result<T, Status>>>, Status> {
    let first = match rx.recv().await {
        Some(Err(status)) => return Err(status),
        first => first,
    };
    let rest = futures::stream::unfold((rx, closed), |(mut rx, closed)| async {
        rx.recv().await.map(|item| (item, (rx, closed)))
    });
    let all = futures::stream::iter(first).chain(rest);
    Ok(Response::new(all.boxed()))
}

/// Does something when a call is over, in whichever way.
pub(super) struct OnDrop(Option<Box<dyn FnOnce() + Send>>);

impl OnDrop {
    pub(super) fn new(action: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(action)))
    }
}

impl Drop for OnDrop {
    fn drop(&mut self) {
        if let Some(action) = self.0.take() {
            action();
        }
    }
}
