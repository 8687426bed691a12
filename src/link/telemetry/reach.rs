//! How the log collection of a lab is reached: as the controller is, and as the same exporter.

use rigd_proto::v1::TelemetryEndpoint;
use tonic::{
    Status,
    metadata::{Ascii, MetadataMap, MetadataValue},
    transport::Channel,
};

use super::Access;
use crate::{
    config::Endpoint,
    link::{Dialer, Identity},
};

/// The way of an exporter with a controller.
pub(crate) struct Reach {
    /// How connections are made.
    pub(crate) dialer: Dialer,
    /// Whose token is shown.
    pub(crate) identity: Identity,
}

impl Access for Reach {
    async fn channel(&self, endpoint: &TelemetryEndpoint) -> Result<Channel, Status> {
        let unusable = |error: String| Status::invalid_argument(error);
        let address: Endpoint = endpoint
            .endpoint
            .parse()
            .map_err(|error: crate::config::EndpointError| unusable(error.to_string()))?;
        let dialer = self.dialer.for_telemetry(&endpoint.certificate);
        let dialer = dialer.map_err(|error| unusable(error.to_string()))?;
        Ok(dialer.channel(&address))
    }

    fn authorization(&self) -> Result<MetadataValue<Ascii>, Status> {
        let mut metadata = MetadataMap::new();
        let applied = self.identity.apply(&mut metadata);
        applied.map_err(|error| Status::unauthenticated(error.to_string()))?;
        let bearer = metadata.remove("authorization");
        bearer.ok_or_else(|| Status::unauthenticated("no token"))
    }
}
