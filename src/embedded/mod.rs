//! The embedded controller: a lab without Kubernetes, inside this process.
//!
//! ```text
//!   Options ─> start: state locked, certificate, port bound, thread ─> Running
//!                                                                        │ Lab (clones)
//!   exporters without `endpoint` ─> seat ─> link, as to any controller <─┤
//!   control socket (administration), the lines to paste (ready)        <─┘
//! ```
//!
//! It has a thread of its own. Exporters of this process reach it as all others do, over TLS, only
//! that their connections take the short way: to the port, whatever name it is advertised by.

mod endpoint;
mod options;
mod own_client;
mod port;
mod ready;
mod seat;
mod start;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use rigd_controller::engine::Engine;

pub(crate) use endpoint::remembered;
pub(crate) use options::Options;
pub(crate) use own_client::{NAME as OWN_CLIENT, file as own_client_file};
pub(crate) use port::expected as expected_endpoint;
pub(crate) use ready::announce;
pub(crate) use seat::check;
pub(crate) use start::{Running, start};

/// The controller of this process, while it serves. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Lab {
    /// Owns exporters, clients and leases.
    pub(crate) engine: Engine,
    /// Where clients and exporters reach it: `HOST:PORT`.
    pub(crate) endpoint: String,
    /// What they are to trust: base64 of PEM, for `tls.ca`.
    pub(crate) ca: String,
    /// The same as PEM.
    ca_pem: Arc<str>,
    /// Its port, as this process reaches it.
    near: SocketAddr,
    /// The daemon's state directory, from the root on.
    state: PathBuf,
}

/// Where the controller keeps its things, below the daemon's state.
pub(crate) fn directory(state: &Path) -> PathBuf {
    state.join("controller")
}

/// Where its certificates are.
pub(crate) fn certificates(directory: &Path) -> PathBuf {
    directory.join("certificates")
}
