use std::{fs, sync::Arc};

use rigd_driver::{Blueprint, Driver, Health, Instance, contract};
use serde_json::{Value, from_value, json};

use super::*;
use crate::SdMux;

use fake::Fake;
use lease::{Lease, pattern};

mod fake;
#[path = "../../../storage/tests/lease/mod.rs"]
mod lease;
mod opening;

type Driven = SdMux<GadgetMux>;

const SIZE: usize = 4 << 20;
/// What the contract's instance has by default.
const NAME: &str = "rigd-contract-sdmux-gadget";

fn config(fake: &Arc<Fake>, more: Value) -> GadgetConfig {
    let mut all = json!({"file": fake.path("card"), "size": SIZE});
    let more = more.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(more);
    let mut config: GadgetConfig = from_value(all).unwrap();
    config.kernel = fake.kernel();
    config
}

/// What becomes of an instance.
async fn health(config: GadgetConfig) -> Health {
    let dir = tempfile::tempdir().unwrap();
    let instance = contract::instance(Blueprint::new::<Driven>(config), dir.path(), None);
    instance.start().await;
    let health = instance.health();
    instance.close().await;
    health
}

fn side(instance: &Instance) -> Option<Side> {
    instance.downcast::<Driven>().unwrap().side()
}

fn faulty(health: &Health, wanted: &str) {
    let Health::Faulty(text) = health else {
        panic!("{health:?}");
    };
    assert!(text.contains(wanted), "{text}");
}

#[test]
fn mistakes_are_told_by_their_key() {
    let checked = |config: Value| {
        let config: GadgetConfig = from_value(config).unwrap();
        let checked = Driven::check(&config);
        checked.map_err(|error| (error.key.clone(), error.message))
    };
    let file = "/srv/card.img";
    assert!(checked(json!({"file": file})).is_ok());
    let all = json!({"file": file, "size": "8GiB", "gadget": "card_1", "udc": "fe980000.usb", "serial": "A-1"});
    assert!(checked(all).is_ok());
    for (config, key, text) in [
        (json!({"file": "card.img"}), "file", "no absolute path"),
        (json!({"file": "/"}), "file", "no absolute path"),
        (json!({"file": file, "size": 0}), "size", "whole sectors"),
        (json!({"file": file, "size": 1000}), "size", "whole sectors"),
        (json!({"file": file, "gadget": "a/b"}), "gadget", "no name"),
        (json!({"file": file, "gadget": ".."}), "gadget", "no name"),
        (json!({"file": file, "udc": ""}), "udc", "no name"),
        (json!({"file": file, "serial": "a b"}), "serial", "ASCII"),
        (
            json!({"file": file, "serial": "x".repeat(127)}),
            "serial",
            "1 to 126",
        ),
    ] {
        let (found, message) = checked(config.clone()).unwrap_err();
        assert_eq!(found, key, "{config}");
        assert!(message.contains(text), "{message}");
    }
    // The card is the file, and nothing else.
    let other = from_value::<GadgetConfig>(json!({"file": file, "storage_device": "/dev/sda"}));
    assert!(other.unwrap_err().to_string().contains("storage_device"));
}

#[tokio::test]
async fn keeps_the_contract() {
    let fake = Fake::new(&["fe980000.usb"]);
    contract::check::<Driven>(config(&fake, json!({}))).await;
}

#[tokio::test]
async fn the_card_goes_to_the_board_and_comes_back() {
    let fake = Fake::new(&["a.usb"]);
    let lease = Lease::start::<Driven>(config(&fake, json!({}))).await;
    assert_eq!(side(&lease.instance), Some(Side::Host));
    let image = pattern(1 << 20);
    lease
        .send("write", json!(["HANDLE"]), &image)
        .await
        .unwrap();
    fake.told();
    lease.ok("dut", json!([])).await;
    lease.ok("dut", json!([])).await;
    let file = format!("card > {NAME}/functions/mass_storage.rigd/lun.0/file");
    assert_eq!(fake.told(), [file]);
    let loaded = fs::read_to_string(fake.lun(NAME).join("file")).unwrap();
    assert_eq!(loaded, format!("{}\n", fake.path("card").display()));
    // The board writes.
    let mut card = fs::read(fake.path("card")).unwrap();
    assert!(card.starts_with(&image) && card.len() == SIZE);
    card[..5].copy_from_slice(b"board");
    fs::write(fake.path("card"), &card).unwrap();
    let read = lease.receive("read", json!(["HANDLE"])).await.unwrap();
    assert!(read == card);
    assert_eq!(side(&lease.instance), Some(Side::Host));
    assert_eq!(fs::read(fake.lun(NAME).join("file")).unwrap(), b"");
    lease.ok("off", json!([])).await;
}

#[tokio::test]
async fn a_broken_write_keeps_the_card_from_the_board() {
    let fake = Fake::new(&["a.usb"]);
    let lease = Lease::start::<Driven>(config(&fake, json!({}))).await;
    let (sender, handle) = lease.upload();
    sender.send(pattern(1 << 20).into()).await;
    drop(sender);
    lease.fails("write", json!([handle])).await;
    let error = lease.fails("dut", json!([])).await.to_string();
    assert!(error.starts_with("card incomplete: "), "{error}");
    assert_eq!(side(&lease.instance), Some(Side::Host));
}

#[tokio::test]
async fn a_card_that_the_board_has_in_use_is_taken_where_the_kernel_can() {
    let fake = Fake::new(&["a.usb"]);
    let lease = Lease::start::<Driven>(config(&fake, json!({}))).await;
    lease.ok("dut", json!([])).await;
    fake.manner.lock().unwrap().locked = true;
    lease.ok("host", json!([])).await;
    assert!(fake.told().last().unwrap().ends_with("lun.0/forced_eject"));

    lease.ok("dut", json!([])).await;
    fake.manner.lock().unwrap().locked = true;
    fs::remove_file(fake.lun(NAME).join("forced_eject")).unwrap();
    let error = lease.fails("host", json!([])).await;
    assert!(
        matches!(error, DriverError::FailedPrecondition(_)),
        "{error:?}"
    );
    assert!(error.to_string().starts_with("card in use: "), "{error}");
    // It is where it was.
    lease.ok("dut", json!([])).await;
    assert_eq!(side(&lease.instance), Some(Side::Dut));
}

#[tokio::test]
async fn a_daemon_that_starts_anew_finds_the_card_where_it_was() {
    let fake = Fake::new(&["a.usb"]);
    let state = tempfile::tempdir().unwrap();
    let lease = Lease::start_in::<Driven>(config(&fake, json!({})), state.path()).await;
    lease.ok("dut", json!([])).await;
    lease.instance.close().await;
    drop(lease);
    fake.told();
    let file = fake.lun(NAME).join("file");
    let other = fake.path("other");
    fs::write(&other, "").unwrap();
    // The kernel prints the path from the mount on that only the former process had; or another path to
    // the same file.
    let same = fake.path("same");
    fs::hard_link(fake.path("card"), &same).unwrap();
    for shown in ["/card\n".to_owned(), format!("{}\n", same.display())] {
        fs::write(&file, &shown).unwrap();
        let lease = Lease::start_in::<Driven>(config(&fake, json!({})), state.path()).await;
        assert_eq!(side(&lease.instance), Some(Side::Dut), "{shown}");
        lease.instance.close().await;
        assert!(fake.told().is_empty());
    }
    for shown in [other.clone(), "/srv/card (deleted)".into()] {
        fs::write(&file, format!("{}\n", shown.display())).unwrap();
        let found = health(config(&fake, json!({}))).await;
        faulty(&found, &format!("has {} for the board", shown.display()));
        faulty(
            &found,
            &format!("not the card {}", fake.path("card").display()),
        );
    }
    assert!(fake.told().is_empty());
}

#[tokio::test]
async fn a_card_that_the_kernel_cannot_open_for_writing_does_not_reach_the_board() {
    let fake = Fake::new(&["a.usb"]);
    let lease = Lease::start::<Driven>(config(&fake, json!({}))).await;
    fake.manner.lock().unwrap().opens_read_only = true;
    let error = lease.fails("dut", json!([])).await.to_string();
    assert!(error.contains("for reading alone"), "{error}");
    assert_eq!(fs::read(fake.lun(NAME).join("file")).unwrap(), b"");
    drop(lease);
    // One that was made for reading is made one for writing when the card is out.
    fake.manner.lock().unwrap().opens_read_only = false;
    fs::write(fake.lun(NAME).join("ro"), "1\n").unwrap();
    let lease = Lease::start::<Driven>(config(&fake, json!({}))).await;
    lease.ok("dut", json!([])).await;
    assert_eq!(fs::read(fake.lun(NAME).join("ro")).unwrap(), b"0\n");
}

#[tokio::test]
async fn a_switch_that_hangs_has_a_limit() {
    let fake = Fake::new(&["a.usb"]);
    let lease = Lease::start::<Driven>(config(&fake, json!({}))).await;
    lease.ok("dut", json!([])).await;
    fake.manner.lock().unwrap().hangs = true;
    let error = lease.fails("host", json!([])).await;
    assert!(matches!(error, DriverError::Timeout(_)), "{error:?}");
    let text = "cannot take the card from the board: the gadget rigd-contract-sdmux-gadget does not answer";
    assert!(error.to_string().starts_with(text), "{error}");
    // What was asked for comes to pass in the end.
    fake.manner.lock().unwrap().hangs = false;
    let file = fake.lun(NAME).join("file");
    tokio::time::timeout(lease::LIMIT, async {
        while !fs::read(&file).unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_gadget_that_is_removed_makes_the_instance_absent() {
    let fake = Fake::new(&["a.usb"]);
    let lease = Lease::start::<Driven>(config(&fake, json!({}))).await;
    fs::remove_dir_all(fake.gadgets().join(NAME)).unwrap();
    let error = lease.fails("dut", json!([])).await;
    assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains("was removed"), "{error}");
}

#[test]
fn a_default_name_says_whose_it_is() {
    assert_eq!(default_name("board-1", "storage"), "rigd-board-1-storage");
    assert_eq!(default_name("ä b", "top.card"), "rigd---b-top.card");
}
