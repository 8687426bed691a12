//! Flags of the embedded controller, which come before its settings.

use std::path::PathBuf;

use crate::{
    cli::Failure,
    config::{ControllerSettings, TcpAddress},
    embedded::Options,
};

/// How the embedded controller is served.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Embedded controller")]
pub(crate) struct ControllerArgs {
    /// Address of the embedded controller. Without it: 127.0.0.1, port 8082 or the next free one.
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    controller_listen: Option<TcpAddress>,

    /// Name under which others reach the embedded controller, for its certificate; the first one is
    /// written into the files of clients and exporters. May be given several times.
    #[arg(long, value_name = "NAME[:PORT]")]
    advertise: Vec<String>,

    /// Namespace of the embedded controller's lab [default: default].
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,

    /// Certificate of the embedded controller in place of its own, PEM.
    #[arg(long, value_name = "FILE", requires = "controller_key")]
    controller_cert: Option<PathBuf>,

    /// Key of that certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "controller_cert")]
    controller_key: Option<PathBuf>,

    /// What clients are to trust for that certificate, PEM; without it the certificate itself.
    #[arg(long, value_name = "FILE", requires = "controller_cert")]
    controller_ca: Option<PathBuf>,

    /// End leases without an open connection after so long, e.g. 30m.
    #[arg(long, value_name = "TIME")]
    idle_limit: Option<String>,
}

fn address(text: &str) -> Result<TcpAddress, String> {
    text.parse().map_err(|error: &str| error.to_owned())
}

impl ControllerArgs {
    /// These before the settings.
    ///
    /// # Errors
    /// A value is none of its kind.
    pub(crate) fn over(&self, mut settings: ControllerSettings) -> Result<Options, Failure> {
        let flags = self.clone();
        settings.listen = flags.controller_listen.or(settings.listen);
        if !flags.advertise.is_empty() {
            settings.advertise = flags.advertise;
        }
        settings.namespace = flags.namespace.or(settings.namespace);
        if flags.controller_cert.is_some() {
            settings.cert = flags.controller_cert;
            settings.key = flags.controller_key;
            settings.ca = flags.controller_ca;
        }
        settings.idle_limit = flags.idle_limit.or(settings.idle_limit);
        Options::new(&settings)
    }
}
