use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use rigd_device::{FindError, Found, UsbMatch};
use rigd_driver::{Blueprint, Health, Instance, KeyKind, KeyOwner, contract};
use rustix::io::Errno;
use serde_json::{from_value, json};

use super::*;
use crate::SdMux;

type Driven = SdMux<UsbSdMux<Played>>;

/// A reader with an expander on its bus.
#[derive(Clone)]
struct Bridge {
    expander: Expander,
    registers: [u8; 4],
    /// The bytes of each command that count, and what was written.
    told: Vec<(Vec<u8>, Vec<u8>)>,
    refuses: Option<Errno>,
}

/// By their files.
static BRIDGES: Mutex<BTreeMap<PathBuf, Bridge>> = Mutex::new(BTreeMap::new());
/// By serial number.
static NODES: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());

struct Played(PathBuf);

impl Played {
    fn with<T>(&self, what: impl FnOnce(&mut Bridge) -> io::Result<T>) -> io::Result<T> {
        let mut bridges = BRIDGES.lock().unwrap();
        let bridge = bridges.get_mut(&self.0).ok_or(io::ErrorKind::NotFound)?;
        match bridge.refuses {
            Some(errno) => Err(errno.into()),
            None => what(bridge),
        }
    }
}

impl Scsi for Played {
    fn find(wanted: &UsbMatch) -> Result<Found, FindError> {
        let nodes = NODES.lock().unwrap();
        let serial = wanted.serial.clone().unwrap_or_default();
        let node = nodes.get(&serial);
        let node = node.ok_or_else(|| FindError::Absent("none".into()))?;
        Ok(Found::of_file(Class::ScsiGeneric, node))
    }

    fn open(node: &Path) -> io::Result<Self> {
        Ok(Self(node.into()))
    }

    fn send(&self, command: &[u8; COMMAND], data: &[u8; DATA]) -> io::Result<()> {
        self.with(|bridge| {
            // As the data sheet has it: write, address, nothing, length, no command phase.
            assert_eq!(command[..2], [0xcf, 0x23]);
            assert_eq!(command[3..], [0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            if command[2] != bridge.expander.address << 1 {
                return Err(io::Error::other("no acknowledge"));
            }
            bridge
                .told
                .push((command[..6].to_vec(), data[..2].to_vec()));
            bridge.registers[usize::from(data[0])] = data[1];
            Ok(())
        })
    }

    fn receive(&self, command: &[u8; COMMAND]) -> io::Result<[u8; DATA]> {
        self.with(|bridge| {
            assert_eq!(command[..2], [0xcf, 0x22]);
            assert_eq!(command[3], command[2] | 1);
            assert_eq!(command[4..7], [0, 1, 1]);
            if command[2] != bridge.expander.address << 1 {
                return Err(io::Error::other("no acknowledge"));
            }
            let mut data = [0; DATA];
            data[0] = bridge.registers[usize::from(command[7])];
            Ok(data)
        })
    }
}

struct Rig {
    node: PathBuf,
    dir: tempfile::TempDir,
    serial: String,
}

impl Rig {
    /// Fresh from the power supply: all pins are inputs, all levels high.
    fn new(serial: &str, expander: Expander) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let node = dir.path().join("sg0");
        std::fs::write(&node, "").unwrap();
        std::fs::write(dir.path().join("card"), vec![0; 1 << 20]).unwrap();
        let bridge = Bridge {
            expander,
            registers: [0xff, 0xff, 0, 0xff],
            told: Vec::new(),
            refuses: None,
        };
        BRIDGES.lock().unwrap().insert(node.clone(), bridge);
        NODES.lock().unwrap().insert(serial.into(), node.clone());
        let serial = serial.into();
        Self { node, dir, serial }
    }

    fn config(&self) -> UsbSdMuxConfig {
        let card = self.dir.path().join("card");
        let config = json!({"serial": self.serial, "storage_device": card, "storage_leeway": 0});
        from_value(config).unwrap()
    }

    async fn open(&self) -> Arc<Instance> {
        let blueprint = Blueprint::new::<Driven>(self.config());
        let instance = contract::instance(blueprint, self.dir.path(), None);
        instance.start().await;
        instance
    }

    fn bridge<T>(&self, what: impl FnOnce(&mut Bridge) -> T) -> T {
        what(BRIDGES.lock().unwrap().get_mut(&self.node).unwrap())
    }

    /// Register and value of what was written since the last look.
    fn written(&self) -> Vec<[u8; 2]> {
        let told = self.bridge(|bridge| std::mem::take(&mut bridge.told));
        told.iter().map(|(_, data)| [data[0], data[1]]).collect()
    }
}

async fn call(instance: &Instance, method: &str) -> Result<(), DriverError> {
    let owner = KeyOwner::issue(KeyKind::Client);
    instance
        .call(&owner.key(), None, method, vec![])
        .await
        .map(drop)
}

fn side(instance: &Instance) -> Option<Side> {
    instance.downcast::<Driven>().unwrap().side()
}

#[tokio::test]
async fn the_classic_model_is_cut_off_before_it_is_connected() {
    let rig = Rig::new("usm-classic", CLASSIC);
    let instance = rig.open().await;
    assert_eq!(instance.health(), Health::Ready);
    assert_eq!(side(&instance), None, "its pins are inputs still");
    call(&instance, "dut").await.unwrap();
    let first = rig.bridge(|bridge| bridge.told[0].clone());
    assert_eq!(first, (vec![0xcf, 0x23, 0x82, 0, 0, 2], vec![1, 0xfb]));
    // Cut off at the host's side, then outputs, then the board's side, then connected.
    assert_eq!(rig.written(), [[1, 0xfb], [3, 0xf0], [1, 0xff], [1, 0xfc]]);
    assert_eq!(side(&instance), Some(Side::Dut));
    call(&instance, "host").await.unwrap();
    assert_eq!(rig.written(), [[1, 0xfb], [1, 0xfb], [1, 0xf0]]);
    assert_eq!(side(&instance), Some(Side::Host));
    call(&instance, "off").await.unwrap();
    assert_eq!(rig.written(), [[1, 0xfb], [1, 0xfb], [1, 0xfb]]);
    assert_eq!(side(&instance), Some(Side::Off));
    instance.close().await;
}

#[tokio::test]
async fn the_fast_model_starts_at_the_board_and_keeps_its_users_pins() {
    let rig = Rig::new("usm-fast", FAST);
    let instance = rig.open().await;
    assert_eq!(side(&instance), Some(Side::Dut));
    rig.bridge(|bridge| bridge.registers[1] = 0x2f);
    call(&instance, "host").await.unwrap();
    assert_eq!(rig.written(), [[1, 0x2e], [3, 0xf0], [1, 0x2e], [1, 0x20]]);
    call(&instance, "dut").await.unwrap();
    assert_eq!(rig.written(), [[1, 0x2e], [1, 0x2f], [1, 0x29]]);
    assert_eq!(side(&instance), Some(Side::Dut));
    instance.close().await;
}

#[tokio::test]
async fn what_the_kernel_does_not_allow_is_told_with_what_is_missing() {
    let rig = Rig::new("usm-refused", CLASSIC);
    for (errno, text) in [
        (Errno::PERM, "CAP_SYS_RAWIO"),
        (Errno::ACCESS, "systemd/60-rigd.rules"),
    ] {
        rig.bridge(|bridge| bridge.refuses = Some(errno));
        let instance = rig.open().await;
        let Health::Faulty(reason) = instance.health() else {
            panic!("{:?}", instance.health());
        };
        assert!(reason.contains(text), "{reason}");
        instance.close().await;
    }
}

#[tokio::test]
async fn a_reader_that_goes_away_makes_its_calls_fail() {
    let rig = Rig::new("usm-gone", CLASSIC);
    let instance = rig.open().await;
    rig.bridge(|bridge| bridge.refuses = Some(Errno::NODEV));
    let error = call(&instance, "host").await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cannot ask where the card is: "),
        "{error}"
    );
    instance.close().await;
}

#[tokio::test]
async fn keeps_the_contract() {
    let rig = Rig::new("usm-contract", FAST);
    contract::check::<Driven>(rig.config()).await;
}
