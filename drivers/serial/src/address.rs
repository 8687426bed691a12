//! What `url` names: a device, a network peer or an echo.

use std::{path::PathBuf, sync::Arc};

use rigd_device::DeviceMatch;
use rigd_driver::{ConfigError, TaskScope};

use crate::{
    rfc2217::{Rfc2217Source, Url},
    tcp::TcpSource,
    tty::{Place, TtySource},
    wire::Source,
};

/// What works, for those who asked for something else.
const WORKS: &str = "a device path, rfc2217://HOST:PORT, socket://HOST:PORT and loop:// work";

/// Where the bytes of a console come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// `loop://`: each stream gets back what it sends.
    Loop,
    /// A tty or pty.
    Device(PathBuf),
    /// A tty, by what it is.
    Adapter(Box<DeviceMatch>),
    /// `socket://HOST:PORT`: raw bytes over TCP, as terminal servers offer them.
    Socket { host: String, port: u16 },
    /// `rfc2217://HOST:PORT`: a terminal server's port with its settings.
    Rfc2217(Url),
}

impl Address {
    pub(crate) fn parse(url: &str) -> Result<Self, ConfigError> {
        let wrong = |text: String| Err(ConfigError::new("url", text));
        let Some((scheme, rest)) = url.split_once("://") else {
            return if url.starts_with('/') {
                Ok(Self::Device(url.into()))
            } else {
                wrong(format!("{url:?} is no absolute path of a device; {WORKS}"))
            };
        };
        // Of upstream's library: words of it about the peer. `socket://` has none that matter here.
        let (peer, options) = rest.split_once('?').unwrap_or((rest, ""));
        match scheme {
            "loop" => Ok(Self::Loop),
            "socket" | "rfc2217" => match host_and_port(peer) {
                Some((host, port)) if scheme == "socket" => Ok(Self::Socket { host, port }),
                Some((host, port)) => Url::new(host, port, options)
                    .map(Self::Rfc2217)
                    .or_else(wrong),
                None => wrong(format!(
                    "{url:?} has no host and port from 1 to 65535; {WORKS}"
                )),
            },
            _ => wrong(match instead(scheme) {
                Some(instead) => format!("{scheme}:// is not supported: {instead}"),
                None => format!("{scheme}:// is not known; {WORKS}"),
            }),
        }
    }
}

/// What does the work of a scheme that upstream's library has and this driver does not.
fn instead(scheme: &str) -> Option<&'static str> {
    match scheme {
        "spy" => Some(
            "give the port itself; `rigd console` shows what it says, and the daemon can keep it in \
             files",
        ),
        "hwgrep" => Some(
            "name the adapter by the key `device`, with vendor, product and serial number, or the port \
             by its link in /dev/serial/by-id",
        ),
        "alt" => Some("it chooses a class of Python; give the path of the device"),
        "cp2110" => Some(
            "this chip is no serial port to the kernel, and has no driver here; use an adapter that \
             has a tty",
        ),
        _ => None,
    }
}

impl Address {
    /// Where the console opens its port; none for a loop. With `keep_lines` DTR and RTS keep their
    /// level when it is closed.
    pub(crate) fn source(
        self,
        url: &str,
        keep_lines: bool,
        tasks: &TaskScope,
    ) -> Option<Arc<dyn Source>> {
        match self {
            Self::Loop => None,
            Self::Rfc2217(url) => Some(Arc::new(Rfc2217Source::new(url, tasks.clone()))),
            Self::Device(path) => Some(Arc::new(TtySource::new(Place::Path(path), keep_lines))),
            Self::Adapter(device) => {
                Some(Arc::new(TtySource::new(Place::Device(*device), keep_lines)))
            }
            Self::Socket { host, port } => Some(Arc::new(TcpSource {
                url: url.into(),
                host,
                port,
            })),
        }
    }
}

fn host_and_port(peer: &str) -> Option<(String, u16)> {
    let peer = peer.split('/').next()?;
    let (host, port) = peer.rsplit_once(':')?;
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
        assert_eq!(parse("socket://board:4000?logging=debug"), socket("board"));
        let Address::Rfc2217(url) = parse("rfc2217://[::1]:7001?ign_set_control&timeout=1") else {
            panic!("another kind");
        };
        assert_eq!(url.to_string(), "rfc2217://[::1]:7001");
    }

    #[test]
    fn urls_that_do_not_say_what_would() {
        for (url, text) in [
            (
                "hwgrep://0403",
                "hwgrep:// is not supported: name the adapter by the key `device`",
            ),
            (
                "spy:///dev/ttyS0",
                "spy:// is not supported: give the port itself",
            ),
            ("alt:///dev/ttyS0", "give the path of the device"),
            ("cp2110://0", "use an adapter that has a tty"),
            ("rfc2217://h", "has no host and port"),
            ("rfc2217://h:1?tls", "\"tls\" is no option of rfc2217://"),
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
