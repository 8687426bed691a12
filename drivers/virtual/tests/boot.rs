//! What the board does with power and card: each sentence of its description.

mod rig;

use rig::{Rig, image, sha256};
use serde_json::json;

#[tokio::test]
async fn the_board_boots_the_image_and_knows_its_digest() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), json!({})).await;
    let image = image(1, 3_000_001);
    let mut console = rig.console().await;
    rig.call("power", "off").await;
    rig.write(&image).await.unwrap();
    rig.call("storage", "dut").await;
    rig.call("power", "on").await;
    console
        .expect(&format!("Image sha256:{}\r\n", sha256(&image)))
        .await;
    console.expect("\r\nrpi4 login: ").await;
    console.login().await;
    assert_eq!(
        console.run("image-digest").await,
        format!("{}\r\n", sha256(&image))
    );
    assert_eq!(
        console.run("foo").await,
        "-sh: foo: not found\r\n".to_owned()
    );
    assert!(console.run("uname -a").await.starts_with("Linux rpi4 "));
    assert!(console.run("dmesg").await.contains("Booting Linux"));
    assert_eq!(console.run("cat /etc/hostname").await, "rpi4\r\n");
    rig.stop().await;
}

#[tokio::test]
async fn a_short_image_after_a_long_one_is_the_image() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), json!({})).await;
    rig.boot(&image(1, 2_000_000)).await;
    rig.call("power", "off").await;
    let mut console = rig.boot(b"short").await;
    console.login().await;
    let digest = console.run("image-digest").await;
    assert_eq!(digest, format!("{}\r\n", sha256(b"short")));
    // A card keeps what lies behind the image.
    let card = rig.read().await.unwrap();
    assert_eq!(card.len(), 4 << 20);
    assert_eq!(card[..5], *b"short");
    assert_eq!(card[5..2_000_000], image(1, 2_000_000)[5..]);
}

#[tokio::test]
async fn without_a_medium_the_board_says_so_again_and_boots_when_a_card_appears() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), json!({})).await;
    let mut console = rig.console().await;
    rig.call("power", "on").await;
    console.expect("No bootable medium found\r\n").await;
    console.expect("No bootable medium found\r\n").await;
    rig.write(&image(3, 10_000)).await.unwrap();
    console.expect("No bootable medium found\r\n").await;
    rig.call("storage", "dut").await;
    console.expect("Image sha256:").await;
    rig.call("power", "off").await;
    rig.write(&[0; 2 << 20]).await.unwrap();
    rig.call("storage", "dut").await;
    rig.call("power", "on").await;
    console.expect("No bootable medium found\r\n").await;
}

#[tokio::test]
async fn the_card_taken_by_the_host_stops_a_running_board() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), json!({})).await;
    let mut console = rig.boot(b"image").await;
    rig.call("storage", "host").await;
    console.expect("I/O error").await;
    console.expect("Kernel panic").await;
    rig.call("storage", "dut").await;
    rig.call("power", "off").await;
    rig.call("power", "on").await;
    console.expect("rpi4 login: ").await;
    // `read` and `write` take the card as well.
    rig.read().await.unwrap();
    console.expect("Kernel panic").await;
}

#[tokio::test]
async fn a_broken_upload_leaves_an_incomplete_card_until_the_next_good_one() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), json!({})).await;
    rig.write(&image(1, 100_000)).await.unwrap();
    let (sender, work) = rig.begin_write();
    let broken = async move {
        sender.send(bytes::Bytes::from_static(b"half")).await;
        drop(sender);
    };
    let (result, ()) = tokio::join!(work, broken);
    let text = result.unwrap_err().to_string();
    assert!(text.starts_with("upload broken"), "{text}");
    let mut console = rig.console().await;
    rig.call("storage", "dut").await;
    rig.call("power", "on").await;
    console.expect("image incomplete\r\n").await;
    rig.call("power", "off").await;
    rig.boot(&image(2, 100_000)).await;
}

#[tokio::test]
async fn a_good_card_outlives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let image = image(5, 1_500_000);
    let rig = Rig::start(dir.path(), json!({})).await;
    rig.boot(&image).await;
    rig.stop().await;

    let rig = Rig::start(dir.path(), json!({})).await;
    let mut console = rig.console().await;
    rig.call("power", "on").await;
    let digest = format!("Image sha256:{}\r\n", sha256(&image));
    console.expect(&digest).await;
    rig.stop().await;
}

#[tokio::test]
async fn reboot_boots_again_and_poweroff_waits_for_the_relay() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), json!({})).await;
    let mut console = rig.boot(b"image").await;
    console.login().await;
    console.send("reboot\n").await;
    console.expect("Restarting system").await;
    console.expect("rpi4 login: ").await;
    console.login().await;
    console.send("poweroff\r").await;
    console.expect("Power down\r\n").await;
    rig.call("power", "off").await;
    rig.call("power", "on").await;
    console.expect("rpi4 login: ").await;
}

#[tokio::test]
async fn power_off_interrupts_the_reading_of_a_card() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), json!({})).await;
    rig.write(&image(4, 3_000_000)).await.unwrap();
    rig.call("storage", "dut").await;
    // An hour for this image.
    rig.inject("card_slow", json!(800)).await;
    let mut console = rig.console().await;
    rig.call("power", "on").await;
    console.expect("MMC:").await;
    rig.call("power", "off").await;
    rig.inject("card_slow", json!(null)).await;
    rig.call("power", "on").await;
    let output = console.expect("Image sha256:").await;
    assert_eq!(output.matches("U-Boot").count(), 1, "{output}");
}

#[tokio::test]
async fn the_meter_reads_at_once_and_again_and_follows_the_board() {
    use futures::StreamExt;
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), json!({})).await;
    let key = rig.key();
    let power = &rig.parts["power"];
    let readings = power.streaming_call(&key, None, "read", vec![]).unwrap();
    let mut readings = Box::pin(readings);
    let first = readings.next().await.unwrap().unwrap();
    assert_eq!(first, json!({"voltage": 0.0, "current": 0.0}));
    rig.call("power", "on").await;
    let second = readings.next().await.unwrap().unwrap();
    assert!(second["voltage"].as_f64().unwrap() > 4.5, "{second}");
    assert!(second["current"].as_f64().unwrap() > 0.0, "{second}");
}
