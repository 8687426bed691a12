//! The control socket: what people on the lab host can ask the daemon.
//!
//! ```text
//!   rigd status, call, … ─> client ─> control.sock ─┬─> service ─> handle of each exporter
//!   rigd controller …                               └─> controller ─> the lab, if one runs here
//! ```
//!
//! Who may open the socket may do all of it: the mode of the file is the only check. It never
//! touches an instance itself: each question goes to the exporter's own task, and one that hangs
//! costs the asker a short wait and the others nothing.

mod access;
mod answers;
pub(crate) mod client;
pub(crate) mod controller;
mod flash;
mod service;
#[cfg(test)]
mod tests;

use std::{path::Path, time::Duration};

use rigd_proto::control::v1::control_server::ControlServer;
use tokio::sync::watch;
use tonic::service::Routes;

use crate::{
    daemon::handle::{Exporters, Reload},
    embedded::Lab,
    transport::{
        self, Shutdown,
        unix::{BindError, Listener},
    },
};

/// Name of the socket in the runtime directory.
pub(crate) const SOCKET: &str = "control.sock";
/// The group whose members may use the socket.
pub(crate) const GROUP: &str = "rigd";
/// Largest request: an image's block map of the largest size that is read, with what is beside it.
const MAX_REQUEST: usize = rigd_flash::MAX_MAP as usize + 64 * 1024;
/// How long a command under way may go on once the daemon stops serving it: the exporters have
/// stopped by then, and nothing can come any more.
const GRACE: Duration = Duration::from_millis(500);

/// Binds the control socket, for its owner and `group`; without such a group, or without the right
/// to hand the file to it, for the owner's group. Its directory must be there. The file is removed
/// when the listener, or what serves it, is dropped.
///
/// # Errors
/// Somebody answers there ([`BindError::InUse`]), something else than a socket stands there, or the
/// system refuses.
pub(crate) async fn bind(socket: &Path, group: Option<&str>) -> Result<Listener, BindError> {
    let listener = Listener::bind(socket).await?;
    access::share(socket, group).map_err(|source| BindError::Io {
        path: socket.into(),
        source,
    })?;
    Ok(listener)
}

/// Serves the control socket until `shutdown` begins and at most half a second longer. `lab` is the
/// embedded controller, while one runs.
///
/// # Errors
/// Only what the HTTP/2 server itself cannot be set up with.
pub(crate) async fn serve(
    listener: Listener,
    exporters: Exporters,
    lab: watch::Receiver<Option<Lab>>,
    reload: Reload,
    shutdown: Shutdown,
) -> Result<(), tonic::transport::Error> {
    let service = service::Service::new(exporters, lab.clone(), reload);
    let service = ControlServer::new(service).max_decoding_message_size(MAX_REQUEST);
    let place = controller::Place::Running(lab);
    let routes = Routes::new(service).add_service(controller::server(place));
    let incoming = listener.incoming(shutdown.cut.clone());
    transport::serve(routes, None, incoming, shutdown, GRACE).await
}
