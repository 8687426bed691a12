//! What all muxes do, on one that the test plays: where the card goes and when it stays.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's own steps fail the test, in functions beside the tests as well"
)]

#[path = "../../storage/tests/lease/mod.rs"]
mod lease;

use std::{
    fs::File,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use lease::Lease;
use rigd_driver::{Call, DriverError, OpenCx, OpenError, contract};
use rigd_drivers_sdmux::{CardSettings, FindDisk, Mux, SdMux, Side};
use rigd_flash::FlashSettings;
use rustix::fs::{FlockOperation, flock};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use tempfile::TempDir;

const CARD: usize = 4 << 20;

#[derive(Default)]
struct State {
    side: Option<Side>,
    /// The disk's name changes when it was looked for so many times.
    renamed_after: Option<usize>,
    /// Whether it can be asked.
    mute: bool,
    stuck: bool,
    told: Vec<Side>,
    /// Whether the card was free when the mux switched.
    free: Vec<bool>,
}

/// A mux, a card of 4 MiB in a file, and the board.
#[derive(Clone)]
struct Rig {
    state: Arc<Mutex<State>>,
    dir: Arc<TempDir>,
}

impl Default for Rig {
    fn default() -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        std::fs::write(dir.path().join("card"), vec![0xee; CARD]).unwrap();
        let state = Arc::default();
        Self { state, dir }
    }
}

impl Rig {
    fn at(side: Side) -> Self {
        let rig = Self::default();
        rig.state().side = Some(side);
        rig
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn told(&self) -> Vec<Side> {
        std::mem::take(&mut self.state().told)
    }

    fn card(&self) -> PathBuf {
        self.dir.path().join("card")
    }

    fn config(&self) -> Config {
        Config {
            rig: self.clone(),
            leeway: Duration::ZERO,
            roots: Vec::new(),
        }
    }

    async fn lease(&self) -> Lease {
        Lease::start::<SdMux<Played>>(self.config()).await
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(skip)]
    rig: Rig,
    #[serde(skip)]
    leeway: Duration,
    /// Directories whose files clients may write to the card.
    #[serde(skip)]
    roots: Vec<PathBuf>,
}

struct Played(Rig);

impl Mux for Played {
    const TYPE: &'static str = "sdmux.played";
    type Config = Config;

    fn card(config: &Config) -> CardSettings {
        CardSettings {
            device: None,
            timeout: Duration::from_millis(500),
            leeway: config.leeway,
            fsync: Duration::from_secs(10),
            flash: FlashSettings {
                image_roots: config.roots.clone(),
                ..FlashSettings::default()
            },
        }
    }

    async fn open(config: &Config, _: &OpenCx) -> Result<Self, OpenError> {
        Ok(Self(config.rig.clone()))
    }

    fn disk(&self) -> FindDisk {
        let rig = self.0.clone();
        Arc::new(move || match rig.card().exists() {
            true => {
                let mut state = rig.state();
                let looks = state.renamed_after.as_mut();
                let renamed = looks.is_some_and(|left| {
                    *left = left.saturating_sub(1);
                    *left == 0
                });
                drop(state);
                let name = if renamed { "other" } else { "card" };
                Ok(rig.dir.path().join(name))
            }
            false => Err(DriverError::Unavailable("no disk".into())),
        })
    }

    async fn set(&self, _: &Call, side: Side) -> Result<(), DriverError> {
        let card = File::open(self.0.card());
        let free = card.map(|card| flock(&card, FlockOperation::NonBlockingLockExclusive).is_ok());
        let mut state = self.0.state();
        state.told.push(side);
        state.free.push(free.unwrap_or(true));
        if !state.stuck {
            state.side = Some(side);
        }
        Ok(())
    }

    async fn get(&self) -> Result<Option<Side>, DriverError> {
        let state = self.0.state();
        Ok(state.side.filter(|_| !state.mute))
    }
}

fn image() -> Vec<u8> {
    lease::pattern(1 << 20)
}

#[tokio::test]
async fn keeps_the_contract() {
    contract::check::<SdMux<Played>>(Rig::at(Side::Dut).config()).await;
}

#[tokio::test]
async fn a_write_takes_the_card_from_the_board_and_dut_gives_it_back() {
    let rig = Rig::at(Side::Dut);
    let lease = rig.lease().await;
    let report = lease
        .send("write", json!(["HANDLE"]), &image())
        .await
        .unwrap();
    assert_eq!(report["size"], 1 << 20);
    assert_eq!(rig.told(), [Side::Host]);
    lease.ok("host", json!([])).await;
    assert!(rig.told().is_empty(), "it is there already");
    lease.ok("dut", json!([])).await;
    assert_eq!(rig.told(), [Side::Dut]);
    let held = std::fs::read(rig.card()).unwrap();
    assert!(held.starts_with(&image()) && held.len() == CARD);
    let read = lease.receive("read", json!(["HANDLE"])).await.unwrap();
    assert!(read == held);
    assert_eq!(rig.told(), [Side::Host]);
    lease.ok("off", json!([])).await;
    assert_eq!(
        rig.told(),
        [],
        "off is the host of a mux with two positions"
    );
    // The lock and the exclusive open ended right before each switch.
    assert!(rig.state().free.iter().all(|free| *free));
}

#[tokio::test]
async fn a_file_of_the_host_is_written_only_from_where_clients_may() {
    let rig = Rig::at(Side::Dut);
    let images = tempfile::tempdir().unwrap();
    let path = images.path().join("board.img");
    std::fs::write(&path, image()).unwrap();
    let lease = rig.lease().await;
    let error = lease.fails("write_file", json!([path])).await;
    assert!(
        error.to_string().starts_with("not below imageRoots: "),
        "{error}"
    );
    assert!(rig.told().is_empty(), "the card stays where it is");
    drop(lease);
    let mut config = rig.config();
    config.roots = vec![images.path().to_owned()];
    let lease = Lease::start::<SdMux<Played>>(config).await;
    for path in ["/etc/passwd".into(), images.path().join("../etc/passwd")] {
        let error = lease.fails("write_file", json!([path])).await;
        assert!(
            error.to_string().starts_with("not below imageRoots: "),
            "{error}"
        );
    }
    assert!(rig.told().is_empty(), "the card stays where it is");
    let report = lease.ok("write_file", json!([path])).await;
    assert_eq!(report["size"], 1 << 20);
    assert_eq!(rig.told(), [Side::Host]);
    assert!(std::fs::read(rig.card()).unwrap().starts_with(&image()));
}

#[tokio::test]
async fn a_broken_write_keeps_the_card_from_the_board() {
    let rig = Rig::at(Side::Host);
    let lease = rig.lease().await;
    let (sender, handle) = lease.upload();
    sender.send(image().into()).await;
    drop(sender);
    lease.fails("write", json!([handle])).await;
    let error = lease.fails("dut", json!([])).await;
    assert!(
        error.to_string().starts_with("card incomplete: "),
        "{error}"
    );
    assert!(matches!(error, DriverError::FailedPrecondition(_)));
    assert!(rig.told().is_empty());
    lease
        .send("write", json!(["HANDLE"]), &image())
        .await
        .unwrap();
    lease.ok("dut", json!([])).await;
}

#[tokio::test]
async fn a_card_that_somebody_uses_stays_where_it_is() {
    let rig = Rig::at(Side::Host);
    let lease = rig.lease().await;
    let user = File::open(rig.card()).unwrap();
    flock(&user, FlockOperation::LockShared).unwrap();
    let error = lease.fails("dut", json!([])).await;
    assert!(error.to_string().starts_with("disk in use: "), "{error}");
    assert!(rig.told().is_empty());
    drop(user);
    lease.ok("dut", json!([])).await;
    assert_eq!(rig.told(), [Side::Dut]);
}

#[tokio::test]
async fn nothing_switches_under_a_write() {
    let rig = Rig::at(Side::Host);
    let lease = Arc::new(rig.lease().await);
    let (sender, handle) = lease.upload();
    sender.send(image().into()).await;
    let own = lease.clone();
    let write = tokio::spawn(async move { own.call("write", json!([handle])).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    for method in ["dut", "host", "off"] {
        let error = lease.fails(method, json!([])).await;
        assert!(
            error.to_string().starts_with("busy: write since "),
            "{method}: {error}"
        );
    }
    sender.end().await;
    write.await.unwrap().unwrap();
    assert!(rig.told().is_empty());
    lease.ok("dut", json!([])).await;
}

#[tokio::test]
async fn a_mux_that_does_not_switch_is_an_error() {
    let rig = Rig::at(Side::Host);
    rig.state().stuck = true;
    let lease = rig.lease().await;
    let error = lease.fails("dut", json!([])).await;
    assert_eq!(
        error.to_string(),
        "the mux does not switch to dut: it says host"
    );
    let mux = lease.instance.downcast::<SdMux<Played>>().unwrap();
    assert_eq!(mux.side(), Some(Side::Host));
}

#[tokio::test]
async fn a_mux_that_cannot_be_asked_is_where_it_was_told_to_be() {
    let rig = Rig::default();
    rig.state().mute = true;
    let lease = rig.lease().await;
    let mux = lease.instance.downcast::<SdMux<Played>>().unwrap();
    assert_eq!(mux.side(), None);
    lease.ok("host", json!([])).await;
    lease.ok("host", json!([])).await;
    assert_eq!(
        (rig.told(), mux.side()),
        (vec![Side::Host], Some(Side::Host))
    );
    lease.ok("dut", json!([])).await;
    assert_eq!((rig.told(), mux.side()), (vec![Side::Dut], Some(Side::Dut)));
}

#[tokio::test]
async fn what_somebody_else_switched_is_noticed() {
    let rig = Rig::at(Side::Host);
    let lease = rig.lease().await;
    let mux = lease.instance.downcast::<SdMux<Played>>().unwrap();
    assert_eq!(mux.side(), Some(Side::Host));
    rig.state().side = Some(Side::Dut);
    lease.ok("dut", json!([])).await;
    assert_eq!(mux.side(), Some(Side::Dut));
    assert!(rig.told().is_empty());
    lease
        .send("write", json!(["HANDLE"]), &image())
        .await
        .unwrap();
    assert_eq!(rig.told(), [Side::Host]);
}

#[tokio::test]
async fn a_card_that_does_not_come_is_told_and_the_board_gets_no_part_of_an_image() {
    let rig = Rig::at(Side::Dut);
    std::fs::remove_file(rig.card()).unwrap();
    let lease = rig.lease().await;
    let error = lease
        .send("write", json!(["HANDLE"]), &image())
        .await
        .unwrap_err();
    assert!(matches!(error, DriverError::Timeout(_)), "{error:?}");
    assert!(error.to_string().ends_with("no disk"), "{error}");
    // Nothing was written: the card is what it was.
    lease.ok("dut", json!([])).await;
    assert_eq!(rig.told(), [Side::Host, Side::Dut]);
}

#[tokio::test]
async fn a_disk_that_takes_another_name_meanwhile_is_not_written() {
    let rig = Rig::at(Side::Host);
    let lease = rig.lease().await;
    rig.state().renamed_after = Some(2);
    let written = lease.send("write", json!(["HANDLE"]), &image()).await;
    let error = written.unwrap_err();
    assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
    assert!(
        error
            .to_string()
            .ends_with("its reader was plugged in anew"),
        "{error}"
    );
    let card = std::fs::read(rig.card()).unwrap();
    assert!(card.iter().all(|byte| *byte == 0xee));
}

#[tokio::test]
async fn a_card_is_left_alone_after_a_write() {
    let rig = Rig::at(Side::Host);
    let leeway = Duration::from_millis(600);
    let config = Config {
        leeway,
        ..rig.config()
    };
    let lease = Lease::start::<SdMux<Played>>(config).await;
    let began = Instant::now();
    lease
        .send("write", json!(["HANDLE"]), &image())
        .await
        .unwrap();
    assert!(began.elapsed() >= leeway);
}
