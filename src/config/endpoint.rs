//! `endpoint:`, the address of a controller, of a router, or of where telemetry goes.

use std::fmt;
use std::str::FromStr;

use http::uri::{Authority, Scheme, Uri};

use super::listen::TcpAddress;

/// `HOST:PORT`, with IPv6 in brackets and without a scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    address: TcpAddress,
    authority: Authority,
}

/// A text is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EndpointError {
    message: String,
    /// What to write instead, where that can be told.
    pub help: Option<String>,
}

impl Endpoint {
    /// Name or address, without the brackets of IPv6.
    pub fn host(&self) -> &str {
        &self.address.host
    }

    /// From 1.
    pub fn port(&self) -> u16 {
        self.address.port
    }

    /// What HTTP/2 requests to it are addressed to.
    pub(crate) fn origin(&self, scheme: Scheme) -> Uri {
        origin(scheme, self.authority.clone())
    }
}

/// The root of a server.
pub(crate) fn origin(scheme: Scheme, authority: Authority) -> Uri {
    let uri = Uri::builder().scheme(scheme).authority(authority);
    // All three parts are there and valid, so that it cannot fail.
    uri.path_and_query("/").build().unwrap_or_default()
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |message: &str, help: Option<String>| EndpointError {
            message: message.to_owned(),
            help,
        };
        if let Some((scheme, rest)) = text.split_once("://") {
            let address = rest.trim_matches('/').split('/').next().unwrap_or_default();
            let help = match address.parse::<Endpoint>() {
                Ok(right) => Some(format!("write {right}")),
                Err(_) => Some("write HOST:PORT, such as controller.lab:8082".to_owned()),
            };
            let message = format!("expected HOST:PORT without a scheme, found `{scheme}://`");
            return Err(error(&message, help));
        }
        if let Some((host, _)) = text.split_once('/') {
            let help = host.parse::<Endpoint>().ok();
            let help = help.map(|right| format!("write {right}"));
            return Err(error("expected HOST:PORT without a path", help));
        }
        if !text.is_ascii() {
            let help = "write the name in its ASCII form (xn--…)".to_owned();
            let message = "a host name has ASCII characters only";
            return Err(error(message, Some(help)));
        }
        let address: TcpAddress = text.parse().map_err(|_| refused(text))?;
        // Nobody could be asked for such a name, and HTTP/2 cannot carry it.
        let authority = Authority::try_from(address.to_string())
            .ok()
            .filter(|found| found.host().trim_matches(['[', ']']) == address.host);
        let message = "the host name holds a character that no name has";
        let authority = authority.ok_or_else(|| error(message, None))?;
        Ok(Endpoint { address, authority })
    }
}

/// What is wrong with the parts of an address.
fn refused(text: &str) -> EndpointError {
    let colons = text.matches(':').count();
    let (message, help) = match text.rsplit_once(':') {
        _ if text.contains(char::is_whitespace) => ("there is a blank in it", None),
        None if !text.is_empty() => {
            let example = format!("write for instance {text}:8082");
            ("the port is missing: expected HOST:PORT", Some(example))
        }
        Some(("", _)) => ("the host is missing: expected HOST:PORT", None),
        _ if text.ends_with(']') => {
            let example = format!("write for instance {text}:8082");
            (
                "the port is missing: expected [ADDRESS]:PORT",
                Some(example),
            )
        }
        _ if colons > 1 && !text.starts_with('[') => (
            "an IPv6 address stands in brackets",
            Some("write for instance [2001:db8::1]:8082".to_owned()),
        ),
        _ => ("expected HOST:PORT with a port from 1 to 65535", None),
    };
    EndpointError {
        message: message.to_owned(),
        help,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        for (text, host, port) in [
            ("ctl:8082", "ctl", 8082),
            ("grpc.lab_7.example:443", "grpc.lab_7.example", 443),
            ("10.0.0.1:1", "10.0.0.1", 1),
            ("[2001:db8::1]:65535", "2001:db8::1", 65535),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!((endpoint.host(), endpoint.port()), (host, port));
            assert_eq!(endpoint.to_string(), text);
            let origin = endpoint.origin(Scheme::HTTPS);
            assert_eq!(origin.authority().unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_is_wrong_and_what_to_write() {
        for (text, message, help) in [
            ("https://ctl:8082/", "`https://`", Some("write ctl:8082")),
            ("dns:///ctl:8082", "`dns://`", Some("write ctl:8082")),
            ("https://ctl", "`https://`", Some("write HOST:PORT, such")),
            ("ctl:8082/x", "without a path", Some("write ctl:8082")),
            ("ctl", "port is missing", Some("ctl:8082")),
            ("[::1]", "port is missing", Some("[::1]:8082")),
            (":8082", "host is missing", None),
            ("", "expected HOST:PORT", None),
            ("::1:8082", "in brackets", Some("[2001:db8::1]:8082")),
            ("ctl:0", "from 1 to 65535", None),
            ("ctl:grpc", "from 1 to 65535", None),
            ("ctl :8082", "blank", None),
            ("bücher:8082", "ASCII", Some("xn--")),
            ("me@ctl:8082", "no name has", None),
            ("c%l:8082", "no name has", None),
            ("c\u{7f}l:8082", "no name has", None),
        ] {
            let error = text.parse::<Endpoint>().expect_err(text);
            assert!(error.to_string().contains(message), "{text}: {error}");
            match (help, &error.help) {
                (None, None) => {}
                (Some(help), Some(found)) if found.contains(help) => {}
                (_, found) => panic!("{text}: {found:?}"),
            }
        }
    }
}
