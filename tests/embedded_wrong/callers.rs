//! Callers that are not who they should be.

use rigd_proto::{
    client::v1::{GetExporterRequest, ListExportersRequest},
    v1::{RegisterRequest, StatusRequest, controller_service_client::ControllerServiceClient},
};
use tonic::{Code, Status};

use super::Lab;
use crate::embedded::caller::{Caller, Credentials};

/// What a list of exporters says to this caller.
pub(super) async fn list(caller: &Caller, who: &Credentials) -> Result<usize, Status> {
    let request = ListExportersRequest {
        parent: "namespaces/default".to_owned(),
        ..ListExportersRequest::default()
    };
    let answer = caller
        .service()
        .list_exporters(who.request(request))
        .await?;
    Ok(answer.into_inner().exporters.len())
}

#[track_caller]
pub(super) fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, text: &str) {
    let status = answer.expect_err("it is admitted");
    assert_eq!(status.code(), code, "{status:?}");
    assert!(
        status.message().starts_with(text),
        "no {text:?}: {status:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_claims_to_be_somebody_else() {
    let lab = Lab::new();
    let site = &lab.site;
    let mut daemon = site.controller(&[]);
    let (ci, other) = (site.known("ci").await, site.client("other").await);
    let named = |name: &str| Credentials {
        name: name.to_owned(),
        ..ci.who.clone()
    };
    refused(
        list(&ci, &named("other")).await,
        Code::PermissionDenied,
        "permission denied for client default/other",
    );
    let text = "client default/nobody: Client.jumpstarter.dev \"nobody\" not found";
    refused(list(&ci, &named("nobody")).await, Code::Unknown, text);
    let mut request = ci.who.request(ListExportersRequest::default());
    request.metadata_mut().remove("jumpstarter-name");
    let answer = ci.service().list_exporters(request).await;
    refused(answer, Code::InvalidArgument, "resource name required");
    let mut request = ci.who.request(ListExportersRequest::default());
    request.metadata_mut().remove("jumpstarter-kind");
    let answer = ci.service().list_exporters(request).await;
    refused(
        answer,
        Code::InvalidArgument,
        "missing metadata: jumpstarter-kind",
    );

    // A client is no exporter, and an exporter no client.
    let mut controller = ControllerServiceClient::new(ci.channel.clone());
    let mismatch = "object kind mismatch";
    let answer = controller
        .register(ci.who.request(RegisterRequest::default()))
        .await;
    refused(answer, Code::InvalidArgument, mismatch);
    let answer = controller
        .status(ci.who.request(StatusRequest::default()))
        .await;
    refused(answer, Code::InvalidArgument, mismatch);
    let rig = Credentials::read(&site.home("rig.yaml"));
    refused(list(&ci, &rig).await, Code::InvalidArgument, mismatch);

    // A lease is its owner's.
    let lease = ci.ask("board=rpi4").await;
    refused(other.dial(&lease).await, Code::Unknown, "permission denied");
    refused(
        other.lengthen(&lease, 60).await,
        Code::Unknown,
        "UpdateLease permission denied",
    );
    refused(
        other.release(&lease).await,
        Code::Unknown,
        "DeleteLease permission denied",
    );
    refused(ci.dial(&lease).await, Code::Unknown, "lease not active");
    refused(ci.dial("").await, Code::Unknown, "empty lease name");
    refused(ci.dial("none").await, Code::Unknown, "");
    assert_eq!(ci.leases().await.unwrap().len(), 1);
    daemon.stop_cleanly();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_another_namespace() {
    let lab = Lab::new();
    let site = &lab.site;
    let mut daemon = site.controller(&[]);
    let ci = site.known("ci").await;
    let elsewhere = Credentials {
        namespace: "elsewhere".to_owned(),
        ..ci.who.clone()
    };
    let text = "client elsewhere/ci: Client.jumpstarter.dev \"ci\" not found";
    refused(list(&ci, &elsewhere).await, Code::Unknown, text);
    let request = ListExportersRequest {
        parent: "namespaces/elsewhere".to_owned(),
        ..ListExportersRequest::default()
    };
    let answer = ci.service().list_exporters(ci.who.request(request)).await;
    refused(answer, Code::PermissionDenied, "namespace mismatch");
    let name = "namespaces/elsewhere/exporters/rig".to_owned();
    let request = GetExporterRequest {
        name,
        ..GetExporterRequest::default()
    };
    let answer = ci.service().get_exporter(ci.who.request(request)).await;
    refused(answer, Code::PermissionDenied, "namespace mismatch");
    daemon.stop_cleanly();

    // The lab has another one from now on: its files of before are those of another lab.
    let mut daemon = site.controller(&["--namespace", "elsewhere"]);
    let before = site.known("ci").await;
    let answer = list(&before, &before.who).await;
    refused(
        answer,
        Code::Unknown,
        "client default/ci: Client.jumpstarter.dev \"ci\" not found",
    );
    let later = site.client("later").await;
    assert_eq!(later.who.namespace, "elsewhere");
    assert_eq!(later.names("").await, ["rig"]);
    daemon.stop_cleanly();
    let mut daemon = site.controller(&[]);
    let ci = site.known("ci").await;
    assert_eq!(ci.names("").await, ["rig"]);
    daemon.stop_cleanly();
}
