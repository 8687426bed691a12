//! A whole DUTLink on an emulated one in a QEMU guest: power, console and storage, looked at from the
//! board's side.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

#[path = "guest/rig.rs"]
mod rig;
mod support;

use std::{
    fs,
    io::{Read as _, Write as _},
};

use bytes::Bytes;
use rig::{Guest, Hardware, STEP_LIMIT, emulated::Usb};
use rigd_client::{Code, Compression, Exporter};
use serde_json::{Value, json};
use support::{python::venv, repository};
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn dutlink() {
    let Some(mut guest) = Guest::boot(&Hardware {
        usb: &["dutlink=dutlink,serial=DL1,size=16M"],
        ..Hardware::default()
    }) else {
        return;
    };
    let file = repository().join("tests/guest/exporters/dutlink.yaml");
    let exporter = guest.serve(&file).await;
    let (board, stick) = (guest.usb("dutlink"), guest.usb("dutlink.stick"));

    the_supply_does_as_told_and_is_measured(&exporter, &board).await;
    the_console_is_its_own_serial_port(&exporter, &board).await;
    the_stick_is_flashed_and_given_to_the_board(&exporter, &board, &stick).await;
    the_released_client_flashes_and_dumps(&guest, &board, &stick);
    a_pulled_board_takes_all_of_its_parts_and_brings_them_back(&guest, &exporter, &board).await;
    guest.stop();
}

async fn call(exporter: &Exporter, path: &str, method: &str) -> Result<Value, rigd_client::Error> {
    let device = exporter.device(path).await.unwrap();
    let done = timeout(STEP_LIMIT, device.call(method, vec![])).await;
    done.expect("an answer")
}

async fn the_supply_does_as_told_and_is_measured(exporter: &Exporter, board: &Usb) {
    for method in ["on", "off", "rescue", "off", "on"] {
        call(exporter, "dutlink.power", method).await.unwrap();
    }
    let told = board.texts("power", "state");
    assert_eq!(told, ["on", "off", "rescue", "off", "on"]);
    let device = exporter.device("dutlink.power").await.unwrap();
    let mut readings = device.streaming_call("read", vec![]).await.unwrap();
    let first = timeout(STEP_LIMIT, readings.next()).await.unwrap();
    assert_eq!(
        first.unwrap().unwrap(),
        json!({"voltage": 5.1, "current": 0.3})
    );
}

async fn the_console_is_its_own_serial_port(exporter: &Exporter, board: &Usb) {
    let console = exporter.device("dutlink.console").await.unwrap().console();
    let mut stream = console.open();
    stream.opened().await.unwrap();
    assert_eq!(board.values("line", "rate").pop(), Some(json!(115_200)));
    let mut far = board.board();
    stream.send(Bytes::from_static(b"root\n")).await.unwrap();
    let mut heard = [0; 5];
    far.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"root\n");
    far.write_all(b"login: ").unwrap();
    let mut seen = Vec::new();
    while seen.len() < 7 {
        let bytes = timeout(STEP_LIMIT, stream.recv()).await.unwrap().unwrap();
        seen.extend_from_slice(&bytes.expect("the stream goes on"));
    }
    assert_eq!(seen, b"login: ");
}

async fn the_stick_is_flashed_and_given_to_the_board(
    exporter: &Exporter,
    board: &Usb,
    stick: &Usb,
) {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let bytes: Vec<u8> = (0..2 << 20_u32).map(|at| (at % 249) as u8).collect();
    fs::write(&image, &bytes).unwrap();
    let storage = exporter.device("dutlink.storage").await.unwrap().storage();
    storage.flash(&image, Compression::None).await.unwrap();
    let positions = board.texts("position", "position");
    assert_eq!(positions.first().map(String::as_str), Some("host"));
    assert_eq!(positions.last().map(String::as_str), Some("dut"));
    assert!(fs::read(stick.medium()).unwrap().starts_with(&bytes));
    storage.off().await.unwrap();
    let positions = board.texts("position", "position");
    assert_eq!(positions.last().map(String::as_str), Some("off"));
}

fn the_released_client_flashes_and_dumps(guest: &Guest, board: &Usb, stick: &Usb) {
    let Some(venv) = venv() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (image, dump) = (dir.path().join("image"), dir.path().join("dump"));
    let bytes: Vec<u8> = (0..4 << 20_u32).map(|at| (at % 241) as u8).collect();
    fs::write(&image, &bytes).unwrap();
    let before = board.texts("position", "position").len();
    guest.flashed_and_dumped(venv, "dutlink.storage", &image, &dump);
    let held = fs::read(stick.medium()).unwrap();
    assert!(held.starts_with(&bytes) && fs::read(&dump).unwrap() == held);
    let told = board.texts("position", "position");
    assert_eq!(told[before..], ["host", "dut", "host", "dut"]);
}

async fn a_pulled_board_takes_all_of_its_parts_and_brings_them_back(
    guest: &Guest,
    exporter: &Exporter,
    board: &Usb,
) {
    board.unplug();
    let end = std::time::Instant::now() + STEP_LIMIT;
    let error = loop {
        match call(exporter, "dutlink.power", "on").await {
            Err(error) => break error,
            Ok(_) => assert!(std::time::Instant::now() < end, "{}", guest.stderr.text()),
        }
    };
    assert_eq!(error.code(), Some(Code::Unavailable), "{error}");
    board.plug();
    while let Err(error) = call(exporter, "dutlink.power", "off").await {
        assert!(std::time::Instant::now() < end, "{error}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(
        board.texts("power", "state").last().map(String::as_str),
        Some("off")
    );
}
