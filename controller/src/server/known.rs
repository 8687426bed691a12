//! Calls that say who makes them in a way of their own: those of the router, whose tokens are of streams.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use tonic::{
    Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::NamedService,
};

use crate::api::caller::Link;

/// A service whose calls have good credentials when they do not fail at once.
#[derive(Debug, Clone)]
pub(super) struct Knows<S>(pub(super) S);

impl<S: NamedService> NamedService for Knows<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Knows<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let link = request.extensions().get::<Link>().cloned();
        let answer = self.0.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            // A call that fails at once has its status in the headers, and no other has.
            let failed = answer.headers().contains_key(Status::GRPC_STATUS);
            if let Some(link) = link.filter(|_| !failed) {
                link.know();
            }
            Ok(answer)
        })
    }
}
