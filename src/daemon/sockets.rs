//! The sockets of an exporter: from flags, its file, or the runtime directory.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::paste::quote;
use crate::{
    cli::Failure,
    config::{Listen, ListenTls, TcpAddress},
    exporter::Listener,
    os::paths,
    transport::{Passphrase, tcp, unix},
};

/// Largest passphrase file: it holds a line.
const MAX_PASSPHRASE: u64 = 4096;

/// What the command line says of how one exporter is served directly.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags {
    /// A unix socket at this path.
    pub(crate) unix: Option<PathBuf>,
    /// TCP at this address.
    pub(crate) tcp: Option<TcpAddress>,
    /// Certificate and key of TCP; plain text without.
    pub(crate) tls: Option<ListenTls>,
    /// File with the passphrase of TCP clients.
    pub(crate) passphrase_file: Option<PathBuf>,
}

impl Flags {
    /// Whether they name a socket.
    pub(crate) fn direct(&self) -> bool {
        self.unix.is_some() || self.tcp.is_some()
    }
}

/// The sockets of one exporter, not bound yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sockets {
    unix: Option<PathBuf>,
    tcp: Option<Tcp>,
}

#[derive(Debug, Clone)]
struct Tcp {
    address: TcpAddress,
    tls: Option<ListenTls>,
    passphrase_file: Option<PathBuf>,
}

impl Sockets {
    /// Those of the flags.
    pub(super) fn of_flags(flags: &Flags) -> Self {
        let tcp = flags.tcp.clone().map(|address| Tcp {
            address,
            tls: flags.tls.clone(),
            passphrase_file: flags.passphrase_file.clone(),
        });
        Self {
            unix: flags.unix.clone(),
            tcp,
        }
    }

    /// Those of a file's `listen`.
    pub(super) fn of_file(listen: &Listen) -> Self {
        let listen = listen.clone();
        let tcp = listen.tcp.map(|address| Tcp {
            address,
            tls: listen.tls,
            passphrase_file: listen.passphrase_file,
        });
        Self {
            unix: listen.unix,
            tcp,
        }
    }

    /// What they are, for people: paths and addresses.
    pub(super) fn told(&self) -> Vec<String> {
        let unix = self.unix.iter().map(|path| path.display().to_string());
        let tcp = self.tcp.iter().map(|tcp| tcp.address.to_string());
        unix.chain(tcp).collect()
    }

    /// Binds them. Bad certificates and passphrases are mistakes of the configuration.
    pub(super) async fn bind(&self) -> Result<Vec<Listener>, Failure> {
        let mut listeners = Vec::new();
        if let Some(path) = &self.unix {
            let bound = unix::Listener::bind(path).await;
            listeners.push(Listener::Unix(bound.map_err(|error| match error {
                error @ unix::BindError::TooLong(_) => Failure::Usage(error.into()),
                error => Failure::Runtime(error.into()),
            })?));
        }
        if let Some(Tcp {
            address,
            tls,
            passphrase_file,
        }) = &self.tcp
        {
            let tls = tls.as_ref().map(|tls| tcp::Tls::load(&tls.cert, &tls.key));
            let tls = tls
                .transpose()
                .map_err(|error| Failure::Usage(error.into()))?;
            let passphrase = passphrase_file
                .as_ref()
                .map(|path| read_passphrase(path))
                .transpose()?;
            let bound = tcp::Listener::bind(&address.host, address.port, tls).await;
            let bound = bound.map_err(|error| Failure::Runtime(error.into()))?;
            listeners.push(Listener::Tcp(bound, passphrase));
        }
        Ok(listeners)
    }

    /// What to paste into a terminal to use the exporter, one line a socket.
    pub(super) fn lines(&self, command: &str) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(path) = &self.unix {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            let path = quote(&path.display().to_string());
            lines.push(format!(
                "JUMPSTARTER_HOST={path} JMP_DRIVERS_ALLOW=UNSAFE j {command}"
            ));
        }
        if let Some(Tcp {
            address,
            tls,
            passphrase_file,
        }) = &self.tcp
        {
            let TcpAddress { host, port } = address;
            let host = if host == "0.0.0.0" || host == "::" {
                "localhost"
            } else {
                host
            };
            let host = if host.contains(':') {
                format!("[{host}]")
            } else {
                host.to_owned()
            };
            let insecure = if tls.is_none() {
                "JMP_GRPC_INSECURE=1 "
            } else {
                ""
            };
            let passphrase = passphrase_file.as_ref().map(|file| {
                format!(
                    "JMP_GRPC_PASSPHRASE=\"$(cat {})\" ",
                    quote(&file.display().to_string())
                )
            });
            lines.push(format!(
                "JUMPSTARTER_HOST={host}:{port} {insecure}{}JMP_DRIVERS_ALLOW=UNSAFE j {command}",
                passphrase.unwrap_or_default()
            ));
        }
        lines
    }
}

fn read_passphrase(path: &Path) -> Result<Passphrase, Failure> {
    use std::io::Read;
    let path = &paths::secret_file(path, &|name| std::env::var(name).ok());
    let read = || {
        let mut text = String::new();
        std::fs::File::open(path)?
            .take(MAX_PASSPHRASE + 1)
            .read_to_string(&mut text)?;
        std::io::Result::Ok(text)
    };
    let text = read()
        .with_context(|| format!("cannot read passphrase file {}", path.display()))
        .map_err(Failure::Usage)?;
    if text.len() as u64 > MAX_PASSPHRASE {
        return Err(Failure::usage(format!(
            "passphrase file {}: more than {MAX_PASSPHRASE} bytes, so this is no passphrase",
            path.display()
        )));
    }
    Passphrase::from_file_text(&text)
        .map_err(|error| Failure::usage(format!("passphrase file {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_to_paste_are_complete() {
        let sockets = Sockets {
            unix: Some("/run/my rig/rpi4.sock".into()),
            tcp: Some(Tcp {
                address: TcpAddress {
                    host: "0.0.0.0".into(),
                    port: 8090,
                },
                tls: None,
                passphrase_file: Some("/etc/pass".into()),
            }),
        };
        assert_eq!(
            sockets.lines("dutlink power on"),
            [
                "JUMPSTARTER_HOST='/run/my rig/rpi4.sock' JMP_DRIVERS_ALLOW=UNSAFE \
                 j dutlink power on",
                "JUMPSTARTER_HOST=localhost:8090 JMP_GRPC_INSECURE=1 \
                 JMP_GRPC_PASSPHRASE=\"$(cat /etc/pass)\" JMP_DRIVERS_ALLOW=UNSAFE \
                 j dutlink power on",
            ]
        );
    }
}
