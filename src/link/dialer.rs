//! How an exporter reaches its controller, routers and telemetry: one set of trust and options for
//! all of them, as the configuration says.

use std::{
    fmt,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use http::uri::{Scheme, Uri};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint as Http};
use tower::Service;

use super::{
    connect::{ConnectError, Io, Limits, Phase, connect},
    options::ChannelOptions,
    trust::Trust,
};
use crate::{
    config::{CaError, Endpoint, ExporterConfig, origin},
    os::paths::Env,
    transport::killable::Killable,
};

/// Stands where tonic wants an address; only our connectors know where to.
const NOWHERE: &str = "http://endpoint.invalid";

/// Makes connections. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Dialer(Arc<Inner>);

struct Inner {
    trust: Trust,
    options: ChannelOptions,
    limits: Limits,
    /// Where all connections go, whatever the endpoint's name stands for.
    via: Option<SocketAddr>,
    /// Made at the first connection, since the system's roots are read for it.
    tls: OnceCell<Option<Arc<ClientConfig>>>,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialer")
    }
}

impl Dialer {
    /// Reads `tls` and `grpcOptions`; `env` may say that any certificate will do.
    ///
    /// # Errors
    /// `tls.ca` is unusable; a loaded configuration was checked for that.
    pub(crate) fn new(config: &ExporterConfig, env: Env<'_>) -> Result<Self, CaError> {
        let trust = Trust::new(&config.tls, env)?;
        let options = ChannelOptions::new(&config.grpc_options);
        Ok(Self::with(trust, options, Limits::default(), None))
    }

    /// Reaches the controller of this process, whose certificate authority is `ca` (PEM), and its
    /// router: they are at `near`, whatever name they are handed out by.
    ///
    /// # Errors
    /// There is no certificate in `ca` that can be used.
    pub(crate) fn to_own(
        config: &ExporterConfig,
        ca: &str,
        near: SocketAddr,
    ) -> Result<Self, CaError> {
        let options = ChannelOptions::new(&config.grpc_options);
        let trust = Trust::pem(ca)?;
        Ok(Self::with(trust, options, Limits::default(), Some(near)))
    }

    fn with(
        trust: Trust,
        options: ChannelOptions,
        limits: Limits,
        via: Option<SocketAddr>,
    ) -> Self {
        Dialer(Arc::new(Inner {
            trust,
            options,
            limits,
            via,
            tls: OnceCell::new(),
        }))
    }

    /// The same with shorter waits.
    #[cfg(test)]
    pub(crate) fn with_limits(&self, limits: Limits) -> Self {
        let Inner { trust, options, .. } = &*self.0;
        Self::with(trust.clone(), options.clone(), limits, self.0.via)
    }

    fn with_trust(&self, trust: Trust) -> Self {
        Self::with(trust, self.0.options.clone(), self.0.limits, self.0.via)
    }

    /// The same for servers of another certificate authority, PEM.
    ///
    /// # Errors
    /// There is no certificate in it that can be used.
    pub(crate) fn with_ca(&self, pem: &str) -> Result<Self, CaError> {
        Ok(self.with_trust(Trust::pem(pem)?))
    }

    /// The same for a telemetry service, of which the controller gives the CA (PEM, maybe empty). As
    /// upstream: without a CA `tls.insecure` means plain text, and else the system's roots count.
    ///
    /// # Errors
    /// There is no certificate in the CA that can be used.
    pub(crate) fn for_telemetry(&self, ca: &str) -> Result<Self, CaError> {
        if !ca.is_empty() {
            return self.with_ca(ca);
        }
        Ok(self.with_trust(match &self.0.trust {
            Trust::Any | Trust::Plain => Trust::Plain,
            Trust::System | Trust::Bundle(_) => Trust::System,
        }))
    }

    /// The options, for message limits and for warnings that are to be told once.
    pub(crate) fn options(&self) -> &ChannelOptions {
        &self.0.options
    }

    /// A channel that connects with the first call, and again with the first call after a loss. Calls
    /// fail at once with what the attempt met ([`cause`](super::answer::cause) tells it); waiting is up
    /// to the caller.
    pub(crate) fn channel(&self, endpoint: &Endpoint) -> Channel {
        let (dialer, to) = (self.clone(), endpoint.clone());
        let connector = Connector(move || {
            let (dialer, to) = (dialer.clone(), to.clone());
            async move { dialer.open(&to).await }
        });
        let http = self.0.options.apply(self.http(endpoint));
        http.connect_with_connector_lazy(connector)
    }

    /// One connection for one tunnel, made now and never again: whoever tunnels over it must learn
    /// that it was lost. It fails once `cut` is cancelled: dropping the channel does not end a
    /// connection whose server no longer reads. Cancel-safe.
    ///
    /// # Errors
    /// The phase that failed, and why.
    pub(crate) async fn connect(
        &self,
        endpoint: &Endpoint,
        cut: CancellationToken,
    ) -> Result<Channel, ConnectError> {
        let io = Killable::new(self.open(endpoint).await?, cut, ());
        let io: Mutex<Option<Box<dyn Io>>> = Mutex::new(Some(Box::new(io)));
        let to = endpoint.clone();
        let connector = Connector(move || {
            let io = io.lock().ok().and_then(|mut io| io.take());
            let lost = || ConnectError::new(Phase::Http, &to, "the connection was lost");
            std::future::ready(io.ok_or_else(lost))
        });
        let http = self.0.options.apply_to_tunnel(self.http(endpoint));
        let channel = http.connect_with_connector(connector).await;
        channel.map_err(|error| {
            let reason = super::answer::chain(&error);
            ConnectError::new(Phase::Http, endpoint, reason)
        })
    }

    fn http(&self, endpoint: &Endpoint) -> Http {
        let scheme = match self.0.trust {
            Trust::Plain => Scheme::HTTP,
            _ => Scheme::HTTPS,
        };
        let options = &self.0.options;
        let origin = match &options.authority {
            Some(authority) => origin(scheme, authority.clone()),
            None => endpoint.origin(scheme),
        };
        Http::from_static(NOWHERE).origin(origin)
    }

    async fn open(&self, endpoint: &Endpoint) -> Result<Box<dyn Io>, ConnectError> {
        let tls = match self.tls(endpoint).await? {
            Some(config) => Some((config, self.server_name(endpoint)?)),
            None => None,
        };
        connect(endpoint, self.0.via, tls, self.0.limits).await
    }

    async fn tls(&self, endpoint: &Endpoint) -> Result<Option<Arc<ClientConfig>>, ConnectError> {
        let failed = |reason: String| ConnectError::new(Phase::Tls, endpoint, reason);
        let make = || async {
            let trust = self.0.trust.clone();
            let made = tokio::task::spawn_blocking(move || trust.client_config()).await;
            // It can only be cut off by the end of the runtime.
            let made = made.map_err(|error| failed(error.to_string()))?;
            made.map_err(|error| ConnectError {
                untrusted: true,
                ..failed(error.to_string())
            })
        };
        self.0.tls.get_or_try_init(make).await.cloned()
    }

    fn server_name(&self, endpoint: &Endpoint) -> Result<ServerName<'static>, ConnectError> {
        if let Some(name) = &self.0.options.server_name {
            return Ok(name.clone());
        }
        let host = endpoint.host();
        ServerName::try_from(host.to_owned()).map_err(|_| {
            let reason = format!("`{host}` is no name that a certificate could hold");
            ConnectError::new(Phase::Tls, endpoint, reason)
        })
    }
}

/// Connects when tonic asks for it.
struct Connector<F>(F);

type Connecting = Pin<Box<dyn Future<Output = Result<TokioIo<Box<dyn Io>>, ConnectError>> + Send>>;

impl<F, C> Service<Uri> for Connector<F>
where
    F: FnMut() -> C,
    C: Future<Output = Result<Box<dyn Io>, ConnectError>> + Send + 'static,
{
    type Response = TokioIo<Box<dyn Io>>;
    type Error = ConnectError;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Connecting {
        let connecting = (self.0)();
        Box::pin(async move { connecting.await.map(TokioIo::new) })
    }
}

#[cfg(test)]
mod tests;
