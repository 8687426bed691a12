//! `grpc.health.v1.Health`: whether the lab takes calls, for load balancers and monitors, which have
//! no credentials.
//!
//! It serves until its end begins, and not when it cannot keep what it is told. A Watch ends with its
//! connection, and one on which nobody makes a call with credentials is closed after half a minute:
//! whoever watches without any opens it again.

use std::{sync::Arc, time::Duration};

use futures::stream;
use rigd_proto::{
    client::v1::client_service_server, v1::controller_service_server, v1::router_service_server,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_server::{Health, HealthServer},
};

use super::open::{MAX_MESSAGE, Open};
use crate::{
    api::{Answers, timely::ARRIVAL},
    engine::Engine,
};

/// What there is, besides the whole server, which has no name.
pub(super) const SERVICES: [&str; 3] = [
    client_service_server::SERVICE_NAME,
    controller_service_server::SERVICE_NAME,
    router_service_server::SERVICE_NAME,
];
/// Watch streams: anybody may open them, and a lab has a few monitors.
const MAX_WATCHES: usize = 64;
/// Calls at once: no request takes more than [`MAX_MESSAGE`], so that all of them take some 16 MiB.
const MAX_CALLS: usize = 4096;
/// How late a Watch tells that the state cannot be kept any more. The end is told at once.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The service. Clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct LabHealth {
    engine: Engine,
    /// Cancelled when the end begins.
    ending: CancellationToken,
    watches: Arc<Semaphore>,
    calls: Arc<Semaphore>,
}

impl LabHealth {
    pub(super) fn new(engine: Engine, ending: CancellationToken) -> Self {
        Self {
            engine,
            ending,
            watches: Arc::new(Semaphore::new(MAX_WATCHES)),
            calls: Arc::new(Semaphore::new(MAX_CALLS)),
        }
    }

    pub(super) fn service(&self) -> Open<HealthServer<Self>> {
        let server = HealthServer::new(self.clone()).max_decoding_message_size(MAX_MESSAGE);
        Open::new(server, Arc::clone(&self.calls), ARRIVAL)
    }

    fn now(&self) -> ServingStatus {
        if self.ending.is_cancelled() || self.engine.poisoned().is_some() {
            return ServingStatus::NotServing;
        }
        ServingStatus::Serving
    }
}

fn is_known(service: &str) -> bool {
    service.is_empty() || SERVICES.contains(&service)
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

#[tonic::async_trait]
impl Health for LabHealth {
    type WatchStream = Answers<HealthCheckResponse>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !is_known(&request.get_ref().service) {
            return Err(Status::not_found("service not registered"));
        }
        Ok(Response::new(response(self.now())))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let place = Arc::clone(&self.watches).try_acquire_owned();
        let place = place.map_err(|_| {
            Status::resource_exhausted(format!("{MAX_WATCHES} calls watch already: use Check"))
        })?;
        let watch = Watch {
            health: self.clone(),
            known: is_known(&request.get_ref().service),
            told: None,
            _place: place,
        };
        let answers = stream::unfold(watch, |mut watch| async move {
            let status = watch.next().await;
            Some((Ok(response(status)), watch))
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

/// One stream; it is for the peer to end it.
struct Watch {
    health: LabHealth,
    known: bool,
    told: Option<ServingStatus>,
    _place: OwnedSemaphorePermit,
}

impl Watch {
    /// The status, once it is another one than what was told.
    async fn next(&mut self) -> ServingStatus {
        loop {
            let now = match self.known {
                true => self.health.now(),
                false => ServingStatus::ServiceUnknown,
            };
            if self.told.replace(now) != Some(now) {
                return now;
            }
            let ending = &self.health.ending;
            // cancel-safe: both only wait.
            tokio::select! {
                () = ending.cancelled(), if !ending.is_cancelled() => {}
                () = sleep(LOOK_EVERY) => {}
            }
        }
    }
}
