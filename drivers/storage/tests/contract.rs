//! Every driver keeps the contract.

use std::collections::BTreeMap;

use rigd_driver::contract;
use rigd_drivers_storage::{
    DiskConfig, DiskStorage, FileMux, FileMuxConfig, FileStore, FileStoreConfig, MockFlasher,
    MockFlasherConfig, MockMux, MockMuxConfig, MockMuxFlasher,
};
use rigd_flash::FlashSettings;

#[tokio::test]
async fn the_mock_muxes_keep_the_contract() {
    contract::check::<MockMux>(MockMuxConfig {}).await;
    contract::check::<MockMuxFlasher>(MockMuxConfig {}).await;
}

#[tokio::test]
async fn the_mock_flasher_keeps_the_contract() {
    contract::check::<MockFlasher>(MockFlasherConfig {}).await;
}

#[tokio::test]
async fn the_disk_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("card.img");
    std::fs::write(&path, [0; 4096]).unwrap();
    let config = serde_json::json!({"device": path, "storage_timeout": 1});
    let config: DiskConfig = serde_json::from_value(config).unwrap();
    contract::check::<DiskStorage>(config).await;
}

#[tokio::test]
async fn the_file_mux_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("card.img");
    contract::check::<FileMux>(FileMuxConfig {
        path,
        size: None,
        flash: FlashSettings::default(),
    })
    .await;
}

#[tokio::test]
async fn a_relative_card_keeps_the_contract() {
    let path = "card.img".into();
    contract::check::<FileMux>(FileMuxConfig {
        path,
        size: None,
        flash: FlashSettings::default(),
    })
    .await;
}

#[tokio::test]
async fn the_file_store_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().display().to_string();
    contract::check::<FileStore>(FileStoreConfig {
        scheme: "fs".into(),
        kwargs: BTreeMap::from([("root".into(), root)]),
        remove_created_on_close: true,
    })
    .await;
}
