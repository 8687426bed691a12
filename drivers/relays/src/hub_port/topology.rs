//! Which port of which hub a socket is, and which other port shares the socket with it.

use std::{fs, path::Path};

use rigd_device::Found;

/// A port of a hub, by the kernel's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Socket {
    /// `1-1`, or `usb1`.
    pub(super) hub: String,
    /// From 1.
    pub(super) port: u8,
}

impl Socket {
    /// From the name of what is plugged in there: `1-1.4`, or `1-2` in a root hub.
    pub(super) fn parse(name: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{name:?} is no port of a hub: write the number of the bus, a dash, and the ports on \
                 the way with dots between them, `1-1.4`"
            )
        };
        let (bus, path) = name.split_once('-').ok_or_else(wrong)?;
        let number = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u8>().ok().filter(|n| digits && *n > 0)
        };
        let ports: Option<Vec<u8>> = path.split('.').map(number).collect();
        let (ports, bus) = (ports.ok_or_else(wrong)?, number(bus).ok_or_else(wrong)?);
        let (port, way) = ports.split_last().ok_or_else(wrong)?;
        let way: Vec<_> = way.iter().map(u8::to_string).collect();
        let hub = match &way[..] {
            [] => format!("usb{bus}"),
            way => format!("{bus}-{}", way.join(".")),
        };
        Ok(Self { hub, port: *port })
    }
}

/// The port of another hub in the same socket: the link `peer` of the port in sysfs, which Linux sets
/// for the two halves of a USB 3 hub (drivers/usb/core/port.c).
pub(super) fn companion(hub: &Found, port: u8) -> Option<Socket> {
    let sysfs = hub.sysfs.as_deref()?;
    // The ports are below the hub's interface, `1-1:1.0/1-1-port4`, `1-0:1.0/usb1-port4`.
    let port = format!("{}-port{port}", hub.name);
    let entries = fs::read_dir(sysfs).ok()?;
    let mut ports = entries.flatten().map(|entry| entry.path().join(&port));
    let port = ports.find(|path| path.exists())?;
    peer(&fs::canonicalize(port.join("peer")).ok()?)
}

/// `…/2-1/2-1:1.0/2-1-port4`
fn peer(path: &Path) -> Option<Socket> {
    let (hub, port) = path.file_name()?.to_str()?.rsplit_once("-port")?;
    Some(Socket {
        hub: hub.to_owned(),
        port: port.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_socket_is_a_port_of_a_hub() {
        for (name, hub, port) in [
            ("1-1.4", "1-1", 4),
            ("2-3", "usb2", 3),
            ("1-1.2.1", "1-1.2", 1),
        ] {
            let hub = hub.to_owned();
            assert_eq!(Socket::parse(name), Ok(Socket { hub, port }));
        }
        for wrong in [
            "", "1", "usb1", "1-", "1-0", "1-1.", "1-1.a", "1-+1", "1-1:1.0", "0-1", "1-256",
        ] {
            let text = Socket::parse(wrong).unwrap_err();
            assert!(text.starts_with(&format!("{wrong:?} is no port")), "{text}");
        }
    }

    #[test]
    fn a_companion_is_read_from_its_link() {
        let socket = |hub: &str, port| {
            Some(Socket {
                hub: hub.into(),
                port,
            })
        };
        let at = |path: &str| peer(Path::new(path));
        assert_eq!(at("/sys/devices/x/2-1/2-1:1.0/2-1-port4"), socket("2-1", 4));
        assert_eq!(
            at("/sys/devices/x/usb2/2-0:1.0/usb2-port1"),
            socket("usb2", 1)
        );
        assert_eq!(at("/sys/devices/x/usb2"), None);
    }

    proptest! {
        #[test]
        fn anything_is_taken_or_refused(name: String) {
            if let Ok(socket) = Socket::parse(&name) {
                prop_assert!(socket.port > 0);
            }
        }
    }
}
