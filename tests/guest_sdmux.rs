//! The daemon's SD muxes on emulated ones in a QEMU guest, with cards that the test looks at from the
//! other side, for clients on the host; and a gadget of its own, in which it plays the board as well.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

#[path = "guest/cards.rs"]
mod cards;
#[path = "guest_sdmux/changed.rs"]
mod changed;
#[path = "guest/gadget.rs"]
mod gadget;
#[path = "guest_sdmux/hangs.rs"]
mod hangs;
#[path = "guest_sdmux/port.rs"]
mod port;
#[path = "guest/rig.rs"]
mod rig;
#[path = "guest_sdmux/rules.rs"]
mod rules;
mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use cards::{Image, positions, storage};
use rig::{Guest, Hardware, STEP_LIMIT, emulated::Usb};
use rigd_client::{Code, Compression, Error, Exporter, Storage};
use serde_json::json;
use support::{python::venv, repository};

const USB: &[&str] = &[
    "sdwire=sdwire,size=16M,serial=SDW1",
    "sdwire3=sdwire3,size=16M",
    "usbsdmux=usbsdmux,size=16M",
    "stick=disk,size=16M,bus=5",
    "hub=hub,bus=6",
    "port=disk,size=16M,bus=7,plugged=no",
];

/// One boot for all of them.
#[tokio::test(flavor = "multi_thread")]
async fn muxes() {
    let Some(mut guest) = Guest::boot(&Hardware {
        usb: USB,
        gpio: &["mux=select,power"],
        gadget: true,
        ..Hardware::default()
    }) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let images = Images::new(dir.path());
    let file = repository().join("tests/guest/exporters/sdmux.yaml");
    guest.run(&format!("mkdir {}", gadget::CARDS));
    let exporter = guest.serve(&file).await;

    an_sdwire_gives_its_card_back_and_forth(&guest, &exporter, &images).await;
    a_card_in_use_stays_at_the_host(&mut guest, &exporter).await;
    an_sdwire_is_pulled_and_comes_back(&guest, &exporter).await;
    a_reader_that_is_pulled_in_a_write_leaves_the_card_incomplete(&guest, &exporter, &images).await;
    an_sdwire3_follows_its_driver(&guest, &exporter, &images).await;
    a_usbsdmux_is_switched_over_scsi(&guest, &exporter, &images).await;
    a_line_switches_a_mux(&mut guest, &exporter, &images).await;
    the_released_client_flashes_and_dumps(&mut guest, dir.path());
    port::the_power_of_a_port_switches_a_stick(&mut guest, &exporter, dir.path()).await;
    changed::a_block_that_changed_is_written_again(&mut guest, &exporter, dir.path()).await;
    rules::the_card_stays_with_a_board_that_runs(&mut guest, &exporter, dir.path()).await;
    hangs::a_usbsdmux_that_does_not_answer(&guest, &exporter).await;

    gadget::a_gadget_is_a_card_of_the_board(&mut guest, &exporter, &images).await;
    gadget::a_card_that_the_board_has_open_is_taken(&mut guest, &exporter).await;
    gadget::a_broken_write_keeps_the_card_from_the_board(&mut guest, &exporter, &images).await;
    gadget::the_released_client_flashes_a_gadget(&mut guest, &images);
    gadget::a_daemon_that_starts_anew_finds_the_card_at_the_board(&mut guest, &file, &images).await;
    guest.stop();
}

/// Files of the host to write and to read to.
struct Images {
    image: PathBuf,
    dump: PathBuf,
}

impl Images {
    fn new(dir: &Path) -> Self {
        let image = dir.join("image");
        let bytes: Vec<u8> = (0..4 << 20_u32).map(|at| (at % 251) as u8).collect();
        fs::write(&image, bytes).unwrap();
        let dump = dir.join("dump");
        Self { image, dump }
    }

    async fn write(&self, storage: &Storage) {
        let written = storage.write_file(&self.image, Compression::None).await;
        written.unwrap();
    }

    fn are_on(&self, card: &Usb) {
        let medium = fs::read(card.medium()).unwrap();
        assert!(medium.starts_with(&fs::read(&self.image).unwrap()));
    }
}

async fn an_sdwire_gives_its_card_back_and_forth(
    guest: &Guest,
    exporter: &Exporter,
    images: &Images,
) {
    let (mux, card) = (guest.usb("sdwire"), guest.usb("sdwire.reader"));
    let storage = storage(exporter, "sdwire").await;
    images.write(&storage).await;
    images.are_on(&card);
    assert_eq!(positions(&mux), ["host"]);
    storage.dut().await.unwrap();
    storage.dut().await.unwrap();
    assert_eq!(positions(&mux), ["host", "dut"]);
    storage
        .read_file(&images.dump, Compression::None)
        .await
        .unwrap();
    assert!(fs::read(&images.dump).unwrap() == fs::read(card.medium()).unwrap());
    assert_eq!(positions(&mux), ["host", "dut", "host"]);
}

async fn a_card_in_use_stays_at_the_host(guest: &mut Guest, exporter: &Exporter) {
    let storage = storage(exporter, "sdwire").await;
    guest.run("card=$(node TSDWIRE.READER \"$disk\"); exec 7<$card; flock -s 7");
    let error = storage.dut().await.unwrap_err();
    assert!(
        refused(&error, Code::FailedPrecondition, "disk in use: "),
        "{error}"
    );
    assert_eq!(guest.usb("sdwire").state()["position"], json!("host"));
    guest.run("exec 7<&-");
    storage.dut().await.unwrap();
    assert_eq!(guest.usb("sdwire").state()["position"], json!("dut"));
}

fn the_released_client_flashes_and_dumps(guest: &mut Guest, dir: &Path) {
    let Some(venv) = venv() else { return };
    let before = positions(&guest.usb("sdwire")).len();
    let dump = dir.join("dumped");
    for (seed, (mux, card)) in (40..).zip([
        ("sdwire", "sdwire.reader"),
        ("sdwire3", "sdwire3"),
        ("usbsdmux", "usbsdmux"),
        ("switched", "stick"),
    ]) {
        let (image, medium) = (Image::new(dir, seed, 4 << 20), guest.usb(card).medium());
        guest.flashed_and_dumped(venv, mux, &image.file, &dump);
        assert!(image.is_on(&medium), "{mux}");
        assert!(fs::read(&dump).unwrap() == fs::read(medium).unwrap());
    }
    // Flashing and dumping each end at the board.
    let told = positions(&guest.usb("sdwire"));
    assert_eq!(told[before..], ["host", "dut", "host", "dut"]);
    for mux in ["sdwire3", "usbsdmux"].map(|mux| guest.usb(mux)) {
        mux.wait("card at the board", |_| {
            mux.state()["position"] == json!("dut")
        });
    }
    assert_eq!(guest.run("guest-gpio get select"), "0");
}

async fn an_sdwire_is_pulled_and_comes_back(guest: &Guest, exporter: &Exporter) {
    let (mux, storage) = (guest.usb("sdwire"), storage(exporter, "sdwire").await);
    mux.unplug();
    let seen = guest.stderr.wait(STEP_LIMIT, |line| {
        line.contains("failed to find sd-wire device")
    });
    assert!(seen.is_some(), "{}", guest.stderr.text());
    let error = storage.host().await.unwrap_err();
    assert!(
        refused(&error, Code::Unavailable, "sdwire is absent"),
        "{error}"
    );
    mux.plug();
    until_ready(&storage).await;
    storage.dut().await.unwrap();
}

async fn a_reader_that_is_pulled_in_a_write_leaves_the_card_incomplete(
    guest: &Guest,
    exporter: &Exporter,
    images: &Images,
) {
    let (card, storage) = (
        guest.usb("sdwire.reader"),
        storage(exporter, "sdwire").await,
    );
    card.set(json!({"unplug_at": 1 << 20}));
    let written = storage.write_file(&images.image, Compression::None).await;
    let error = written.unwrap_err();
    assert_eq!(error.code(), Some(Code::Unavailable), "{error}");
    let error = storage.dut().await.unwrap_err();
    assert!(
        refused(&error, Code::FailedPrecondition, "card incomplete: "),
        "{error}"
    );
    card.set(json!({"unplug_at": null}));
    card.plug();
    // The reader's disk may have another name now; it is found by where it is plugged in.
    images.write(&storage).await;
    images.are_on(&card);
    storage.dut().await.unwrap();
}

async fn an_sdwire3_follows_its_driver(guest: &Guest, exporter: &Exporter, images: &Images) {
    let (mux, storage) = (guest.usb("sdwire3"), storage(exporter, "sdwire3").await);
    storage.dut().await.unwrap();
    mux.wait("card at the board", |_| {
        mux.state()["position"] == json!("dut")
    });
    images.write(&storage).await;
    images.are_on(&mux);
    assert_eq!(mux.state()["position"], json!("host"));
    storage.dut().await.unwrap();
    mux.wait("card at the board", |_| {
        mux.state()["position"] == json!("dut")
    });
}

async fn a_usbsdmux_is_switched_over_scsi(guest: &Guest, exporter: &Exporter, images: &Images) {
    let (mux, storage) = (guest.usb("usbsdmux"), storage(exporter, "usbsdmux").await);
    images.write(&storage).await;
    images.are_on(&mux);
    storage.dut().await.unwrap();
    storage.off().await.unwrap();
    let moved = positions(&mux);
    // Each way leads over off.
    assert_eq!(moved, ["host", "off", "dut", "off"]);
    images.write(&storage).await;
    assert_eq!(mux.state()["position"], json!("host"));
}

async fn a_line_switches_a_mux(guest: &mut Guest, exporter: &Exporter, images: &Images) {
    let storage = storage(exporter, "switched").await;
    images.write(&storage).await;
    images.are_on(&guest.usb("stick"));
    assert_eq!(guest.run("guest-gpio get select"), "1");
    storage.dut().await.unwrap();
    assert_eq!(guest.run("guest-gpio get select"), "0");
    storage.off().await.unwrap();
    assert_eq!(guest.run("guest-gpio get select"), "1");
}

fn refused(error: &Error, code: Code, text: &str) -> bool {
    error.code() == Some(code) && error.details().is_some_and(|d| d.contains(text))
}

/// An instance whose device is plugged in is opened at once, by the kernel's word.
async fn until_ready(storage: &Storage) {
    let end = Instant::now() + STEP_LIMIT;
    loop {
        match storage.host().await {
            Ok(()) => return,
            Err(error) if error.code() == Some(Code::Unavailable) && Instant::now() < end => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => panic!("it does not come back: {error}"),
        }
    }
}
