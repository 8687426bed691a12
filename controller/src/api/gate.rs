//! The gate of a service: of whom a call is, is found out before anything of its body is read.
//!
//! ```text
//!   headers ── caller ──not good──> status; the body is never read
//!                │ good
//!                └──> body, which must arrive in time ──> handler
//! ```
//!
//! A server reads a request of one message whole before it calls the handler: without the gate,
//! strangers could have it keep as much as they like.

use std::{
    convert::Infallible,
    fmt,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use tonic::{
    Request, Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
    metadata::MetadataMap,
    server::NamedService,
};

use super::{
    caller::{self, For},
    timely::{ARRIVAL, Timely},
};
use crate::{auth::FailedLogins, engine::Engine};

/// A service, and who may call it.
#[derive(Clone)]
pub struct Gate<S> {
    service: S,
    engine: Engine,
    failed: Arc<Mutex<FailedLogins>>,
    /// For whom the call of that path is. Of a service that has no such call, nothing is asked: it
    /// answers without a look at the request.
    wanted: fn(&str) -> Option<For>,
}

impl<S> Gate<S> {
    pub(super) fn new(
        service: S,
        engine: Engine,
        failed: Arc<Mutex<FailedLogins>>,
        wanted: fn(&str) -> Option<For>,
    ) -> Self {
        Self {
            service,
            engine,
            failed,
            wanted,
        }
    }

    #[allow(clippy::result_large_err, reason = "as tonic's own handlers")]
    fn check(&self, parts: &mut http::request::Parts) -> Result<(), Status> {
        let Some(wanted) = (self.wanted)(parts.uri.path()) else {
            return Ok(());
        };
        let metadata = MetadataMap::from_headers(std::mem::take(&mut parts.headers));
        let extensions = std::mem::take(&mut parts.extensions);
        let mut request = Request::from_parts(metadata, extensions, ());
        let checked = caller::admit(&self.engine, &self.failed, &mut request, wanted);
        let (metadata, extensions, ()) = request.into_parts();
        parts.headers = metadata.into_headers();
        parts.extensions = extensions;
        checked
    }
}

impl<S: fmt::Debug> fmt::Debug for Gate<S> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Gate").field(&self.service).finish()
    }
}

impl<S: NamedService> NamedService for Gate<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Gate<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let fresh = self.clone();
        // That which was ready.
        let mut gate = std::mem::replace(self, fresh);
        // In the task of the call: signatures take longer than other calls of the connection can wait.
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            if let Err(status) = gate.check(&mut parts) {
                return Ok(status.into_http());
            }
            let body = Timely::body(body, ARRIVAL);
            let request = http::Request::from_parts(parts, body);
            gate.service.call(request).await
        })
    }
}
