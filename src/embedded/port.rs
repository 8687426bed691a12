//! The port of the controller: the one that was asked for, or the first free one on loopback.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs},
};

use super::options::{Name, Options};
use crate::config::{Endpoint, TcpAddress};

/// The port of Jumpstarter's own controller.
pub(super) const DEFAULT: u16 = 8082;
const HOST_NAME: &str = "/proc/sys/kernel/hostname";
/// How many ports are tried from there.
const TRIED: u16 = 100;

/// The port cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PortError {
    /// Somebody else has it.
    #[error(
        "cannot listen on {0}: the port is in use; end the program that has it (`ss -ltnp` names \
         it), or choose another one with --controller-listen HOST:PORT"
    )]
    InUse(String),
    /// The system refuses.
    #[error("cannot listen on {address}: {source}")]
    Refused {
        /// Where.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// None is free.
    #[error(
        "no port of 127.0.0.1 from {DEFAULT} on is free ({TRIED} were tried); choose one with \
         --controller-listen 127.0.0.1:PORT"
    )]
    NoneFree,
    /// What it would be called cannot be said.
    #[error("the controller cannot be reached as {0:?}: give a name with --advertise NAME")]
    Name(String),
}

/// Binds it. Without an address that was asked for, the port of `before` is tried first: files that
/// were handed out name it.
pub(super) fn bind(options: &Options, before: Option<&Endpoint>) -> Result<TcpListener, PortError> {
    let listener = match &options.listen {
        Some(address) => asked(address),
        None => free(of_before(options, before)),
    }?;
    let set = listener.set_nonblocking(true);
    set.map_err(|source| PortError::Refused {
        address: "the port".into(),
        source,
    })?;
    Ok(listener)
}

/// The port of the last start, where it is to be kept: not one that only a forwarder has, and not
/// where another one is asked for.
pub(super) fn of_before(options: &Options, before: Option<&Endpoint>) -> Option<u16> {
    let forwarded = options
        .advertise
        .first()
        .is_some_and(|name| name.port.is_some());
    let kept = options.listen.is_none() && !forwarded;
    before.filter(|_| kept).map(Endpoint::port)
}

fn asked(address: &TcpAddress) -> Result<TcpListener, PortError> {
    let refused = |source: io::Error| match source.kind() {
        ErrorKind::AddrInUse => PortError::InUse(address.to_string()),
        _ => PortError::Refused {
            address: address.to_string(),
            source,
        },
    };
    let found = (address.host.as_str(), address.port).to_socket_addrs();
    let all: Vec<SocketAddr> = found.map_err(refused)?.collect();
    TcpListener::bind(all.as_slice()).map_err(refused)
}

fn free(before: Option<u16>) -> Result<TcpListener, PortError> {
    let ports = before.into_iter().chain(DEFAULT..DEFAULT + TRIED);
    for port in ports {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match TcpListener::bind(address) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            // A port below 1024 of another user's last start, or one that the system keeps.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            Err(source) => {
                let address = address.to_string();
                return Err(PortError::Refused { address, source });
            }
        }
    }
    Err(PortError::NoneFree)
}

/// Where this process itself reaches a bound port.
pub(super) fn near(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

/// Under which address a bound port is handed out: the first advertised name, else the name of this
/// host where it listens everywhere, else the address itself.
pub(super) fn endpoint(
    advertise: &[Name],
    bound: SocketAddr,
    host_name: impl FnOnce() -> String,
) -> Result<Endpoint, PortError> {
    let (host, port) = match advertise.first() {
        Some(name) => (name.host.clone(), name.port.unwrap_or(bound.port())),
        None if bound.ip().is_unspecified() => (host_name(), bound.port()),
        None => (bound.ip().to_string(), bound.port()),
    };
    let text = TcpAddress { host, port }.to_string();
    text.parse().map_err(|_| PortError::Name(text))
}

/// What [`endpoint`] will be at the first start.
///
/// # Errors
/// As there.
pub(crate) fn expected(options: &Options) -> Result<Endpoint, PortError> {
    let local = || TcpAddress {
        host: Ipv4Addr::LOCALHOST.to_string(),
        port: DEFAULT,
    };
    let address = options.listen.clone().unwrap_or_else(local);
    match address.host.parse::<IpAddr>() {
        Ok(ip) => endpoint(
            &options.advertise,
            SocketAddr::new(ip, address.port),
            host_name,
        ),
        // A name stands for an address of this host, and is as good.
        Err(_) if options.advertise.is_empty() => {
            let text = address.to_string();
            text.parse().map_err(|_| PortError::Name(text))
        }
        Err(_) => {
            let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port));
            endpoint(&options.advertise, nowhere, host_name)
        }
    }
}

/// The name of this host, as the kernel has it.
pub(super) fn host_name() -> String {
    let name = std::fs::read_to_string(HOST_NAME).unwrap_or_default();
    name.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ControllerSettings;

    #[test]
    fn a_port_in_use_is_told_and_the_next_one_taken() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let before: Endpoint = format!("127.0.0.1:{port}").parse().unwrap();
        let mut settings = ControllerSettings::default();
        let options = Options::new(&settings).unwrap();
        let next = bind(&options, Some(&before)).unwrap().local_addr().unwrap();
        assert!(next.ip().is_loopback() && next.port() != port, "{next}");
        settings.listen = Some(format!("127.0.0.1:{port}").parse().unwrap());
        let options = Options::new(&settings).unwrap();
        let error = bind(&options, None).unwrap_err().to_string();
        assert!(error.contains("in use"), "{error}");
    }

    #[test]
    fn the_port_of_before_is_kept() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let before: Endpoint = format!("lab.example:{port}").parse().unwrap();
        let options = Options::new(&ControllerSettings::default()).unwrap();
        let bound = bind(&options, Some(&before)).unwrap();
        assert_eq!(bound.local_addr().unwrap().port(), port);
    }

    #[test]
    fn the_port_of_a_forwarder_is_not_taken() {
        let before: Endpoint = "lab.example:9000".parse().unwrap();
        let kept = |advertise: &str, listen: Option<&str>| {
            let settings = ControllerSettings {
                advertise: vec![advertise.to_owned()],
                listen: listen.map(|listen| listen.parse().unwrap()),
                ..ControllerSettings::default()
            };
            of_before(&Options::new(&settings).unwrap(), Some(&before))
        };
        assert_eq!(kept("lab.example:9000", None), None);
        assert_eq!(kept("lab.example", None), Some(9000));
        assert_eq!(kept("lab.example", Some("127.0.0.1:8082")), None);
    }

    #[test]
    fn what_is_handed_out() {
        let everywhere: SocketAddr = "0.0.0.0:8082".parse().unwrap();
        let one: SocketAddr = "[::1]:8082".parse().unwrap();
        let name = |host: &str, port| Name {
            host: host.into(),
            port,
        };
        let host = || "bench-pi".to_owned();
        for (advertise, bound, wanted) in [
            (vec![], everywhere, "bench-pi:8082"),
            (vec![], one, "[::1]:8082"),
            (vec![name("lab", None), name("b", None)], one, "lab:8082"),
            (vec![name("lab", Some(9000))], everywhere, "lab:9000"),
        ] {
            let found = endpoint(&advertise, bound, host).unwrap();
            assert_eq!(found.to_string(), wanted);
        }
        assert_eq!(near(everywhere).to_string(), "127.0.0.1:8082");
        assert_eq!(near(one), one);
    }

    #[test]
    fn what_will_be_handed_out() {
        let of = |listen: Option<&str>, advertise: &[&str]| {
            let settings = ControllerSettings {
                listen: listen.map(|listen| listen.parse().unwrap()),
                advertise: advertise.iter().map(|&name| name.to_owned()).collect(),
                ..ControllerSettings::default()
            };
            expected(&Options::new(&settings).unwrap())
                .unwrap()
                .to_string()
        };
        assert_eq!(of(None, &[]), "127.0.0.1:8082");
        assert_eq!(of(Some("0.0.0.0:9000"), &["lab"]), "lab:9000");
        assert_eq!(of(Some("[::1]:9000"), &[]), "[::1]:9000");
        assert_eq!(of(Some("lab-a:9000"), &[]), "lab-a:9000");
        assert_eq!(of(Some("lab-a:9000"), &["lab"]), "lab:9000");
    }
}
