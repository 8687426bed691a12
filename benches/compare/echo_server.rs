//! The bare tonic server that calls and streams are compared with: same messages, nothing behind
//! them. It runs as a process of its own, as the exporters do.

use std::path::Path;

use futures::{StreamExt as _, stream::BoxStream};
use rigd_proto::{
    v1::{
        exporter_service_server::{ExporterService, ExporterServiceServer},
        router_service_server::RouterService,
        *,
    },
    value,
};
use tokio::net::UnixListener;
use tokio_stream::{Pending, wrappers::UnixListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};

use crate::Failure;

/// Makes the benchmark's own program such a server.
pub(crate) const FLAG: &str = "--echo-server";

/// As many as the daemon's runtime has.
const WORKERS: usize = 2;

/// Serves until it is killed.
pub(crate) fn serve(socket: &Path) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let listener = UnixListener::bind(socket)?;
        Server::builder()
            .add_service(ExporterServiceServer::new(Echo))
            .serve_with_incoming(UnixListenerStream::new(listener))
            .await?;
        Ok(())
    })
}

/// As the daemon's.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
}

/// Answers calls with nothing, and streams with what they bring.
pub(crate) struct Echo;

/// The length of a uuid, so that messages are as long as an exporter's.
const UUID: &str = "00000000-0000-4000-8000-000000000000";

#[tonic::async_trait]
impl ExporterService for Echo {
    async fn driver_call(
        &self,
        _: Request<DriverCallRequest>,
    ) -> Result<Response<DriverCallResponse>, Status> {
        Ok(Response::new(DriverCallResponse {
            uuid: UUID.to_owned(),
            result: Some(value::from_json(serde_json::Value::Null)),
        }))
    }

    async fn get_report(&self, _: Request<()>) -> Result<Response<GetReportResponse>, Status> {
        let device = |name: &str| DriverInstanceReport {
            uuid: UUID.to_owned(),
            labels: [("jumpstarter.dev/name".to_owned(), name.to_owned())].into(),
            ..DriverInstanceReport::default()
        };
        Ok(Response::new(GetReportResponse {
            reports: vec![device("power"), device("echo")],
            ..GetReportResponse::default()
        }))
    }

    type StreamingDriverCallStream = Pending<Result<StreamingDriverCallResponse, Status>>;

    async fn streaming_driver_call(
        &self,
        _: Request<StreamingDriverCallRequest>,
    ) -> Result<Response<Self::StreamingDriverCallStream>, Status> {
        Err(Status::unimplemented(""))
    }

    type LogStreamStream = Pending<Result<LogStreamResponse, Status>>;

    async fn log_stream(&self, _: Request<()>) -> Result<Response<Self::LogStreamStream>, Status> {
        Err(Status::unimplemented(""))
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

#[tonic::async_trait]
impl RouterService for Echo {
    type StreamStream = BoxStream<'static, Result<StreamResponse, Status>>;

    async fn stream(
        &self,
        request: Request<Streaming<StreamRequest>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let frames = request.into_inner().map(|frame| {
            frame.map(|frame| StreamResponse {
                payload: frame.payload,
                frame_type: frame.frame_type,
            })
        });
        Ok(Response::new(frames.boxed()))
    }
}
