//! The virtual board as a client meets it: booted, logged in, read until a text comes.

use std::time::Duration;

use bytes::Bytes;
use rigd_client::{ByteReceiver, Compression, Exporter};

use super::rig::{noise, within};

pub(crate) const PROMPT: &str = "root@rpi4:~# ";
const LIMIT: Duration = Duration::from_secs(60);

/// Writes an image, boots it and logs in.
pub(crate) async fn boot(exporter: &Exporter) {
    let device = |path: &'static str| async move { exporter.device(path).await.unwrap() };
    let storage = device("board.storage").await;
    let power = device("board.power").await.power();
    let mut console = device("board.console").await.console().open();
    console.opened().await.unwrap();
    let image = noise(1, 2 << 20);
    storage
        .upload(
            "write",
            |handle| vec![handle],
            &image[..],
            Compression::None,
        )
        .await
        .unwrap();
    storage.call("dut", vec![]).await.unwrap();
    power.on().await.unwrap();
    let (mut sender, mut receiver) = console.split();
    read_until(&mut receiver, "login: ").await;
    sender.send(Bytes::from_static(b"root\n")).await.unwrap();
    read_until(&mut receiver, PROMPT).await;
}

/// All that came up to the end of `wanted`, which is the last that was printed.
pub(crate) async fn read_until(receiver: &mut ByteReceiver, wanted: &str) -> Vec<u8> {
    let mut seen = Vec::new();
    let read = async {
        while !seen.ends_with(wanted.as_bytes()) {
            let bytes = receiver.recv().await.unwrap();
            seen.extend_from_slice(&bytes.expect("the console goes on"));
        }
    };
    within(LIMIT, &format!("{wanted:?} on the console"), read).await;
    seen
}
