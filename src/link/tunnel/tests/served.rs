//! Tunnels whose far end is the server of a session.

use std::sync::Mutex;

use futures::stream::BoxStream;
use hyper_util::rt::TokioIo;
use rigd_proto::v1::{
    DriverCallRequest, DriverCallResponse, EndSessionRequest, EndSessionResponse,
    GetReportResponse, GetStatusRequest, GetStatusResponse, LogStreamResponse, ResetRequest,
    ResetResponse, StreamingDriverCallRequest, StreamingDriverCallResponse,
    exporter_service_client::ExporterServiceClient,
    exporter_service_server::{ExporterService, ExporterServiceServer},
};
use tonic::{Request, Response, service::Routes, transport};

use super::*;
use crate::transport::{Shutdown, serve};

/// Answers `GetReport` and calls, and streams for ever.
struct Exporter;

#[tonic::async_trait]
impl ExporterService for Exporter {
    type StreamingDriverCallStream =
        BoxStream<'static, Result<StreamingDriverCallResponse, Status>>;
    type LogStreamStream = BoxStream<'static, Result<LogStreamResponse, Status>>;

    async fn get_report(
        &self,
        request: Request<()>,
    ) -> Result<Response<GetReportResponse>, Status> {
        assert!(request.extensions().get::<Connection>().is_some());
        Ok(Response::new(GetReportResponse {
            uuid: "the report".to_owned(),
            ..Default::default()
        }))
    }

    async fn driver_call(
        &self,
        request: Request<DriverCallRequest>,
    ) -> Result<Response<DriverCallResponse>, Status> {
        Ok(Response::new(DriverCallResponse {
            uuid: request.into_inner().method,
            ..Default::default()
        }))
    }

    async fn streaming_driver_call(
        &self,
        _: Request<StreamingDriverCallRequest>,
    ) -> Result<Response<Self::StreamingDriverCallStream>, Status> {
        let one = || Ok(StreamingDriverCallResponse::default());
        let for_ever = futures::stream::iter([one()]).chain(futures::stream::pending());
        Ok(Response::new(for_ever.boxed()))
    }

    async fn log_stream(&self, _: Request<()>) -> Result<Response<Self::LogStreamStream>, Status> {
        Ok(Response::new(futures::stream::pending().boxed()))
    }

    async fn reset(&self, _: Request<ResetRequest>) -> Result<Response<ResetResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_status(
        &self,
        _: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn end_session(
        &self,
        _: Request<EndSessionRequest>,
    ) -> Result<Response<EndSessionResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// A lease's server over tunnels, and what ends it.
fn session() -> (Tunnels<Plain>, Shutdown, tokio::task::JoinHandle<()>) {
    let shutdown = Shutdown::default();
    let (tunnels, incoming) = Tunnels::new(Arc::new(Plain), shutdown.cut.clone());
    let routes = Routes::new(ExporterServiceServer::new(Exporter));
    let serving = serve(
        routes,
        None,
        incoming,
        shutdown.clone(),
        Duration::from_millis(100),
    );
    let serving = tokio::spawn(async move { serving.await.unwrap() });
    (tunnels, shutdown, serving)
}

#[tokio::test]
async fn a_client_calls_a_session_through_the_router() {
    let mut router = Router::start().await;
    let (exporter, shutdown, serving) = session();
    // The client's side is a tunnel as well.
    let (client, mut client_side) = tunnels();
    exporter.dial(item(&router));
    let first = router.call().await;
    let (io, second) = dial(&client, &mut client_side, &mut router).await;
    let paired = tokio::spawn(first.pair(second));

    let io = Mutex::new(Some(io));
    let connector = tower::service_fn(move |_| {
        let io = io.lock().unwrap().take().map(TokioIo::new);
        async move { io.ok_or(std::io::Error::other("one tunnel, one connection")) }
    });
    let endpoint = transport::Endpoint::from_static("http://exporter");
    let channel = timeout(PATIENCE, endpoint.connect_with_connector(connector)).await;
    let mut service = ExporterServiceClient::new(channel.unwrap().unwrap());
    let report = service.get_report(()).await.unwrap().into_inner();
    assert_eq!(report.uuid, "the report");
    for len in [1, 100_000, 3_000_000] {
        let method = "m".repeat(len);
        let call = DriverCallRequest {
            method: method.clone(),
            ..Default::default()
        };
        let answer = timeout(PATIENCE, service.driver_call(call))
            .await
            .unwrap()
            .unwrap();
        assert!(answer.into_inner().uuid == method, "{len}");
    }

    // The end of the lease cuts a stream that would go on.
    let call = StreamingDriverCallRequest::default();
    let mut results = service
        .streaming_driver_call(call)
        .await
        .unwrap()
        .into_inner();
    results.message().await.unwrap().unwrap();
    shutdown.begin.cancel();
    timeout(PATIENCE, results.message())
        .await
        .unwrap()
        .unwrap_err();
    timeout(PATIENCE, serving).await.unwrap().unwrap();
    timeout(PATIENCE, paired).await.unwrap().unwrap();
    drop((service, results));
    assert_gone(&exporter, &router).await;
    assert_gone(&client, &router).await;
}

#[tokio::test]
async fn tunnels_that_close_without_a_byte_leave_nothing() {
    let mut router = Router::start().await;
    let (tunnels, shutdown, serving) = session();
    for round in 0..200 {
        tunnels.dial(item(&router));
        let call = router.call().await;
        // With GOAWAY or without.
        if round % 2 == 0 {
            call.send(FrameType::Goaway.into(), b"").await;
        }
    }
    assert_gone(&tunnels, &router).await;
    shutdown.begin.cancel();
    timeout(PATIENCE, serving).await.unwrap().unwrap();
    tunnels.end().await;
}
