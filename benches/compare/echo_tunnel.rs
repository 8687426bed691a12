//! The bare echo at the end of a tunnel: a tonic server inside the frames of a router's stream, with
//! nothing around it that is not needed. It runs as a process of its own, as the exporters do.

use std::{fs, io, path::Path, process::Command};

use rigd_proto::v1::{
    ListenRequest, ListenResponse, controller_service_client::ControllerServiceClient,
    exporter_service_server::ExporterServiceServer, router_service_client::RouterServiceClient,
    router_service_server::RouterServiceServer,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Server},
};

use crate::{
    Failure,
    echo_server::{Echo, runtime},
    frames::{QUEUE, Tunnel},
    lab::{Lab, NAMESPACE},
};

/// Makes the benchmark's own program such a server.
pub(crate) const FLAG: &str = "--echo-tunnel";

/// Windows that never are what is measured.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

/// Adds the arguments of a server for one lease of the lab's exporter `name`.
pub(crate) fn arguments(
    command: &mut Command,
    dir: &Path,
    lab: &Lab,
    name: &str,
    lease: &str,
) -> Result<(), Failure> {
    let ca = dir.join("ca.pem");
    fs::write(&ca, lab.ca_pem())?;
    command.arg(FLAG).arg(ca).arg(lab.endpoint());
    command.args([name, &lab.exporter_token(name), lease]);
    Ok(())
}

/// Serves the lease until it is killed.
pub(crate) fn serve(arguments: &[String]) -> Result<(), Failure> {
    let [ca, endpoint, name, token, lease] = arguments else {
        return Err(format!("{FLAG} CA ENDPOINT NAME TOKEN LEASE").into());
    };
    let ca = fs::read_to_string(ca)?;
    runtime()?.block_on(async {
        let mut request = Request::new(ListenRequest {
            lease_name: lease.clone(),
        });
        for (key, value) in [
            ("authorization", &*format!("Bearer {token}")),
            ("jumpstarter-kind", "Exporter"),
            ("jumpstarter-namespace", NAMESPACE),
            ("jumpstarter-name", name),
        ] {
            request.metadata_mut().insert(key, value.parse()?);
        }
        let mut controller = ControllerServiceClient::new(connect(endpoint, &ca).await?);
        let mut dials = controller.listen(request).await?.into_inner();
        let (incoming, connections) = mpsc::channel(QUEUE);
        let server = Server::builder()
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .add_service(ExporterServiceServer::new(Echo))
            .add_service(RouterServiceServer::new(Echo))
            .serve_with_incoming(ReceiverStream::new(connections));
        let serving = async { server.await.map_err(Failure::from) };
        let dialling = async {
            while let Some(dial) = dials.message().await? {
                incoming
                    .send(Ok::<_, io::Error>(tunnel(dial, &ca).await?))
                    .await?;
            }
            Err::<(), Failure>("the controller ended the lease".into())
        };
        tokio::try_join!(serving, dialling).map(drop)
    })
}

async fn connect(endpoint: &str, ca: &str) -> Result<Channel, Failure> {
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
    let endpoint = Endpoint::from_shared(format!("https://{endpoint}"))?
        .tls_config(tls)?
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    Ok(endpoint.connect().await?)
}

async fn tunnel(dial: ListenResponse, ca: &str) -> Result<Tunnel, Failure> {
    let router = RouterServiceClient::new(connect(&dial.router_endpoint, ca).await?);
    Ok(Tunnel::through(router, &dial.router_token)?)
}
