//! Calls that everybody may make, without credentials: how many at once, and how long each may take to
//! say what it asks.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{
    Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::NamedService,
};

use crate::api::timely::Timely;

/// Longest message that is read of a stranger: the name of a service or of a symbol.
pub(super) const MAX_MESSAGE: usize = 4 * 1024;

/// A service for everybody.
#[derive(Debug, Clone)]
pub(super) struct Open<S> {
    service: S,
    places: Arc<Semaphore>,
    limit: Duration,
}

impl<S> Open<S> {
    /// As many calls at once as there are places; the request of each ends within the limit.
    pub(super) fn new(service: S, places: Arc<Semaphore>, limit: Duration) -> Self {
        Self {
            service,
            places,
            limit,
        }
    }
}

impl<S: NamedService> NamedService for Open<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Open<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let full = Status::resource_exhausted("too many such calls at once: try again later");
            return Box::pin(std::future::ready(Ok(full.into_http())));
        };
        let limit = self.limit;
        let answer = self
            .service
            .call(request.map(|body| Timely::body(body, limit)));
        Box::pin(async move {
            let answer = answer.await?;
            Ok(answer.map(|body| {
                Body::new(Held {
                    body,
                    _place: place,
                })
            }))
        })
    }
}

/// An answer that keeps its place for as long as it is sent.
#[derive(Debug)]
struct Held {
    body: Body,
    _place: OwnedSemaphorePermit,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
