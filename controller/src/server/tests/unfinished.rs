//! Requests that never end.

use tonic::{
    Status, client::Grpc, codegen::http::uri::PathAndQuery,
    service::interceptor::InterceptedService,
};

use super::{
    strangers::{Bytes, calls},
    *,
};

/// On one connection: with what one of them could have the lab keep, 4 MiB, they would be seen.
const MANY: usize = 60;

/// A call whose request does not end.
async fn unfinished<T>(transport: T, path: &str) -> Status
where
    T: tonic::client::GrpcService<tonic::body::Body> + Send,
    T::ResponseBody: tonic::codegen::Body<Data = bytes::Bytes> + Send + 'static,
    <T::ResponseBody as tonic::codegen::Body>::Error: Into<tonic::codegen::StdError>,
{
    let mut grpc = Grpc::new(transport);
    let ready = grpc.ready().await;
    assert!(ready.is_ok(), "not ready");
    let path: PathAndQuery = path.parse().unwrap();
    let request = Request::new(tokio_stream::pending::<Vec<u8>>());
    let answer = grpc.client_streaming(request, path, Bytes).await;
    answer.map(drop).unwrap_err()
}

#[tokio::test]
async fn nothing_is_read_of_a_stranger() {
    let site = Site::open().await;
    let channel = site.channel().await;
    let calls = calls("one");
    let calls = calls.iter().filter(|call| !call.path.contains("Router"));
    let calls: Vec<_> = calls.cycle().take(MANY).collect();
    let told = calls
        .iter()
        .map(|call| unfinished(channel.clone(), &call.path));
    let told = tokio::time::timeout(SOON, futures::future::join_all(told)).await;
    for status in told.expect("waits for the request") {
        // And not the deadline of the request.
        assert_eq!(status.code(), Code::Unauthenticated);
        assert_eq!(status.message(), "missing authorization header");
    }
}

#[tokio::test]
async fn a_request_with_good_credentials_must_end_as_well_and_so_must_a_check_of_health() {
    let site = Site::open().await;
    site.add(|world| sample::exporter(world, "rig", &[])).await;
    let channel = site.channel().await;
    let calls = [
        (
            "/jumpstarter.client.v1.ClientService/ListExporters",
            Kind::Client,
            "alice",
        ),
        (
            "/jumpstarter.v1.ControllerService/Dial",
            Kind::Client,
            "alice",
        ),
        (
            "/jumpstarter.v1.ControllerService/Register",
            Kind::Exporter,
            "rig",
        ),
        ("/grpc.health.v1.Health/Check", Kind::Client, "alice"),
    ];
    let mut asked = tokio::task::JoinSet::new();
    for (path, kind, name) in calls {
        let credentials = site.credentials(kind, name);
        let transport = InterceptedService::new(channel.clone(), credentials);
        asked.spawn(unfinished(transport, path));
    }
    // What came on the connection before it is with its handlers when this one is answered.
    let alice = site.credentials(Kind::Client, "alice");
    let mut alice =
        rigd_proto::client::v1::client_service_client::ClientServiceClient::with_interceptor(
            channel, alice,
        );
    alice.list_exporters(everything()).await.unwrap();
    assert!(asked.try_join_next().is_none(), "ends without a request");
    // A clock that stands still goes ahead while a socket is waited for: only for this moment.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11)).await;
    tokio::time::resume();
    let told = tokio::time::timeout(SOON, asked.join_all()).await;
    for status in told.expect("waits for ever") {
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
        assert_eq!(status.message(), "the request did not arrive within 10 s");
    }
}
