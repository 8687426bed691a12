//! `rigd.control.v1.Controller`: administration of a lab, for commands on the same host.
//!
//! ```text
//!   rigd controller …, rigd get ──┬─ control socket ─> Service over the lab that runs here
//!                                 └─ no daemon ──────> Service over the state on disk, under its lock
//! ```
//!
//! One implementation for both, so that there are no two ways of doing a thing. It does nothing
//! itself: what the words mean is `rigd_controller::admin`'s.

use prost_types::Timestamp;
use rigd_controller::{
    admin::{self, Done, Issued, What},
    auth::Kind,
    engine::Engine,
    model::World,
    resources::{List, Object, Resource},
};
use rigd_proto::control::v1::{
    self as proto, ApplyRequest, ApplyResponse, CreateRequest, CreateResponse, Credentials,
    DeleteRequest, DeleteResponse, DescribeRequest, DescribeResponse, ExportRequest,
    ExportResponse, GetRequest, GetResponse, Outcome, RotateRequest, RotateResponse,
    controller_server::{Controller, ControllerServer},
};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::embedded::{Lab, OWN_CLIENT};

/// Largest answer: all objects, or all of the state, of a lab. A thousand exporters with a hundred
/// instances each have about 30 MB.
pub(crate) const MAX_ANSWER: usize = 256 * 1024 * 1024;

/// What a message of an applied text has beside it.
const FRAMING: usize = 1024;

/// The service over what is there, with its limits.
pub(crate) fn server(place: Place) -> ControllerServer<Service> {
    // The controller itself says that a text is too long.
    ControllerServer::new(Service(place)).max_decoding_message_size(admin::MAX_TEXT + FRAMING)
}

/// What is administered.
#[derive(Debug, Clone)]
pub(crate) struct Administered {
    /// Owns exporters, clients and leases.
    pub(crate) engine: Engine,
    /// Where clients and exporters reach it: `HOST:PORT`.
    pub(crate) endpoint: String,
    /// What they are to trust: base64 of PEM, for `tls.ca`.
    pub(crate) ca: String,
}

/// Where it is.
#[derive(Debug)]
pub(crate) enum Place {
    /// In this process, while it runs.
    Running(watch::Receiver<Option<Lab>>),
    /// On disk, and nobody else has it.
    OnDisk(Administered),
}

/// The service.
#[derive(Debug)]
pub(crate) struct Service(Place);

impl Service {
    fn running(&self) -> Option<Lab> {
        match &self.0 {
            Place::OnDisk(_) => None,
            Place::Running(running) => running.borrow().clone(),
        }
    }

    #[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
    fn lab(&self) -> Result<Administered, Status> {
        match &self.0 {
            Place::OnDisk(lab) => Ok(lab.clone()),
            Place::Running(running) => {
                let lab = running.borrow();
                let lab = lab.as_ref().ok_or_else(|| {
                    Status::failed_precondition(
                        "no embedded controller runs in this daemon: its exporters have an \
                         `endpoint` each; give it one without, or run `rigd controller run`",
                    )
                })?;
                Ok(Administered {
                    engine: lab.engine.clone(),
                    endpoint: lab.endpoint.clone(),
                    ca: lab.ca.clone(),
                })
            }
        }
    }
}

impl Administered {
    fn credentials(self, issued: &Issued) -> Credentials {
        Credentials {
            namespace: issued.namespace.clone(),
            name: issued.name.clone(),
            endpoint: self.endpoint,
            ca: self.ca,
            token: issued.token.reveal().to_owned(),
            expires: Some(Timestamp::from(issued.expires)),
        }
    }
}

/// The number of a kind, for requests.
pub(crate) fn number(what: What) -> i32 {
    let kind = match what {
        What::Client => proto::Kind::Client,
        What::Exporter => proto::Kind::Exporter,
        What::Lease => proto::Kind::Lease,
        What::Policy => proto::Kind::Policy,
    };
    kind.into()
}

#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
fn what(number: i32) -> Result<What, Status> {
    match proto::Kind::try_from(number) {
        Ok(proto::Kind::Client) => Ok(What::Client),
        Ok(proto::Kind::Exporter) => Ok(What::Exporter),
        Ok(proto::Kind::Lease) => Ok(What::Lease),
        Ok(proto::Kind::Policy) => Ok(What::Policy),
        Ok(proto::Kind::Unspecified) | Err(_) => Err(Status::invalid_argument(format!(
            "kind {number} is not known here; is the daemon older than this command?"
        ))),
    }
}

/// Those that have tokens.
#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
fn who(number: i32) -> Result<Kind, Status> {
    match what(number)? {
        What::Client => Ok(Kind::Client),
        What::Exporter => Ok(Kind::Exporter),
        other => Err(Status::invalid_argument(format!(
            "a {other} has no token: only clients and exporters do"
        ))),
    }
}

/// What this process needs, and would make again, is not deleted.
#[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
fn refuse_needed(engine: &Engine, what: What, name: &str) -> Result<(), Status> {
    let served = |world: &World| world.exporters.get(name).map(|exporter| exporter.hosted);
    let namespace = engine.namespace();
    match what {
        What::Exporter if engine.read(served) == Some(true) => {
            Err(Status::failed_precondition(format!(
                "exporter {namespace}/{name} is served by this daemon: remove its file, and `rigd \
                 reload` takes it away"
            )))
        }
        What::Client if name == OWN_CLIENT => Err(Status::failed_precondition(format!(
            "client {namespace}/{name} is the lab's own, for the lines that rigd prints; `rigd \
             controller rotate client {name}` takes its token from whoever has it"
        ))),
        _ => Ok(()),
    }
}

/// The list of a kind as JSON, also when it is empty.
fn list(what: What, objects: Vec<Object>) -> String {
    fn of<T: Resource>(objects: Vec<Object>, pick: fn(Object) -> Option<T>) -> String {
        let items = objects.into_iter().filter_map(pick).collect();
        List::<T> { items }.dump_json()
    }
    match what {
        What::Client => of(objects, |object| match object {
            Object::Client(client) => Some(client),
            _ => None,
        }),
        What::Exporter => of(objects, |object| match object {
            Object::Exporter(exporter) => Some(exporter),
            _ => None,
        }),
        What::Lease => of(objects, |object| match object {
            Object::Lease(lease) => Some(lease),
            _ => None,
        }),
        What::Policy => of(objects, |object| match object {
            Object::ExporterAccessPolicy(policy) => Some(policy),
            _ => None,
        }),
    }
}

/// As `-o name` prints it.
pub(crate) fn full_name(what: What, name: &str) -> String {
    format!("{}.jumpstarter.dev/{name}", what.object().to_lowercase())
}

#[tonic::async_trait]
impl Controller for Service {
    async fn describe(
        &self,
        _: Request<DescribeRequest>,
    ) -> Result<Response<DescribeResponse>, Status> {
        let lab = self.lab()?;
        Ok(Response::new(DescribeResponse {
            namespace: lab.engine.namespace().to_owned(),
            endpoint: lab.endpoint,
        }))
    }

    async fn create(
        &self,
        request: Request<CreateRequest>,
    ) -> Result<Response<CreateResponse>, Status> {
        let lab = self.lab()?;
        let CreateRequest { kind, name, labels } = request.into_inner();
        let issued = admin::create(&lab.engine, who(kind)?, &name, labels).await?;
        Ok(Response::new(CreateResponse {
            credentials: Some(lab.credentials(&issued)),
        }))
    }

    async fn delete(
        &self,
        request: Request<DeleteRequest>,
    ) -> Result<Response<DeleteResponse>, Status> {
        let lab = self.lab()?;
        let DeleteRequest { kind, name } = request.into_inner();
        let what = what(kind)?;
        if self.running().is_some() {
            refuse_needed(&lab.engine, what, &name)?;
        }
        admin::delete(&lab.engine, what, &name).await?;
        Ok(Response::new(DeleteResponse {}))
    }

    async fn rotate(
        &self,
        request: Request<RotateRequest>,
    ) -> Result<Response<RotateResponse>, Status> {
        let lab = self.lab()?;
        let RotateRequest { kind, name } = request.into_inner();
        let kind = who(kind)?;
        let issued = admin::rotate(&lab.engine, kind, &name).await?;
        if let (Kind::Client, OWN_CLIENT, Some(running)) = (kind, name.as_str(), self.running()) {
            let written = running.write_own_client().await;
            written.map_err(|error| {
                let text = format!("its token is a new one, and its file is not written: {error}");
                Status::internal(text)
            })?;
        }
        Ok(Response::new(RotateResponse {
            credentials: Some(lab.credentials(&issued)),
        }))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let lab = self.lab()?;
        let GetRequest {
            kind,
            names,
            selector,
        } = request.into_inner();
        let what = what(kind)?;
        let found = admin::get(&lab.engine, what, &names, &selector, &lab.endpoint)?;
        Ok(Response::new(GetResponse {
            list: list(what, found),
        }))
    }

    async fn apply(
        &self,
        request: Request<ApplyRequest>,
    ) -> Result<Response<ApplyResponse>, Status> {
        let lab = self.lab()?;
        let applied = admin::apply(&lab.engine, &request.into_inner().objects).await?;
        let objects = applied.into_iter().map(|applied| proto::Applied {
            name: full_name(applied.what, &applied.name),
            outcome: match applied.done {
                Done::Created => Outcome::Created,
                Done::Configured => Outcome::Configured,
                Done::Unchanged => Outcome::Unchanged,
            }
            .into(),
        });
        Ok(Response::new(ApplyResponse {
            objects: objects.collect(),
        }))
    }

    async fn export(&self, _: Request<ExportRequest>) -> Result<Response<ExportResponse>, Status> {
        let dump = admin::export(&self.lab()?.engine);
        let state = dump
            .to_json()
            .map_err(|error| Status::internal(format!("the state has no JSON: {error}")))?;
        Ok(Response::new(ExportResponse {
            state: state.into(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn kinds_keep_their_numbers_and_others_are_refused() {
        for kind in [What::Client, What::Exporter, What::Lease, What::Policy] {
            assert_eq!(what(number(kind)).unwrap(), kind);
        }
        for number in [0, 99] {
            assert_eq!(what(number).unwrap_err().code(), Code::InvalidArgument);
        }
        let error = who(number(What::Lease)).unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.message().contains("a lease has no token"), "{error}");
    }

    #[test]
    fn lists_say_of_what_they_are_empty() {
        for (kind, wanted) in [
            (What::Client, "ClientList"),
            (What::Exporter, "ExporterList"),
            (What::Lease, "LeaseList"),
            (What::Policy, "ExporterAccessPolicyList"),
        ] {
            let list: serde_json::Value = serde_json::from_str(&list(kind, vec![])).unwrap();
            assert_eq!(list["kind"], wanted);
        }
    }
}
