//! A card that somebody else may have written to since: what is proven of it, and what is written again.

use std::{fs::OpenOptions, os::unix::fs::FileExt as _, path::Path};

use rigd_client::{Device, Exporter};
use serde_json::{Value, json};

use crate::{
    cards::{Image, MIB, storage},
    rig::Guest,
};

/// One byte of the image's third MiB, on the card without the host.
fn change_one_block(medium: &Path) {
    let file = OpenOptions::new().write(true).open(medium).unwrap();
    file.write_all_at(&[0xa5], 2 * MIB as u64 + 4711).unwrap();
}

/// What the report says was not written of an image, which is on the card afterwards. Nothing is read
/// back, so only the proof stands between a changed block and the board.
async fn unchanged(image: &Image, card: &Device, medium: &Path) -> Value {
    let report = image.write_with(card, json!({"verify": "none"})).await;
    assert!(image.is_on(medium), "{report:?}");
    report.unwrap()["unchanged"].take()
}

pub(crate) async fn a_block_that_changed_is_written_again(
    guest: &mut Guest,
    exporter: &Exporter,
    dir: &Path,
) {
    let image = Image::new(dir, 30, 4 * MIB);
    let (none, all) = (json!(0), json!(image.bytes.len()));
    // At the board. Of a stick that is always there the kernel sees nothing: the mux alone knows.
    for (mux, card) in [("sdwire", "sdwire.reader"), ("switched", "stick")] {
        let (device, medium) = (
            exporter.device(mux).await.unwrap(),
            guest.usb(card).medium(),
        );
        assert_eq!(unchanged(&image, &device, &medium).await, none);
        assert_eq!(unchanged(&image, &device, &medium).await, all);
        storage(exporter, mux).await.dut().await.unwrap();
        change_one_block(&medium);
        assert!(!image.is_on(&medium));
        assert_eq!(unchanged(&image, &device, &medium).await, none, "{mux}");
        assert_eq!(unchanged(&image, &device, &medium).await, all);
    }

    let (card, reader) = (
        storage(exporter, "sdwire").await,
        guest.usb("sdwire.reader"),
    );
    let (device, medium) = (exporter.device("sdwire").await.unwrap(), reader.medium());
    let node = "node TSDWIRE.READER \"$disk\"";
    let unchanged = async || unchanged(&image, &device, &medium).await;
    // In its reader, by another program of the host.
    guest.run(&format!(
        "printf '%4096s' >/run/block; dd if=/run/block of=$({node}) bs=4096 seek=600 oflag=direct 2>&1"
    ));
    assert!(!image.is_on(&medium));
    assert_eq!(unchanged().await, none);
    assert_eq!(unchanged().await, all);

    // Taken out, and put in: nothing of the disk but its sequence number shows it.
    reader.set(json!({"present": false}));
    guest.run(&format!("! : <$({node})"));
    change_one_block(&medium);
    reader.set(json!({"present": true}));
    assert_eq!(unchanged().await, none);
    assert_eq!(unchanged().await, all);

    // With its reader.
    reader.unplug();
    guest.until(&format!("! {node}"));
    change_one_block(&medium);
    reader.plug();
    assert_eq!(unchanged().await, none);
    card.dut().await.unwrap();
}
