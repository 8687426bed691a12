//! `rigd run`: serve exporters.

use std::path::PathBuf;

mod controller;

pub(super) use controller::ControllerArgs;

use super::{Failure, Global, files};
use crate::{
    config::{ControllerSettings, ListenTls, Settings, TcpAddress},
    daemon::{self, Controller, Flags, Load},
    exporter::Directories,
    os::paths,
    telemetry,
};

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

    #[command(flatten)]
    controller: ControllerArgs,
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

pub(super) fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let flags = args.flags()?;
    let controller = args.controller.clone();
    let load = move || {
        let env = |name: &str| std::env::var(name).ok();
        let files = match &args.exporter {
            Some(alias) => vec![files::by_alias(alias, &env)?],
            None => files::find(&args.files)?,
        };
        files::load_all(&files)
    };
    let controller = |settings| {
        Ok(Controller {
            options: controller.over(settings)?,
            always: false,
        })
    };
    serve(global, Box::new(load), flags, controller)
}

/// The embedded controller alone: `rigd controller run`.
pub(super) fn controller(args: &ControllerArgs, global: &Global) -> Result<(), Failure> {
    let controller = |settings| {
        Ok(Controller {
            options: args.over(settings)?,
            always: true,
        })
    };
    let none = || Ok(Vec::new());
    serve(global, Box::new(none), Flags::default(), controller)
}

fn serve(
    global: &Global,
    load: Load,
    flags: Flags,
    controller: impl FnOnce(ControllerSettings) -> Result<Controller, Failure>,
) -> Result<(), Failure> {
    let env = |name: &str| std::env::var(name).ok();
    let settings = Settings::load(&env).map_err(Failure::Usage)?;
    let filter = global.log.as_deref().unwrap_or(&settings.log);
    let format = global.log_format.unwrap_or(settings.log_format);
    let clients = telemetry::start(filter, format).map_err(Failure::Usage)?;
    // TLS of all kinds uses this one; a second install would be a mistake of ours.
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| Failure::Runtime(anyhow::anyhow!("the TLS provider was set before")))?;

    let state_dir = settings.state_dir.unwrap_or_else(|| paths::state_dir(&env));
    let runtime_dir = settings
        .runtime_dir
        .unwrap_or_else(|| paths::runtime_dir(&env));
    daemon::run(daemon::Setup {
        load,
        flags,
        directories: Directories {
            state: state_dir,
            runtime: runtime_dir,
        },
        clients,
        controller: controller(settings.controller)?,
    })
}

impl Args {
    fn flags(&self) -> Result<Flags, Failure> {
        let tls = self.tls_cert.clone().zip(self.tls_key.clone());
        if self.tls_grpc_listener.is_some() && tls.is_none() && !self.tls_grpc_insecure {
            return Err(Failure::usage(
                "--tls-grpc-listener needs --tls-cert and --tls-key, or --tls-grpc-insecure",
            ));
        }
        Ok(Flags {
            unix: self.unix.clone(),
            tcp: self.tls_grpc_listener.clone(),
            tls: tls.map(|(cert, key)| ListenTls { cert, key }),
            passphrase_file: self.passphrase_file.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_listens_everywhere() {
        let all = parse_listener("8090").unwrap();
        assert_eq!((all.host.as_str(), all.port), ("0.0.0.0", 8090));
        assert!(parse_listener("0").is_err());
        assert!(parse_listener("host:http").is_err());
    }
}
