//! The card without a mux, on loop devices, when a transfer breaks off: what is told then, what is known
//! afterwards, and what the next write does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's own steps fail the test, in functions beside the tests as well"
)]

mod device;
mod lease;
#[macro_use]
mod card;

use std::{os::unix::fs::FileExt, path::Path, time::Duration};

use card::{MIB, disk, incomplete, lease, with, write};
use device::{Loop, ToolError, noise, skip};
use lease::{Lease, drain};
use rigd_driver::DriverError;
use rigd_drivers_storage::DiskStorage;
use rigd_flash::FlashSettings;
use serde_json::json;

#[tokio::test]
async fn a_broken_write_that_starts_again_saves_what_is_proven() {
    let device = loop_device!(32 * MIB);
    let lease = lease(device.path()).await;
    let image = noise(32 * MIB, 9);
    let (sender, handle) = lease.upload();
    let part = image[..20 * MIB].to_vec();
    let feeding = tokio::spawn(async move {
        for piece in part.chunks(65_536) {
            assert!(sender.send(piece.to_vec().into()).await);
        }
    });
    let error = lease.fails("write", json!([handle])).await;
    feeding.await.unwrap();
    assert!(
        error
            .to_string()
            .contains("upload broken: the client went away"),
        "{error}"
    );
    let report = write(&lease, &image).await.unwrap();
    let unchanged = report["unchanged"].as_u64().unwrap();
    assert!(unchanged >= 8 * MIB as u64, "{report}");
    assert!(device.bytes() == image);
}

#[tokio::test]
async fn a_disk_that_fails_in_mid_write_is_told_with_its_place() {
    // A loop device over a file that the file system below has no room for.
    let small = match device::SmallTmpfs::new(8 * MIB) {
        Ok(small) => small,
        Err(ToolError(why)) => return skip(&why),
    };
    let device = match Loop::over(&small.0.join("card.img"), 64 * MIB, &[]) {
        Ok(device) => device,
        Err(why) => return skip(&why),
    };
    let lease = lease(device.path()).await;
    let error = write(&lease, &noise(32 * MIB, 12)).await.unwrap_err();
    assert!(matches!(error, DriverError::Device(_)), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains(&format!("write {}", device.path().display())) || text.contains("sync"),
        "{text}"
    );
    assert_eq!(incomplete(&lease).await, format!("card incomplete: {text}"));
}

#[tokio::test]
async fn a_card_that_fails_to_read_breaks_the_dump_with_its_place() {
    let device = loop_device!(8 * MIB);
    device.fill(0xee);
    let lease = lease(device.path()).await;
    // A loop device has errors where its file has nothing.
    let file = std::fs::File::options()
        .write(true)
        .open(device.file())
        .unwrap();
    file.set_len(4 * MIB as u64).unwrap();
    let (source, handle) = lease.download();
    let drained = tokio::spawn(drain(source));
    let error = lease.fails("read", json!([handle])).await;
    assert!(matches!(error, DriverError::Device(_)), "{error:?}");
    assert_eq!(
        error.to_string(),
        format!(
            "read stopped at 4 MiB of 8 MiB: cannot read {} at byte 4194304: Input/output error (os \
             error 5)",
            device.path().display()
        )
    );
    assert_eq!(drained.await.unwrap(), None, "a part has no end");
    // Nobody wrote, so the board may have the card.
    lease.ok("dut", json!([])).await;
    file.set_len(8 * MIB as u64).unwrap();
    let dump = lease.receive("read", json!(["HANDLE"])).await.unwrap();
    assert!(dump[..4 * MIB].iter().all(|byte| *byte == 0xee) && dump.len() == 8 * MIB);
}

#[tokio::test]
async fn a_device_that_is_not_there_makes_the_instance_absent() {
    let dir = tempfile::tempdir().unwrap();
    let device = loop_device!(4 * MIB);
    let link = dir.path().join("card");
    std::os::unix::fs::symlink(device.path(), &link).unwrap();
    let lease = lease(&link).await;
    write(&lease, b"image").await.unwrap();
    std::fs::remove_file(&link).unwrap();
    let error = write(&lease, b"image").await.unwrap_err();
    assert!(matches!(error, DriverError::Timeout(_)), "{error:?}");
    let text = error.to_string();
    assert!(
        text.starts_with("the card did not become available on the host within 1 s: "),
        "{text}"
    );
    let error = lease.fails("dut", json!([])).await;
    assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
}

/// A write whose client has sent a part and then nothing any more.
macro_rules! stalled_write {
    ($lease:expr, $bytes:expr) => {{
        let (sender, handle) = $lease.upload();
        let part = noise($bytes, 13);
        let feeding = tokio::spawn(async move {
            for piece in part.chunks(65_536) {
                if !sender.send(piece.to_vec().into()).await {
                    break;
                }
            }
            // Kept, so that the upload neither ends nor breaks.
            sender.closed().await;
        });
        (feeding, handle)
    }};
}

/// Waits until the first buffer of a stalled write is on the device.
async fn begun(device: &Loop) {
    for _ in 0..400 {
        if device.bytes()[4 * MIB..8 * MIB] == noise(9 * MIB, 13)[4 * MIB..8 * MIB] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the write did not begin");
}

#[tokio::test]
async fn a_client_that_goes_away_in_mid_write_leaves_the_card_incomplete() {
    let device = loop_device!(32 * MIB);
    let lease = lease(device.path()).await;
    let (feeding, handle) = stalled_write!(lease, 9 * MIB);
    let writing = lease.call("write", json!([handle]));
    tokio::select! {
        written = writing => panic!("{written:?}"),
        () = begun(&device) => {}
    }
    feeding.await.unwrap();
    // The next call waits for what winds up.
    let text = incomplete(&lease).await;
    assert_eq!(
        text,
        "card incomplete: write stopped at 8 MiB: write: the caller went away"
    );
    write(&lease, &noise(MIB, 1)).await.unwrap();
    lease.ok("dut", json!([])).await;
}

#[tokio::test]
async fn a_lease_that_ends_in_mid_write_leaves_the_card_incomplete() {
    let device = loop_device!(32 * MIB);
    let lease = lease(device.path()).await;
    let (feeding, handle) = stalled_write!(lease, 9 * MIB);
    let writing = lease.call("write", json!([handle]));
    let ending = async {
        begun(&device).await;
        lease.next().await;
    };
    let (written, ()) = tokio::join!(writing, ending);
    assert!(
        matches!(written, Err(DriverError::Fenced(_))),
        "{written:?}"
    );
    feeding.await.unwrap();
    let text = incomplete(&lease).await;
    assert!(
        text.starts_with("card incomplete: ") && text.contains("the lease ended"),
        "{text}"
    );
    write(&lease, &noise(MIB, 1)).await.unwrap();
    lease.ok("dut", json!([])).await;
}

#[tokio::test]
async fn a_daemon_that_stops_in_mid_write_knows_afterwards() {
    let device = loop_device!(32 * MIB);
    let state = tempfile::tempdir().unwrap();
    let first = Lease::start_in::<DiskStorage>(disk(device.path()), state.path()).await;
    let (feeding, handle) = stalled_write!(first, 9 * MIB);
    let writing = first.call("write", json!([handle]));
    let stopping = async {
        begun(&device).await;
        // As the daemon does: keys first.
        first.next().await;
        first.instance.close().await;
    };
    let (written, ()) = tokio::join!(writing, stopping);
    written.unwrap_err();
    feeding.await.unwrap();
    let second = Lease::start_in::<DiskStorage>(disk(device.path()), state.path()).await;
    let text = incomplete(&second).await;
    assert!(text.contains("the lease ended"), "{text}");
    write(&second, &noise(MIB, 1)).await.unwrap();
    second.ok("dut", json!([])).await;
}

#[tokio::test]
async fn a_card_that_does_not_keep_what_was_written_fails_the_write() {
    let device = loop_device!(32 * MIB);
    let lease = lease(device.path()).await;
    let (sender, handle) = lease.upload();
    let writing = lease.call("write", json!([handle]));
    let feeding = async {
        for piece in noise(9 * MIB, 13).chunks(65_536) {
            assert!(sender.send(piece.to_vec().into()).await);
        }
        begun(&device).await;
        // Behind the device, as a cell that loses a bit.
        let file = std::fs::File::options()
            .write(true)
            .open(device.file())
            .unwrap();
        let at = 5 * MIB + 9;
        let wrong = [!device.bytes()[at]];
        file.write_all_at(&wrong, at as u64).unwrap();
        file.sync_all().unwrap();
        sender.end().await;
    };
    let (written, ()) = tokio::join!(writing, feeding);
    let error = written.unwrap_err();
    assert!(matches!(error, DriverError::Device(_)), "{error:?}");
    let text = format!(
        "write stopped at 9 MiB of 9 MiB: verify failed: {} reads back other bytes than were written \
         within the MiB at 5 MiB (byte 5242880)",
        device.path().display()
    );
    assert_eq!(error.to_string(), text);
    assert_eq!(incomplete(&lease).await, format!("card incomplete: {text}"));
    // Nothing of it counts as known.
    let report = write(&lease, &noise(9 * MIB, 13)).await.unwrap();
    assert_eq!(report["unchanged"], 0);
    lease.ok("dut", json!([])).await;
}

#[tokio::test]
async fn force_gives_an_incomplete_card_to_the_board() {
    let device = loop_device!(8 * MIB);
    let force = FlashSettings {
        force: true,
        ..FlashSettings::default()
    };
    let lease = with(device.path(), force).await;
    write(&lease, &noise(9 * MIB, 1)).await.unwrap_err();
    lease.ok("dut", json!([])).await;
}

/// Where the process that is killed finds its device and state.
const KILLED: &str = "RIGD_TEST_KILLED";

#[tokio::test]
async fn a_killed_daemon_knows_after_its_restart() {
    let device = loop_device!(32 * MIB);
    let state = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writes_until_it_is_killed", "--ignored"])
        .env(
            KILLED,
            format!("{} {}", device.path().display(), state.path().display()),
        )
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    begun(&device).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let lease = Lease::start_in::<DiskStorage>(disk(device.path()), state.path()).await;
    assert_eq!(
        incomplete(&lease).await,
        "card incomplete: the last write was interrupted"
    );
    let image = noise(20 * MIB, 14);
    write(&lease, &image).await.unwrap();
    lease.ok("dut", json!([])).await;
    assert!(device.bytes()[..image.len()] == image);
}

#[tokio::test]
#[ignore = "started by a_killed_daemon_knows_after_its_restart"]
async fn writes_until_it_is_killed() {
    let told = std::env::var(KILLED).unwrap();
    let (device, state) = told.split_once(' ').unwrap();
    let lease = Lease::start_in::<DiskStorage>(disk(Path::new(device)), Path::new(state)).await;
    let (_feeding, handle) = stalled_write!(lease, 9 * MIB);
    lease.call("write", json!([handle])).await.ok();
}
