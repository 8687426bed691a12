//! What tests of many leases share: an exporter with a lab of its own, so that its tunnels can be
//! cut without touching others, and clients that hold its leases.

#![allow(
    dead_code,
    reason = "every test binary compiles this anew and uses its own part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy exempts only functions marked as tests"
)]

use std::{
    fs,
    future::Future,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rand::{SeedableRng as _, rngs::StdRng};
use rigd_client::{Error, Exporter, ExporterStatus};

use crate::{
    lab::{Dialled, Lab},
    support::settings::Settings,
};

/// What an exporter does by itself has an end before this, also beside a compiler.
pub(crate) const LIMIT: Duration = Duration::from_secs(40);
/// For a reproduction of a run, as the run printed it.
const SEED: &str = "RIGD_TEST_SEED";

/// An exporter of a lab of its own.
pub(crate) struct Board {
    pub(crate) lab: Lab,
    pub(crate) name: String,
}

/// How much a lab had heard at a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark(usize);

impl Board {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self {
            lab: Lab::start_with_router_port(),
            name: name.into(),
        }
    }

    /// Writes its configuration, `@DIR@` in it being the directory of the test.
    pub(crate) fn configure(&self, settings: &Settings, rest: &str) -> PathBuf {
        let file = settings.path(&format!("{}.yaml", self.name));
        let dir = settings.path("");
        let dir = dir.to_str().unwrap().trim_end_matches('/');
        let rest = rest.replace("@DIR@", dir);
        fs::write(&file, self.lab.exporter_yaml(&self.name, &rest)).unwrap();
        file
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark(self.lab.heard().len())
    }

    /// Waits until the exporter has reported this after `mark`.
    pub(crate) async fn reports(&self, mark: Mark, wanted: ExporterStatus) {
        let name = self.name.as_str();
        tokio::task::block_in_place(|| {
            self.lab.wait(LIMIT, |heard| {
                let new = heard.get(mark.0..).unwrap_or_default();
                new.iter().any(|it| it.from == name && it.reports(wanted))
            })
        });
    }

    /// Connects whoever holds the lease now.
    pub(crate) async fn holder(&self, lease: &str) -> Holder {
        let door = self.lab.dial(lease);
        let exporter = Exporter::connect_unix(door.path()).await.unwrap();
        Holder { exporter, door }
    }
}

/// The client of a lease.
pub(crate) struct Holder {
    pub(crate) exporter: Exporter,
    /// Its tunnels break when this is dropped.
    pub(crate) door: Dialled,
}

impl Holder {
    pub(crate) async fn call(&self, device: &str, method: &str) -> Result<(), Error> {
        let device = self.exporter.device(device).await?;
        device.call(method, vec![]).await.map(drop)
    }

    /// Reads the status until it says that the lease is over, as `jmp` does it; or until the
    /// connection is gone, where the end was not this client's wish.
    pub(crate) async fn read_until_free(&self) {
        let read = async {
            while let Ok(status) = self.exporter.status().await {
                if status.state == ExporterStatus::Available {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within("the status of a lease that is over", read).await;
    }
}

/// The result of `work`, which has [`LIMIT`].
pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(LIMIT, work).await;
    done.unwrap_or_else(|_| panic!("{what}: not within {} s", LIMIT.as_secs()))
}

/// The seed of this run, which it prints: from the environment, or of the time.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var(SEED).map_or_else(
        |_| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            u64::from(now.subsec_nanos())
        },
        |text| text.parse().unwrap(),
    );
    println!("{SEED}={seed}");
    seed
}

/// Randomness of one part of a run.
pub(crate) fn dice(seed: u64, part: u64) -> StdRng {
    StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ part)
}
