//! A card that the lab host plays, seen by the board: the guest has both ends, by dummy_hcd.

use rigd_client::{Code, Compression, Exporter};
use std::{fs, path::Path, process::Command};

use super::{
    Images, refused,
    rig::{Guest, STEP_LIMIT},
    storage,
    support::{python::venv, repository},
};

/// Of the guest: where its card is. One bind mount more tells what the kernel prints of a mount that
/// is gone.
pub(crate) const CARDS: &str = "/run/cards";
const LUN: &str =
    "/sys/kernel/config/usb_gadget/rigd-sdmux-gadget/functions/mass_storage.rigd/lun.0";
/// Where the board has its disk, once it has found it.
const BOARD: &str = "card=$(node GADGET1 \"$disk\")";

pub(crate) async fn a_gadget_is_a_card_of_the_board(
    guest: &mut Guest,
    exporter: &Exporter,
    images: &Images,
) {
    let storage = storage(exporter, "gadget").await;
    images.write(&storage).await;
    storage.dut().await.unwrap();
    assert_eq!(loaded(guest), format!("{CARDS}/gadget.img"));
    the_board_has(guest, &images.image);
    // 16 MiB, as the configuration says.
    assert_eq!(
        guest.run("read -r n </sys/block/${card##*/}/size; echo $n"),
        "32768"
    );

    guest.run("printf 'from the board' | dd of=$card bs=512 seek=3 conv=sync,fsync oflag=direct status=none");
    storage
        .read_file(&images.dump, Compression::None)
        .await
        .unwrap();
    assert_eq!(loaded(guest), "");
    let (dump, image) = (
        fs::read(&images.dump).unwrap(),
        fs::read(&images.image).unwrap(),
    );
    assert_eq!(dump.len(), 16 << 20);
    assert!(dump[1536..].starts_with(b"from the board"));
    assert!(dump[..1536] == image[..1536] && dump[2048..].starts_with(&image[2048..]));
    guest.run("! dd if=$card of=/dev/null count=1 iflag=direct status=none 2>/run/said; read -r said </run/said; [[ $said == *'No medium'* ]]");
}

/// As it has one that it booted from.
pub(crate) async fn a_card_that_the_board_has_open_is_taken(
    guest: &mut Guest,
    exporter: &Exporter,
) {
    let storage = storage(exporter, "gadget").await;
    storage.dut().await.unwrap();
    guest.until("exec 7<$card");
    guest.run(&format!("! echo >{LUN}/file"));
    storage.host().await.unwrap();
    let told = guest.stderr.wait(STEP_LIMIT, |line| {
        line.contains("The board had the card in use")
    });
    assert!(told.is_some(), "{}", guest.stderr.text());
    assert_eq!(loaded(guest), "");
    guest.run("! dd if=$card of=/dev/null count=1 iflag=direct status=none && exec 7<&-");
}

pub(crate) async fn a_broken_write_keeps_the_card_from_the_board(
    guest: &mut Guest,
    exporter: &Exporter,
    images: &Images,
) {
    let storage = storage(exporter, "gadget").await;
    // Compressed data that ends within.
    let packed = Command::new("gzip")
        .arg("-c")
        .arg(&images.image)
        .output()
        .unwrap();
    let half = images.image.with_file_name("half.gz");
    fs::write(&half, &packed.stdout[..packed.stdout.len() - 100]).unwrap();
    storage
        .write_file(&half, Compression::None)
        .await
        .unwrap_err();
    let error = storage.dut().await.unwrap_err();
    assert!(
        refused(&error, Code::FailedPrecondition, "card incomplete: "),
        "{error}"
    );
    assert_eq!(loaded(guest), "");
    images.write(&storage).await;
    storage.dut().await.unwrap();
    the_board_has(guest, &images.image);
}

/// `tests/guest/flash.py` has the gadget flash and dump.
pub(crate) fn the_released_client_flashes_a_gadget(guest: &mut Guest, images: &Images) {
    let Some(venv) = venv() else { return };
    guest.run(&format!(
        "echo >{LUN}/file; truncate -s 0 {CARDS}/gadget.img; truncate -s 16M {CARDS}/gadget.img"
    ));
    let mut client = guest.released_client(venv);
    client.arg(repository().join("tests/guest/flash.py"));
    client.arg("gadget").args([&images.image, &images.dump]);
    let status = client.status().unwrap();
    assert!(status.success(), "{}", guest.stderr.text());
    the_board_has(guest, &images.image);
    let dump = fs::read(&images.dump).unwrap();
    assert!(dump.len() == 16 << 20 && dump.starts_with(&fs::read(&images.image).unwrap()));
}

/// The board runs on from its card while the daemon is away, and the next one finds it there; also where
/// the one before had mounts of its own, as a service has.
pub(crate) async fn a_daemon_that_starts_anew_finds_the_card_at_the_board(
    guest: &mut Guest,
    file: &Path,
    images: &Images,
) {
    guest.kill();
    the_board_has(guest, &images.image);
    guest.run(&format!(
        "echo >{LUN}/file; unshare -m bash -c 'mount --bind {CARDS} {CARDS}; echo {CARDS}/gadget.img >{LUN}/file'"
    ));
    assert_eq!(loaded(guest), "/gadget.img");
    let exporter = guest.serve(file).await;
    let storage = storage(&exporter, "gadget").await;
    storage.dut().await.unwrap();
    assert_eq!(loaded(guest), "/gadget.img", "it was there already");
    storage
        .read_file(&images.dump, Compression::None)
        .await
        .unwrap();
    assert_eq!(loaded(guest), "");
    assert!(
        fs::read(&images.dump)
            .unwrap()
            .starts_with(&fs::read(&images.image).unwrap())
    );
    storage.dut().await.unwrap();
    assert_eq!(loaded(guest), format!("{CARDS}/gadget.img"));
    // Something else in it is no card of ours, and stays.
    guest.run(&format!(
        "echo >{LUN}/file; truncate -s 1M {CARDS}/other.img; echo {CARDS}/other.img >{LUN}/file"
    ));
    let error = storage.host().await.unwrap_err();
    assert!(
        refused(
            &error,
            Code::FailedPrecondition,
            "and not the card /run/cards/gadget.img"
        ),
        "{error}"
    );
    assert_eq!(loaded(guest), format!("{CARDS}/other.img"));
}

/// What the kernel has for the board.
fn loaded(guest: &mut Guest) -> String {
    guest.run(&format!("cat {LUN}/file"))
}

fn the_board_has(guest: &mut Guest, image: &Path) {
    let bytes = fs::metadata(image).unwrap().len();
    let image = image.display();
    guest.until(&format!("{BOARD} && cmp -n {bytes} {image} $card"));
}
