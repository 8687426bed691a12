//! Faults: injected ones, configured ones, and the real ones of the file under the card.

mod rig;

use std::time::Duration;

use rig::{Rig, image};
use rigd_driver::{DriverError, Health};
use serde_json::{Value, json};

#[tokio::test]
async fn a_lost_console_ends_streams_is_absent_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), json!({})).await;
    let mut console = rig.console().await;
    rig.inject("console_lost", json!(true)).await;
    let error = console.end().await.expect("an error");
    assert!(error.to_string().contains("unplugged"), "{error}");
    rig.health("console", |h| matches!(h, Health::Absent(_)))
        .await;
    let error = rig.try_console().await.err().expect("absent");
    assert!(matches!(error, DriverError::Unavailable(_)), "{error}");
    // The others do not notice.
    rig.call("power", "on").await;
    rig.inject("console_lost", Value::Null).await;
    rig.call("power", "off").await;
    let back = async {
        loop {
            match rig.try_console().await {
                Ok(console) => break console,
                Err(DriverError::Unavailable(_)) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(other) => panic!("{other}"),
            }
        }
    };
    let mut console = tokio::time::timeout(rig::LIMIT, back).await.unwrap();
    rig.call("power", "on").await;
    console.expect("U-Boot").await;
}

#[tokio::test]
async fn an_io_error_of_the_card_meets_host_and_board() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), json!({})).await;
    let image = image(1, 2_000_000);
    rig.write(&image).await.unwrap();
    rig.inject("card_eio", json!(1_500_000)).await;
    let mut console = rig.console().await;
    rig.call("storage", "dut").await;
    rig.call("power", "on").await;
    console.expect("I/O error, dev mmcblk0, sector 2929").await;
    let error = rig.write(&image).await.unwrap_err();
    assert!(matches!(error, DriverError::Device(_)), "{error}");
    assert!(error.to_string().contains("at byte 1500000"), "{error}");
    let error = rig.read().await.unwrap_err();
    assert!(matches!(error, DriverError::Device(_)), "{error}");
    rig.call("", "clear").await;
    rig.call("power", "off").await;
    rig.call("storage", "dut").await;
    rig.call("power", "on").await;
    console.expect("image incomplete").await;
}

#[tokio::test]
async fn a_stalled_write_holds_the_card_alone_until_it_is_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), json!({"faults": {"card_stall": true}})).await;
    let (sender, work) = rig.begin_write();
    let work = tokio::spawn(work);
    sender.send(bytes::Bytes::from_static(b"image")).await;
    let busy = async {
        while rig.parts["storage"].busy().is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(rig::LIMIT, busy).await.unwrap();
    let error = rig.try_call("storage", "dut", vec![]).await.unwrap_err();
    assert!(error.to_string().starts_with("busy: write"), "{error}");
    // The other parts go on, and the write with them when the fault is gone.
    rig.call("power", "on").await;
    rig.call("power", "off").await;
    assert!(!work.is_finished());
    rig.call("", "clear").await;
    sender.end().await;
    work.await.unwrap().unwrap();
}

#[tokio::test]
async fn closing_the_board_lets_a_stalled_write_go() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), json!({"faults": {"card_stall": true}})).await;
    let (sender, work) = rig.begin_write();
    let work = tokio::spawn(work);
    sender.send(bytes::Bytes::from_static(b"image")).await;
    drop(sender);
    rig.stop().await;
    let outcome = tokio::time::timeout(rig::LIMIT, work).await.unwrap();
    outcome.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_stuck_relay_takes_orders_and_does_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), json!({})).await;
    let mut console = rig.boot(b"image").await;
    rig.inject("relay_stuck", json!(true)).await;
    rig.call("power", "off").await;
    console.login().await;
    rig.call("", "clear").await;
    rig.call("power", "off").await;
    rig.call("power", "on").await;
    console.expect("U-Boot").await;
}

#[tokio::test]
async fn a_slow_card_is_slow_and_a_cancelled_write_ends() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), json!({"faults": {"card_slow": "1MB"}})).await;
    let started = std::time::Instant::now();
    rig.write(&image(1, 200_000)).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(190));
    rig.inject("card_slow", json!(1)).await;
    let (sender, work) = rig.begin_write();
    let work = tokio::spawn(work);
    sender.send(bytes::Bytes::from_static(&[1; 60_000])).await;
    let busy = |wanted: bool| {
        let storage = rig.parts["storage"].clone();
        async move {
            while storage.busy().is_some() != wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    tokio::time::timeout(rig::LIMIT, busy(true)).await.unwrap();
    work.abort();
    tokio::time::timeout(rig::LIMIT, busy(false)).await.unwrap();
}

#[tokio::test]
async fn faults_are_told_and_wrong_ones_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), json!({})).await;
    rig.inject("card_slow", json!("2MiB")).await;
    let faults = rig.try_call("", "faults", vec![]).await.unwrap();
    assert_eq!(faults["card_slow"], 2 << 20);
    assert_eq!(faults["relay_stuck"], false);
    let error = rig
        .try_call("", "inject", vec![json!("fire"), json!(true)])
        .await;
    let error = error.unwrap_err();
    assert!(matches!(error, DriverError::InvalidArgument(_)));
    assert!(error.to_string().contains("`relay_stuck`"), "{error}");
}

#[tokio::test]
async fn an_image_larger_than_the_card_is_refused_by_both_sizes() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), json!({})).await;
    let error = rig.write(&image(1, (4 << 20) + 1)).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("4194305 bytes") && text.contains("4194304 bytes (4 MiB)"),
        "{text}"
    );
    let mut console = rig.console().await;
    rig.call("storage", "dut").await;
    rig.call("power", "on").await;
    console.expect("image incomplete").await;
}

/// A file system with a little room; gone with the test.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().ok()?;
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "rigd-test"])
            .arg(dir.path())
            .output();
        match mount {
            Ok(done) if done.status.success() => Some(Self(dir)),
            failed => {
                let required = std::env::var("RIGD_TEST_REQUIRE").is_ok();
                assert!(!required, "cannot mount a small file system: {failed:?}");
                println!("SKIPPED: cannot mount a small file system: {failed:?}");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let path = self.0.path();
        std::process::Command::new("umount")
            .arg("-l")
            .arg(path)
            .status()
            .ok();
    }
}

#[tokio::test]
async fn a_full_disk_under_the_card_is_named_and_the_card_is_incomplete() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let rig = Rig::start(disk.0.path(), json!({})).await;
    let error = rig.write(&image(1, 3 << 20)).await.unwrap_err();
    assert!(matches!(error, DriverError::Device(_)), "{error}");
    let text = error.to_string();
    assert!(
        text.starts_with("no space left on the file system under the card"),
        "{text}"
    );
    let mut console = rig.console().await;
    rig.call("storage", "dut").await;
    rig.call("power", "on").await;
    console.expect("image incomplete").await;
    rig.stop().await;
}
