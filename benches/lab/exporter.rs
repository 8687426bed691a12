//! An exporter without devices: it registers, follows its Status stream, and answers every call
//! through a tunnel with an echo.

use std::{io, sync::Arc};

use rigd_proto::v1::{
    DriverInstanceReport, ExporterStatus, ListenRequest, ListenResponse, RegisterRequest,
    ReportStatusRequest, StatusRequest, StatusResponse,
    controller_service_client::ControllerServiceClient,
    exporter_service_server::ExporterServiceServer, router_service_client::RouterServiceClient,
    router_service_server::RouterServiceServer,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Streaming, transport::Server};
use uuid::Uuid;

use crate::{
    Failure,
    connection::{CONNECTION_WINDOW, Credentials, Known, STREAM_WINDOW, connect},
    echo_server::Echo,
    frames::{QUEUE, Tunnel},
    site::Site,
};

/// What a small board has: a composite, power, console, storage, video.
const DEVICES: [&str; 5] = ["", "power", "serial", "storage", "video"];

/// A place in the lab, taken until this is dropped.
pub(crate) struct Exporter {
    _following: AbortOnDropHandle<()>,
}

/// Where exporters say why they gave up. One reason is enough.
pub(crate) type Troubles = mpsc::Sender<String>;

struct Link {
    site: Arc<Site>,
    controller: ControllerServiceClient<Known>,
}

impl Exporter {
    /// Ends when it can be leased.
    pub(crate) async fn join(
        site: Arc<Site>,
        who: Credentials,
        troubles: Troubles,
    ) -> Result<Self, Failure> {
        let name = who.name.clone();
        let channel = connect(&site.endpoint, &site.ca).await?;
        let controller = ControllerServiceClient::with_interceptor(channel, who);
        let mut link = Link { site, controller };
        let request = RegisterRequest {
            reports: devices(),
            ..RegisterRequest::default()
        };
        link.controller.register(request).await?;
        link.report(ExporterStatus::Available).await?;
        let status = link.controller.status(StatusRequest {}).await?;
        let mut status = status.into_inner();
        // Once it is told that nobody holds it, the controller counts it as there.
        status.message().await?.ok_or("Status ended at once")?;
        let following = tokio::spawn(async move {
            if let Err(failure) = link.follow(status).await {
                troubles.try_send(format!("{name}: {failure}")).ok();
            }
        });
        Ok(Self {
            _following: AbortOnDropHandle::new(following),
        })
    }
}

impl Link {
    async fn report(&mut self, status: ExporterStatus) -> Result<(), Failure> {
        let report = ReportStatusRequest {
            status: status.into(),
            message: Some(status.as_str_name().to_owned()),
            ..ReportStatusRequest::default()
        };
        self.controller.report_status(report).await?;
        Ok(())
    }

    async fn follow(&mut self, mut status: Streaming<StatusResponse>) -> Result<(), Failure> {
        let mut serving = None;
        while let Some(told) = status.message().await? {
            match told.lease_name.filter(|_| told.leased) {
                Some(lease_name) => {
                    let dials = self.controller.listen(ListenRequest { lease_name }).await?;
                    let serve = serve(Arc::clone(&self.site), dials.into_inner());
                    serving = Some(AbortOnDropHandle::new(tokio::spawn(serve)));
                    self.report(ExporterStatus::LeaseReady).await?;
                }
                None if serving.take().is_some() => {
                    self.report(ExporterStatus::Available).await?;
                }
                None => {}
            }
        }
        Err("the controller ended Status".into())
    }
}

/// Answers what comes through the tunnels of one lease. Failures show at the client, which waits.
async fn serve(site: Arc<Site>, mut dials: Streaming<ListenResponse>) {
    let (incoming, connections) = mpsc::channel(QUEUE);
    let server = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .add_service(ExporterServiceServer::new(Echo))
        .add_service(RouterServiceServer::new(Echo))
        .serve_with_incoming(ReceiverStream::new(connections));
    let dialling = async {
        while let Ok(Some(dial)) = dials.message().await {
            let Ok(tunnel) = tunnel(&site, dial).await else {
                continue;
            };
            if incoming.send(Ok::<_, io::Error>(tunnel)).await.is_err() {
                break;
            }
        }
    };
    // cancel-safe: whichever ends, both are over.
    tokio::select! {
        _ = server => {}
        () = dialling => {}
    }
}

async fn tunnel(site: &Site, dial: ListenResponse) -> Result<Tunnel, Failure> {
    let router = connect(&dial.router_endpoint, &site.ca).await?;
    let router = RouterServiceClient::new(router);
    Ok(Tunnel::through(router, &dial.router_token)?)
}

fn devices() -> Vec<DriverInstanceReport> {
    let root = Uuid::new_v4().to_string();
    let device = |name: &&str| DriverInstanceReport {
        uuid: match *name {
            "" => root.clone(),
            _ => Uuid::new_v4().to_string(),
        },
        parent_uuid: (!name.is_empty()).then(|| root.clone()),
        labels: [
            (
                "jumpstarter.dev/client",
                "jumpstarter_driver_network.client",
            ),
            ("jumpstarter.dev/name", *name),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into(),
        ..DriverInstanceReport::default()
    };
    DEVICES.iter().map(device).collect()
}
