//! TelemetryService: a sink for log entries.

use std::sync::Arc;

use rigd_proto::v1::{
    PushLogsRequest, PushLogsResponse, telemetry_service_server::TelemetryService,
};
use tonic::{Request, Response, Status};

use super::{
    caller::bearer,
    heard::{Rpc, What},
    state::{Shared, State},
    tokens::Kind,
};

pub(super) struct Telemetry(pub(super) Arc<Shared>);

#[tonic::async_trait]
impl TelemetryService for Telemetry {
    async fn push_logs(
        &self,
        request: Request<PushLogsRequest>,
    ) -> Result<Response<PushLogsResponse>, Status> {
        let token = bearer(request.metadata())?;
        // Only the token says who it is.
        let known = |name: &&String| self.0.token(Kind::Exporter, name) == token;
        let from = self.0.look().exporters.keys().find(known).cloned();
        let from = from.ok_or_else(|| Status::unauthenticated("failed to authenticate token"))?;
        let entries = request.into_inner().entries;
        let what = What::PushLogs {
            entries: entries.len(),
        };
        let accepted = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        let effect = |state: &mut State| {
            state.telemetry.extend(entries);
            Ok(())
        };
        self.0.admit(Rpc::PushLogs, &from, what, effect).await?;
        Ok(Response::new(PushLogsResponse {
            accepted,
            dropped: 0,
        }))
    }
}
