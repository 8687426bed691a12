//! How clients come to an exporter: by sockets of its own, or by leases of its controller.

use super::sockets::{Flags, Sockets};
use crate::{
    cli::Failure,
    config::{Diagnostics, Endpoint, EndpointError, ExporterConfig, Problem},
    embedded::{self, Lab},
    exporter::Way,
    link::{Dialer, Identity},
};

/// The way to an exporter, as far as it is known before anything is opened.
#[derive(Debug, Clone)]
pub(crate) enum Access {
    /// Sockets, not bound yet.
    Sockets(Sockets),
    /// A controller.
    Controller(Endpoint, Dialer, Identity),
    /// The controller of this process, as the exporter finds it when it starts.
    Own(Lab),
}

impl Access {
    /// Whether it is the controller of this process that leases the exporter: neither flags nor its
    /// file say anything else.
    pub(super) fn is_own(flags: &Flags, config: &ExporterConfig) -> bool {
        !flags.direct() && config.listen.is_none() && config.endpoint.is_none()
    }

    /// Flags before the file's `listen`, then its controller, and `lab` without any of them.
    ///
    /// # Errors
    /// The configuration says too little or the wrong thing.
    pub(super) fn of(
        flags: &Flags,
        config: &ExporterConfig,
        lab: Option<&Lab>,
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
        let lab = lab.cloned().ok_or_else(|| {
            let text = format!("exporter {name} has no controller: the embedded one does not run");
            Failure::Runtime(anyhow::Error::msg(text))
        })?;
        Self::fits(config, lab.engine.namespace())?;
        Ok(Self::Own(lab))
    }

    /// Whether the file says all that its way needs, without opening anything; `namespace` is that of
    /// the embedded controller.
    ///
    /// # Errors
    /// As [`Access::of`].
    pub(crate) fn check(config: &ExporterConfig, namespace: &str) -> Result<(), Failure> {
        match (&config.listen, &config.endpoint) {
            (None, Some(endpoint)) => Self::controller(endpoint, config).map(drop),
            (None, None) => Self::fits(config, namespace),
            (Some(_), _) => Ok(()),
        }
    }

    fn fits(config: &ExporterConfig, namespace: &str) -> Result<(), Failure> {
        let problems = embedded::check(config, namespace);
        match problems.is_empty() {
            true => Ok(()),
            false => Err(Failure::Config(vec![Diagnostics::new(
                config.source.clone(),
                problems,
            )])),
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

    /// Whether it is leased by the controller of this process.
    pub(super) fn is_own_lab(&self) -> bool {
        matches!(self, Self::Own(_))
    }

    /// Binds its sockets, when it has any.
    ///
    /// # Errors
    /// As [`Sockets::bind`].
    pub(super) async fn open(&self, config: &ExporterConfig) -> Result<Way, Failure> {
        match self.clone() {
            Self::Sockets(sockets) => Ok(Way::Sockets(sockets.bind().await?, sockets.told())),
            Self::Controller(endpoint, dialer, identity) => {
                Ok(Way::Controller(endpoint, dialer, identity))
            }
            Self::Own(lab) => {
                let seat = lab.seat(config);
                let seat = seat.map_err(|error| Failure::Runtime(error.into()))?;
                Ok(Way::Controller(seat.endpoint, seat.dialer, seat.identity))
            }
        }
    }
}
