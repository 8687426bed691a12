//! `rigd run`: serve exporters.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context;
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use super::{Failure, Global, files};
use crate::{
    config::{Diagnostics, ExporterConfig, ListenTls, Problem, Settings, TcpAddress},
    exporter::{Exporter, Listener},
    os::{paths, signals::StopSignals},
    telemetry::{self, ClientLogs},
    transport::{Passphrase, tcp, unix},
    tree::Plan,
};

/// Runtime workers. Device work has threads of its own, so more would only cost memory.
const WORKERS: usize = 2;
/// Threads for the odd blocking call of a library, such as a name look-up.
const MAX_BLOCKING: usize = 16;
/// Largest passphrase file: it holds a line.
const MAX_PASSPHRASE: u64 = 4096;

/// Arguments of `rigd run`.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Args {
    /// Exporter files or directories of them. Without any: ./exporter.yaml if there is one, else
    /// /etc/rigd/exporters, else /etc/jumpstarter/exporters.
    files: Vec<PathBuf>,

    /// Serve the exporter with this alias, looked for as `jmp run` does.
    #[arg(long, value_name = "NAME", conflicts_with = "files")]
    exporter: Option<String>,

    /// Serve one exporter on this unix socket.
    #[arg(long, value_name = "PATH")]
    unix: Option<PathBuf>,

    /// Serve one exporter on TCP; the host is 0.0.0.0 when left out.
    #[arg(long, value_name = "[HOST:]PORT", value_parser = parse_listener)]
    tls_grpc_listener: Option<TcpAddress>,

    /// Serve TCP without TLS.
    #[arg(long, requires = "tls_grpc_listener", conflicts_with_all = ["tls_cert", "tls_key"])]
    tls_grpc_insecure: bool,

    /// Certificate chain for TCP, PEM.
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_key",
        requires = "tls_grpc_listener"
    )]
    tls_cert: Option<PathBuf>,

    /// Private key for TCP, PEM.
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_cert",
        requires = "tls_grpc_listener"
    )]
    tls_key: Option<PathBuf>,

    /// File with the passphrase that TCP clients must send.
    #[arg(long, value_name = "FILE", requires = "tls_grpc_listener")]
    passphrase_file: Option<PathBuf>,
}

/// `[HOST:]PORT`, as upstream's flag of the same name.
fn parse_listener(text: &str) -> Result<TcpAddress, String> {
    let full = if text.contains(':') {
        text.to_owned()
    } else {
        format!("0.0.0.0:{text}")
    };
    full.parse().map_err(|error: &str| error.to_owned())
}

/// The sockets of one exporter, not bound yet.
#[derive(Debug, Default)]
struct Sockets {
    unix: Option<PathBuf>,
    tcp: Option<Tcp>,
}

#[derive(Debug)]
struct Tcp {
    address: TcpAddress,
    tls: Option<ListenTls>,
    passphrase_file: Option<PathBuf>,
}

pub(super) fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let env = |name: &str| std::env::var(name).ok();
    let settings = Settings::load(&env).map_err(Failure::Usage)?;
    let filter = global.log.as_deref().unwrap_or(&settings.log);
    let format = global.log_format.unwrap_or(settings.log_format);
    let clients = telemetry::start(filter, format).map_err(Failure::Usage)?;
    // TLS of all kinds uses this one; a second install would be a mistake of ours.
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| Failure::Runtime(anyhow::anyhow!("the TLS provider was set before")))?;

    let files = match &args.exporter {
        Some(alias) => vec![files::by_alias(alias, &env)?],
        None => files::find(&args.files)?,
    };
    let exporters = files::load_all(&files)?;
    let state_dir = settings.state_dir.unwrap_or_else(|| paths::state_dir(&env));
    let runtime_dir = settings
        .runtime_dir
        .unwrap_or_else(|| paths::runtime_dir(&env));
    let mut planned = Vec::new();
    let one = exporters.len() == 1;
    for (config, plan) in exporters {
        let sockets = sockets(&args, &config, one, &runtime_dir)?;
        planned.push((config, plan, sockets));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(MAX_BLOCKING)
        .thread_name("rigd")
        .enable_all()
        .build()
        .map_err(|error| Failure::Runtime(error.into()))?;
    let outcome = runtime.block_on(serve(planned, state_dir, clients));
    // Threads that hang on a device end with the process.
    runtime.shutdown_background();
    outcome
}

/// Flags before the file's `listen`, and a socket in the runtime directory without either.
fn sockets(
    args: &Args,
    config: &ExporterConfig,
    one: bool,
    runtime_dir: &std::path::Path,
) -> Result<Sockets, Failure> {
    let name = &config.metadata.name;
    if args.unix.is_some() || args.tls_grpc_listener.is_some() {
        if !one {
            let text = "--unix and --tls-grpc-listener serve one exporter; several were given";
            return Err(Failure::usage(text));
        }
        let tcp = args.tls_grpc_listener.clone().map(|address| {
            let tls = args.tls_cert.clone().zip(args.tls_key.clone());
            if tls.is_none() && !args.tls_grpc_insecure {
                return Err(Failure::usage(
                    "--tls-grpc-listener needs --tls-cert and --tls-key, or --tls-grpc-insecure",
                ));
            }
            Ok(Tcp {
                address,
                tls: tls.map(|(cert, key)| ListenTls { cert, key }),
                passphrase_file: args.passphrase_file.clone(),
            })
        });
        return Ok(Sockets {
            unix: args.unix.clone(),
            tcp: tcp.transpose()?,
        });
    }
    if let Some(listen) = config.listen.clone() {
        let tcp = listen.tcp.map(|address| Tcp {
            address,
            tls: listen.tls,
            passphrase_file: listen.passphrase_file,
        });
        return Ok(Sockets {
            unix: listen.unix,
            tcp,
        });
    }
    if let Some(endpoint) = &config.endpoint {
        let message = format!("registering with a controller ({endpoint}) is not yet supported");
        let problem = Problem::new(message, config.metadata.span).help(
            "serve clients directly: `rigd run --unix PATH`, `--tls-grpc-listener HOST:PORT`, or \
             `listen:` in this file",
        );
        return Err(Failure::Config(vec![Diagnostics::new(
            config.source.clone(),
            vec![problem],
        )]));
    }
    let unix = runtime_dir.join(format!("{}.sock", paths::component(name)));
    paths::make_private(runtime_dir)
        .with_context(|| format!("cannot use the runtime directory {}", runtime_dir.display()))
        .map_err(Failure::Runtime)?;
    Ok(Sockets {
        unix: Some(unix),
        tcp: None,
    })
}

impl Sockets {
    /// Binds them. Bad certificates and passphrases are mistakes of the configuration.
    async fn bind(&self) -> Result<Vec<Listener>, Failure> {
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
            let passphrase = passphrase_file.as_ref().map(read_passphrase).transpose()?;
            let bound = tcp::Listener::bind(&address.host, address.port, tls).await;
            let bound = bound.map_err(|error| Failure::Runtime(error.into()))?;
            listeners.push(Listener::Tcp(bound, passphrase));
        }
        Ok(listeners)
    }

    /// What to paste into a terminal to use the exporter, one line a socket.
    fn lines(&self, command: &str) -> Vec<String> {
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

fn read_passphrase(path: &PathBuf) -> Result<Passphrase, Failure> {
    use std::io::Read;
    let path = &paths::secret_file(path, &|name| std::env::var(name).ok());
    let read = || {
        let mut text = String::new();
        std::fs::File::open(path)?
            .take(MAX_PASSPHRASE)
            .read_to_string(&mut text)?;
        std::io::Result::Ok(text)
    };
    let text = read()
        .with_context(|| format!("cannot read passphrase file {}", path.display()))
        .map_err(Failure::Usage)?;
    Passphrase::from_file_text(&text)
        .map_err(|error| Failure::usage(format!("passphrase file {}: {error}", path.display())))
}

/// A word for a POSIX shell.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if word.chars().all(plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

async fn serve(
    planned: Vec<(ExporterConfig, Plan, Sockets)>,
    state_dir: PathBuf,
    clients: Arc<ClientLogs>,
) -> Result<(), Failure> {
    let mut signals = StopSignals::listen().map_err(|error| Failure::Runtime(error.into()))?;
    // All sockets first: a port in use must not be found after relays have moved.
    let mut bound = Vec::new();
    for (config, plan, sockets) in planned {
        let listeners = sockets.bind().await?;
        bound.push((config, plan, sockets, listeners));
    }
    let (stop, cut) = (CancellationToken::new(), CancellationToken::new());
    let serving = bound.into_iter().map(|(config, plan, sockets, listeners)| {
        let (stop, cut) = (stop.clone(), cut.clone());
        let (state_dir, clients) = (state_dir.clone(), clients.clone());
        async move {
            let exporter = Exporter::open(&config, plan, &state_dir, clients).await;
            announce(&config, &exporter, &sockets);
            exporter.serve(listeners, stop, cut).await;
        }
    });
    let mut serving = std::pin::pin!(join_all(serving));
    // cancel-safe: `serving` is pinned outside, the signals only take what is there.
    let signal = tokio::select! {
        _ = &mut serving => return Ok(()),
        signal = signals.next() => signal,
    };
    tracing::info!(signal, "Stopping.");
    stop.cancel();
    tokio::select! {
        _ = &mut serving => {}
        signal = signals.next() => {
            tracing::warn!(signal, "Stopping at once.");
            cut.cancel();
        }
    }
    Ok(())
}

fn announce(config: &ExporterConfig, exporter: &Exporter, sockets: &Sockets) {
    use std::io::Write;
    let power = exporter.first_with_client("jumpstarter_driver_power.client.PowerClient");
    let command = power.map_or_else(|| "--help".into(), |path| format!("{path} on"));
    let mut out = std::io::stdout().lock();
    let mut say = |line: &str| {
        // Nobody has to read along.
        writeln!(out, "{line}").ok();
    };
    say(&format!(
        "Exporter {} is ready. In another terminal:",
        config.metadata.name
    ));
    for line in sockets.lines(&command) {
        say(&format!("  {line}"));
    }
    for (path, reason) in exporter.unusable() {
        say(&format!("  {path} cannot be used: {reason}"));
    }
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

    #[test]
    fn a_port_alone_listens_everywhere() {
        let all = parse_listener("8090").unwrap();
        assert_eq!((all.host.as_str(), all.port), ("0.0.0.0", 8090));
        assert!(parse_listener("0").is_err());
        assert!(parse_listener("host:http").is_err());
    }
}
