//! `ExporterService`: report, calls, streaming calls, logs, status.

use futures::{StreamExt, stream};
use rigd_proto::{
    v1::{
        DriverCallRequest, DriverCallResponse, EndSessionRequest, EndSessionResponse,
        GetReportResponse, GetStatusRequest, GetStatusResponse, LogStreamResponse, ResetRequest,
        ResetResponse, StreamingDriverCallRequest, StreamingDriverCallResponse,
        exporter_service_server::ExporterService,
    },
    value,
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{Session, errors, operation::Operation};

/// Upstream's answers to EndSession.
const ENDED: &str = "Session end triggered, afterLease hook running asynchronously";
const NO_LEASE: &str = "No active lease context";

type Items<T> = stream::BoxStream<'static, Result<T, Status>>;

/// The service over a session.
pub(super) struct Exporter(pub(super) Session);

fn arguments(args: Vec<prost_types::Value>) -> Result<Vec<serde_json::Value>, Status> {
    let args = args
        .into_iter()
        .map(value::to_json)
        .collect::<Result<_, _>>();
    args.map_err(|error| Status::invalid_argument(error.to_string()))
}

#[tonic::async_trait]
impl ExporterService for Exporter {
    type StreamingDriverCallStream = Items<StreamingDriverCallResponse>;
    type LogStreamStream = Items<LogStreamResponse>;

    async fn get_report(&self, _: Request<()>) -> Result<Response<GetReportResponse>, Status> {
        Ok(Response::new(self.0.report()))
    }

    async fn driver_call(
        &self,
        request: Request<DriverCallRequest>,
    ) -> Result<Response<DriverCallResponse>, Status> {
        let DriverCallRequest { uuid, method, args } = request.into_inner();
        let instance = self.0.instance(&uuid)?;
        let args = arguments(args)?;
        let session = &self.0.0;
        self.0.ready().await?;
        let (key, resources) = (self.0.key(), session.resources.clone());
        let operation = Operation::start(&session.logs, instance, &method);
        let result = instance.call(&key, Some(resources), &method, args).await;
        operation.done(&result);
        let result = result.map_err(|error| errors::status(&error))?;
        let uuid = Uuid::new_v4().to_string();
        let result = Some(value::from_json(result));
        Ok(Response::new(DriverCallResponse { uuid, result }))
    }

    async fn streaming_driver_call(
        &self,
        request: Request<StreamingDriverCallRequest>,
    ) -> Result<Response<Self::StreamingDriverCallStream>, Status> {
        let StreamingDriverCallRequest { uuid, method, args } = request.into_inner();
        let instance = self.0.instance(&uuid)?;
        let args = arguments(args)?;
        let session = &self.0.0;
        self.0.ready().await?;
        let (key, resources) = (self.0.key(), session.resources.clone());
        let items = instance.streaming_call(&key, Some(resources), &method, args);
        let items = items.map_err(|error| errors::status(&error))?;
        let items = items.map(|item| match item {
            Ok(item) => Ok(StreamingDriverCallResponse {
                uuid: Uuid::new_v4().to_string(),
                result: Some(value::from_json(item)),
            }),
            Err(error) => Err(errors::status(&error)),
        });
        Ok(Response::new(items.boxed()))
    }

    async fn log_stream(&self, _: Request<()>) -> Result<Response<Self::LogStreamStream>, Status> {
        let session = &self.0.0;
        let reader = session.logs.reader().until(session.last_line.clone());
        let over = session.over.clone();
        let lines = stream::unfold(Some((reader, over)), |state| async move {
            let (mut reader, over) = state?;
            // cancel-safe: both arms only wait. Lines first: the last ones are of afterLease.
            let line = tokio::select! {
                biased;
                line = reader.next() => line,
                () = over.cancelled() => None,
            };
            Some(match line {
                Some(line) => (Ok(line.into()), Some((reader, over))),
                // The words of a Python exporter that stops; clients take them as the end.
                None => (Err(Status::unavailable("Cancelling all calls")), None),
            })
        });
        Ok(Response::new(lines.boxed()))
    }

    async fn reset(&self, _: Request<ResetRequest>) -> Result<Response<ResetResponse>, Status> {
        Err(Status::unimplemented("Method not implemented!"))
    }

    async fn get_status(
        &self,
        _: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        let session = &self.0.0;
        let response = session.status.response();
        if let Some(holder) = &session.holder {
            holder.has_read(response.status_version);
        }
        Ok(Response::new(response))
    }

    /// Answers at once; what follows is seen in the status. Without a controller there is no lease
    /// to end, and one that was taken away is not its former holder's to end.
    async fn end_session(
        &self,
        _: Request<EndSessionRequest>,
    ) -> Result<Response<EndSessionResponse>, Status> {
        let session = &self.0.0;
        let live = session.key.key().check().is_ok();
        let holder = session.holder.as_ref();
        let success = match holder.filter(|holder| live || holder.has_ended()) {
            Some(holder) => {
                holder.end_session();
                true
            }
            None => false,
        };
        let message = Some(if success { ENDED } else { NO_LEASE }.into());
        Ok(Response::new(EndSessionResponse { success, message }))
    }
}
