//! Connections to the lab, and what every call of a peer carries.

use std::time::Duration;

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use crate::{Failure, site::NAMESPACE};

/// Those of the controller, so that neither side of a comparison has others.
pub(crate) const STREAM_WINDOW: u32 = 512 * 1024;
/// See [`STREAM_WINDOW`].
pub(crate) const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;
/// See [`STREAM_WINDOW`].
pub(crate) const MAX_FRAME: u32 = 128 * 1024;
/// Of a machine that has more to do than it can.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);

/// Says who calls.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    pairs: [(&'static str, MetadataValue<Ascii>); 4],
    pub(crate) name: String,
}

/// A peer's connection to the services of a lab.
pub(crate) type Known = InterceptedService<Channel, Credentials>;

impl Credentials {
    pub(crate) fn new(kind: &str, name: &str, token: &str) -> Result<Self, Failure> {
        Ok(Self {
            pairs: [
                ("authorization", format!("Bearer {token}").parse()?),
                ("jumpstarter-kind", kind.parse()?),
                ("jumpstarter-namespace", NAMESPACE.parse()?),
                ("jumpstarter-name", name.parse()?),
            ],
            name: name.to_owned(),
        })
    }
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        for (key, value) in &self.pairs {
            request.metadata_mut().insert(*key, value.clone());
        }
        Ok(request)
    }
}

/// A connection of its own over TLS, with a full handshake.
pub(crate) async fn connect(endpoint: &str, ca: &str) -> Result<Channel, Failure> {
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
    let endpoint = windows(Endpoint::from_shared(format!("https://{endpoint}"))?)
        .tls_config(tls)?
        .connect_timeout(CONNECT_LIMIT);
    Ok(endpoint.connect().await?)
}

pub(crate) fn windows(endpoint: Endpoint) -> Endpoint {
    endpoint
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
}
