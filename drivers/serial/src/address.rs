//! What `url` names: a device, a network peer or an echo.

use std::{path::PathBuf, sync::Arc};

use rigd_driver::ConfigError;

use crate::{
    tcp::TcpSource,
    tty::{Place, TtySource},
    wire::Source,
};

/// Schemes that upstream's library knows and this driver does not yet.
const NOT_YET: [&str; 5] = ["rfc2217", "spy", "hwgrep", "alt", "cp2110"];

/// Where the bytes of a console come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// `loop://`: each stream gets back what it sends.
    Loop,
    /// A tty or pty.
    Device(PathBuf),
    /// `socket://HOST:PORT`: raw bytes over TCP, as terminal servers offer them.
    Socket { host: String, port: u16 },
}

impl Address {
    pub(crate) fn parse(url: &str) -> Result<Self, ConfigError> {
        let wrong = |what: String| {
            let works = "a device path, loop:// and socket://HOST:PORT work";
            Err(ConfigError::new("url", format!("{what}; {works}")))
        };
        let Some((scheme, rest)) = url.split_once("://") else {
            return if url.starts_with('/') {
                Ok(Self::Device(url.into()))
            } else {
                wrong(format!("{url:?} is no absolute path of a device"))
            };
        };
        match scheme {
            "loop" => Ok(Self::Loop),
            "socket" => match socket(rest) {
                Some((host, port)) => Ok(Self::Socket { host, port }),
                None => wrong(format!("{url:?} has no host and port from 1 to 65535")),
            },
            scheme if NOT_YET.contains(&scheme) => wrong(format!("{scheme}:// does not work yet")),
            scheme => wrong(format!("{scheme}:// is not known")),
        }
    }
}

impl Address {
    /// Where the console opens its port; none for a loop. With `keep_lines` DTR and RTS keep their
    /// level when it is closed.
    pub(crate) fn source(self, url: &str, keep_lines: bool) -> Option<Arc<dyn Source>> {
        match self {
            Self::Loop => None,
            Self::Device(path) => Some(Arc::new(TtySource::new(Place::Path(path), keep_lines))),
            Self::Socket { host, port } => Some(Arc::new(TcpSource {
                url: url.into(),
                host,
                port,
            })),
        }
    }
}

fn socket(rest: &str) -> Option<(String, u16)> {
    // Options of upstream's library (?logging=…) say nothing about the peer.
    let rest = rest.split(['?', '/']).next()?;
    let (host, port) = rest.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_work() {
        let parse = |url| Address::parse(url).unwrap();
        assert_eq!(parse("loop://"), Address::Loop);
        assert_eq!(
            parse("/dev/ttyUSB0"),
            Address::Device("/dev/ttyUSB0".into())
        );
        let socket = |host: &str| Address::Socket {
            host: host.into(),
            port: 4000,
        };
        assert_eq!(parse("socket://board:4000"), socket("board"));
        assert_eq!(parse("socket://[::1]:4000/"), socket("::1"));
    }

    #[test]
    fn urls_that_do_not_say_what_would() {
        for (url, text) in [
            (
                "rfc2217://h:1",
                "rfc2217:// does not work yet; a device path, loop:// and",
            ),
            ("hwgrep://0403", "hwgrep:// does not work yet"),
            ("tcp://h:1", "tcp:// is not known"),
            ("socket://h", "has no host and port"),
            ("socket://h:0", "has no host and port"),
            ("ttyUSB0", "\"ttyUSB0\" is no absolute path of a device"),
            ("", "\"\" is no absolute path"),
        ] {
            let error = Address::parse(url).unwrap_err();
            assert_eq!(error.key, "url");
            assert!(error.message.contains(text), "{url}: {}", error.message);
        }
    }
}
