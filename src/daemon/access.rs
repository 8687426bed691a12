//! How clients come to an exporter: by sockets of its own, or by leases of its controller.

use std::path::Path;

use anyhow::Context;

use super::sockets::{Flags, Sockets};
use crate::{
    cli::Failure,
    config::{Diagnostics, Endpoint, EndpointError, ExporterConfig, Problem},
    control,
    exporter::Way,
    link::{Dialer, Identity},
    os::paths,
};

/// The way to an exporter, as far as it is known before anything is opened.
#[derive(Debug, Clone)]
pub(crate) enum Access {
    /// Sockets, not bound yet.
    Sockets(Sockets),
    /// A controller.
    Controller(Endpoint, Dialer, Identity),
}

impl Access {
    /// Flags before the file's `listen`, then its controller, and a socket in the runtime directory
    /// without any of them.
    ///
    /// # Errors
    /// The configuration says too little, or a socket has nowhere to be.
    pub(super) fn of(
        flags: &Flags,
        config: &ExporterConfig,
        runtime_dir: &Path,
    ) -> Result<Self, Failure> {
        let name = &config.metadata.name;
        let direct = flags.direct() || config.listen.is_some();
        if let (true, Some(endpoint)) = (direct, &config.endpoint) {
            tracing::warn!(
                exporter = name,
                %endpoint,
                "Serving directly: no controller is used."
            );
        }
        if flags.direct() {
            return Ok(Self::Sockets(Sockets::of_flags(flags)));
        }
        if let Some(listen) = &config.listen {
            return Ok(Self::Sockets(Sockets::of_file(listen)));
        }
        if let Some(endpoint) = &config.endpoint {
            return Self::controller(endpoint, config);
        }
        if paths::component(name) == control::SOCKET.trim_end_matches(".sock") {
            return Err(Failure::usage(format!(
                "exporter `{name}` needs a socket of another name, which is that of the daemon: \
                 give it `listen: {{unix: PATH}}` or another `metadata.name`"
            )));
        }
        paths::make_private(runtime_dir)
            .with_context(|| format!("cannot use the runtime directory {}", runtime_dir.display()))
            .map_err(Failure::Runtime)?;
        Ok(Self::Sockets(Sockets::in_runtime_dir(name, runtime_dir)))
    }

    /// Whether the file says all that its way needs, without opening anything.
    ///
    /// # Errors
    /// As [`Access::of`].
    pub(crate) fn check(config: &ExporterConfig) -> Result<(), Failure> {
        match (&config.listen, &config.endpoint) {
            (None, Some(endpoint)) => Self::controller(endpoint, config).map(drop),
            _ => Ok(()),
        }
    }

    fn controller(endpoint: &str, config: &ExporterConfig) -> Result<Self, Failure> {
        let env = |name: &str| std::env::var(name).ok();
        let wrong = |text: String| {
            let problem = Problem::new(text, config.metadata.span);
            Failure::Config(vec![Diagnostics::new(config.source.clone(), vec![problem])])
        };
        let endpoint: Endpoint = endpoint
            .parse()
            .map_err(|error: EndpointError| wrong(error.to_string()))?;
        let dialer = Dialer::new(config, &env).map_err(|error| wrong(error.to_string()))?;
        let identity = Identity::new(config, &env).map_err(|error| wrong(error.to_string()))?;
        Ok(Self::Controller(endpoint, dialer, identity))
    }

    /// Whether people hold it, rather than leases.
    pub(super) fn is_direct(&self) -> bool {
        matches!(self, Self::Sockets(_))
    }

    /// Binds its sockets, when it has any.
    ///
    /// # Errors
    /// As [`Sockets::bind`].
    pub(super) async fn open(&self) -> Result<Way, Failure> {
        match self.clone() {
            Self::Sockets(sockets) => Ok(Way::Sockets(sockets.bind().await?, sockets.told())),
            Self::Controller(endpoint, dialer, identity) => {
                Ok(Way::Controller(endpoint, dialer, identity))
            }
        }
    }
}
