//! A card that the service writes, as its user and without a capability.

use rigd_client::Exporter;
use serde_json::json;
use tempfile::TempDir;

use crate::{
    cards::{Image, MIB, positions},
    rig::Guest,
};

pub(crate) async fn a_card_is_written_and_given_to_the_board(guest: &Guest, exporter: &Exporter) {
    let dir = TempDir::new().unwrap();
    let (mux, medium) = (guest.usb("sdwire"), guest.usb("sdwire.reader").medium());
    let card = exporter.device("sdwire").await.unwrap();
    let image = Image::new(dir.path(), 1, 4 * MIB);
    let report = image.write_with(&card, json!({"verify": "full"})).await;
    let report = report.unwrap();
    assert_eq!(report["verified"], json!(image.bytes.len()), "{report}");
    assert!(image.is_on(&medium));
    card.storage().dut().await.unwrap();
    assert_eq!(positions(&mux), ["host", "dut"]);
    assert!(image.is_on(&medium));
}
