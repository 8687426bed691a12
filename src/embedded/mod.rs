//! The embedded controller: a lab without Kubernetes, inside this process.

use rigd_controller::engine::Engine;

/// The controller of this process, while it serves. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Lab {
    /// Owns exporters, clients and leases.
    pub(crate) engine: Engine,
    /// Where clients and exporters reach it: `HOST:PORT`.
    pub(crate) endpoint: String,
    /// What they are to trust: base64 of PEM, for `tls.ca`.
    pub(crate) ca: String,
}
