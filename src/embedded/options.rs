//! How the controller is served: settings, and the flags that come before them.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rigd_controller::{certs::Source, names, resources::GoDuration};

use crate::{
    cli::Failure,
    config::{ControllerSettings, Endpoint, TcpAddress},
};

/// The namespace of a lab that says nothing else, as Kubernetes has it.
const NAMESPACE: &str = "default";
/// Shortest idle limit: a `j` command a minute keeps a lease.
const MIN_IDLE: Duration = Duration::from_secs(60);

/// How the controller is served.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The address that was asked for; loopback and a free port without.
    pub(super) listen: Option<TcpAddress>,
    /// Names under which it is reached, the first one to be handed out; ports where they differ.
    pub(super) advertise: Vec<Name>,
    /// The namespace of the lab.
    pub(crate) namespace: String,
    given: Option<(PathBuf, PathBuf, Option<PathBuf>)>,
    /// Leases without a tunnel for so long end.
    pub(super) idle: Option<Duration>,
}

/// A name under which the controller is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) host: String,
    /// Where it is not the port that is listened on: somebody forwards.
    pub(super) port: Option<u16>,
}

impl Options {
    /// Checks the settings.
    ///
    /// # Errors
    /// A value is none of its kind, or a part is missing; names it.
    pub(crate) fn new(settings: &ControllerSettings) -> Result<Self, Failure> {
        let wrong = |text: String| Failure::usage(format!("embedded controller: {text}"));
        let namespace = settings.namespace.as_deref().unwrap_or(NAMESPACE);
        names::check(namespace).map_err(|error| wrong(format!("namespace: {error}")))?;
        let given = match (&settings.cert, &settings.key, &settings.ca) {
            (Some(cert), Some(key), ca) => Some((cert.clone(), key.clone(), ca.clone())),
            (None, None, None) => None,
            (Some(_), None, _) => return Err(wrong("cert needs key".into())),
            (None, Some(_), _) => return Err(wrong("key needs cert".into())),
            (None, None, Some(_)) => return Err(wrong("ca needs cert and key".into())),
        };
        let advertise = settings.advertise.iter().map(|text| {
            Name::parse(text).ok_or_else(|| {
                wrong(format!(
                    "advertise: `{text}` is no NAME and no NAME:PORT, such as lab.example or \
                     lab.example:8082"
                ))
            })
        });
        let idle = settings.idle_limit.as_deref().map(|text| {
            let limit: GoDuration = text.parse().map_err(|error| {
                wrong(format!(
                    "idle_limit: {error}; write for instance 30m or 1h30m"
                ))
            })?;
            match limit.0 {
                limit if limit < MIN_IDLE => Err(wrong(format!(
                    "idle_limit: {text} is too short, the shortest is {}",
                    GoDuration(MIN_IDLE)
                ))),
                limit => Ok(limit),
            }
        });
        Ok(Self {
            listen: settings.listen.clone(),
            advertise: advertise.collect::<Result<_, _>>()?,
            namespace: namespace.to_owned(),
            given,
            idle: idle.transpose()?,
        })
    }

    /// Whether the certificate is one of the site.
    pub(super) fn gives_certificate(&self) -> bool {
        self.given.is_some()
    }

    /// Where the certificate comes from.
    pub(crate) fn certificate(&self, directory: &Path) -> Source {
        match self.given.clone() {
            Some((certificate, key, ca)) => Source::Given {
                certificate,
                key,
                ca,
            },
            None => {
                let advertised = self.advertise.iter().map(|name| name.host.clone());
                let listen = self.listen.iter().map(|listen| listen.host.clone());
                let any = |host: &String| host == "0.0.0.0" || host == "::";
                Source::Made {
                    directory: super::certificates(directory),
                    names: advertised.chain(listen.filter(|host| !any(host))).collect(),
                }
            }
        }
    }
}

impl Name {
    fn parse(text: &str) -> Option<Self> {
        if let Ok(endpoint) = text.parse::<Endpoint>() {
            return Some(Self {
                host: endpoint.host().to_owned(),
                port: Some(endpoint.port()),
            });
        }
        let bracketed = match text.parse() {
            Ok(std::net::IpAddr::V6(address)) => format!("[{address}]:1"),
            _ => format!("{text}:1"),
        };
        let endpoint: Endpoint = bracketed.parse().ok()?;
        Some(Self {
            host: endpoint.host().to_owned(),
            port: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(change: impl FnOnce(&mut ControllerSettings)) -> Result<Options, String> {
        let mut settings = ControllerSettings::default();
        change(&mut settings);
        Options::new(&settings).map_err(|failure| failure.text())
    }

    #[test]
    fn names_with_and_without_a_port() {
        let found = options(|settings| {
            settings.advertise = ["lab", "lab.example:9000", "::1", "[2001:db8::1]:1"]
                .map(str::to_owned)
                .into();
        });
        let found = found.unwrap().advertise;
        let found: Vec<_> = found
            .iter()
            .map(|name| (name.host.as_str(), name.port))
            .collect();
        let wanted = [
            ("lab", None),
            ("lab.example", Some(9000)),
            ("::1", None),
            ("2001:db8::1", Some(1)),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn what_is_wrong_is_named() {
        type Change = fn(&mut ControllerSettings);
        let cases: [(Change, &str); 6] = [
            (
                |s| s.advertise = vec!["https://lab".into()],
                "`https://lab`",
            ),
            (|s| s.advertise = vec![String::new()], "advertise: ``"),
            (|s| s.namespace = Some("My Lab".into()), "namespace: "),
            (|s| s.cert = Some("c.pem".into()), "cert needs key"),
            (|s| s.idle_limit = Some("5".into()), "idle_limit: `5`"),
            (|s| s.idle_limit = Some("5s".into()), "the shortest is 1m0s"),
        ];
        for (change, wanted) in cases {
            let text = options(change).unwrap_err();
            assert!(text.contains(wanted), "{text}");
        }
    }
}
