//! A daemon that serves `rig.yaml`, and a client of it.

use std::{future::Future, path::Path, time::Duration};

use rigd_client::Exporter;

use crate::support::{
    daemon::{Daemon, Listen},
    repository,
    settings::Settings,
};

/// A running daemon with its directories.
pub(crate) struct Rig {
    // Stopped before its directories go.
    pub(crate) daemon: Daemon,
    pub(crate) settings: Settings,
}

impl Rig {
    /// Serves `rig.yaml` on a unix socket.
    pub(crate) fn start() -> Self {
        let settings = Settings::new();
        let exporter = settings.fill_in(&repository().join("tests/traffic/rig.yaml"));
        let daemon = Daemon::start(&exporter, Listen::Unix, &settings);
        Self { daemon, settings }
    }

    /// Serves a file written for one test.
    pub(crate) fn serve(yaml: &str, listen: Listen) -> Self {
        let settings = Settings::new();
        let template = settings.path("template.yaml");
        std::fs::write(&template, yaml).unwrap();
        let exporter = settings.fill_in(&template);
        let daemon = Daemon::start(&exporter, listen, &settings);
        Self { daemon, settings }
    }

    /// The path of the daemon's socket.
    pub(crate) fn socket(&self) -> &Path {
        Path::new(&self.daemon.host)
    }

    /// A new connection.
    pub(crate) async fn connect(&self) -> Exporter {
        Exporter::connect_unix(self.socket()).await.unwrap()
    }
}

/// The result of `work`, which has this long.
pub(crate) async fn within<T>(limit: Duration, what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within {} s", limit.as_secs_f32()))
}

/// Bytes that no codec shortens and that differ for each seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    // Marsaglia's xorshift64: any state but zero is good.
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}
