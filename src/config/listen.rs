//! `listen:`, the sockets for clients that come without a controller.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::Deserialize;

use super::diagnostic::Problem;
use super::node::Node;
use super::section::Section;

/// The sockets of an exporter. At least one of `unix` and `tcp` is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Path of a unix socket.
    pub unix: Option<PathBuf>,
    /// Address of a TCP socket.
    pub tcp: Option<TcpAddress>,
    /// Certificate of the TCP socket; plain text without.
    pub tls: Option<ListenTls>,
    /// File that holds the passphrase that clients must know.
    pub passphrase_file: Option<PathBuf>,
}

/// Files in PEM format.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenTls {
    /// Certificate chain.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpAddress {
    /// Name or address, without the brackets of IPv6.
    pub host: String,
    /// From 1.
    pub port: u16,
}

impl FromStr for TcpAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SHAPE: &str =
            "expected HOST:PORT with a port from 1 to 65535, such as 127.0.0.1:8090";
        let (host, port) = text.rsplit_once(':').ok_or(SHAPE)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(SHAPE)?;
        let inner = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = match inner {
            Some(inner) => inner,
            None if host.contains(':') => {
                return Err("an IPv6 address stands in brackets: [::1]:8090");
            }
            None => host,
        };
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(SHAPE);
        }
        Ok(TcpAddress {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for TcpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

pub(crate) fn read(node: &Node, problems: &mut Vec<Problem>) -> Option<Listen> {
    let mut section = Section::open(node, "`listen`", problems)?;
    let unix = section.text(&["unix"]).map(PathBuf::from);
    let tcp = section
        .entry(&["tcp"])
        .and_then(|(_, value)| address(value, section.problems()));
    let tls: Option<ListenTls> = section.get(&["tls"]);
    let passphrase_file = section.text(&["passphraseFile"]).map(PathBuf::from);
    if !section.has("unix") && !section.has("tcp") {
        let problem = Problem::new("`listen` needs `unix` or `tcp`", section.place());
        section.problem(problem);
    }
    let tls_key = section.entry(&["tls"]).map(|(key, _)| key.span);
    if let (Some(place), false) = (tls_key, section.has("tcp")) {
        section.problem(Problem::new(
            "`tls` is for `tcp`, which is missing here",
            place,
        ));
    }
    section.finish();
    Some(Listen {
        unix,
        tcp,
        tls,
        passphrase_file,
    })
}

fn address(value: &Node, problems: &mut Vec<Problem>) -> Option<TcpAddress> {
    let Some(text) = value.as_str() else {
        let message = format!(
            "`tcp`: expected HOST:PORT as a string, found {}",
            value.describe()
        );
        problems
            .push(Problem::new(message, value.head).help("write for instance \"127.0.0.1:8090\""));
        return None;
    };
    text.parse()
        .map_err(|message| problems.push(Problem::new(format!("`tcp`: {message}"), value.head)))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let good: TcpAddress = "[::1]:80".parse().unwrap();
        assert_eq!(
            (good.host.as_str(), good.port, good.to_string().as_str()),
            ("::1", 80, "[::1]:80")
        );
        assert_eq!("lab-7:8090".parse::<TcpAddress>().unwrap().host, "lab-7");
        for bad in [
            "",
            "host",
            "host:0",
            "host:65536",
            ":80",
            "::1:80",
            "a b:80",
            "host:x",
        ] {
            assert!(bad.parse::<TcpAddress>().is_err(), "{bad:?}");
        }
    }
}
