//! The card without a mux, while others use it: who is refused, with the name of who uses it, where the
//! kernel tells.

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

use std::{fs::File, os::unix::fs::OpenOptionsExt as _, time::Duration};

use card::{MIB, lease, write};
use device::{Loop, MountedElsewhere, Swap, ToolError, noise, skip};
use lease::Lease;
use rigd_driver::DriverError;
use serde_json::json;

/// Neither writes nor reads; nothing was changed, so that the board may have the card.
async fn in_use(lease: &Lease, text: &str) {
    let wrote = write(lease, &noise(MIB, 1)).await.unwrap_err();
    let read = lease.fails("read", json!([lease.download().1])).await;
    for error in [wrote, read] {
        assert!(
            matches!(error, DriverError::FailedPrecondition(_)),
            "{error:?}"
        );
        assert_eq!(error.to_string(), format!("disk in use: {text}"));
    }
    lease.ok("dut", json!([])).await;
}

fn name(device: &Loop) -> String {
    let name = device.path().file_name().unwrap();
    name.to_string_lossy().into_owned()
}

/// As udisks holds the disks of a desktop: by mounting them.
#[tokio::test]
async fn a_disk_that_udisks_or_anybody_mounted_is_refused_with_the_place() {
    let device = loop_device!(16 * MIB);
    let mounted = match device.mount() {
        Ok(mounted) => mounted,
        Err(ToolError(why)) => return skip(&why),
    };
    let lease = lease(device.path()).await;
    let place = mounted.0.display();
    let text = format!("{} is mounted at {place}", name(&device));
    in_use(&lease, &text).await;
    drop(mounted);
    write(&lease, &noise(MIB, 1)).await.unwrap();
}

#[tokio::test]
async fn swap_space_is_refused() {
    let device = loop_device!(16 * MIB);
    let swap = match Swap::on(&device) {
        Ok(swap) => swap,
        Err(ToolError(why)) => return skip(&why),
    };
    let lease = lease(device.path()).await;
    in_use(&lease, &format!("{} is swap space", name(&device))).await;
    drop(swap);
    write(&lease, &noise(MIB, 1)).await.unwrap();
}

/// What the kernel knows no name of.
fn by_somebody(device: &Loop) -> String {
    let name = name(device);
    format!("another program has {name} open for itself alone, or mounted elsewhere")
}

#[tokio::test]
async fn a_disk_that_a_program_has_for_itself_is_refused() {
    let device = loop_device!(8 * MIB);
    let holder = File::options()
        .read(true)
        .custom_flags(rustix::fs::OFlags::EXCL.bits() as i32)
        .open(device.path())
        .unwrap();
    let lease = lease(device.path()).await;
    in_use(&lease, &by_somebody(&device)).await;
    drop(holder);
    write(&lease, &noise(MIB, 1)).await.unwrap();
}

#[tokio::test]
async fn a_disk_that_a_container_mounted_is_refused() {
    let device = loop_device!(16 * MIB);
    let mounted = match MountedElsewhere::new(&device) {
        Ok(mounted) => mounted,
        Err(ToolError(why)) => return skip(&why),
    };
    let lease = lease(device.path()).await;
    in_use(&lease, &by_somebody(&device)).await;
    drop(mounted);
    write(&lease, &noise(MIB, 1)).await.unwrap();
}

#[tokio::test]
async fn the_file_of_a_loop_device_is_in_use() {
    let device = loop_device!(4 * MIB);
    let lease = lease(device.file()).await;
    let error = write(&lease, b"image").await.unwrap_err().to_string();
    let shown = device.path().display();
    assert!(
        error.ends_with(&format!("is the file of {shown}")),
        "{error}"
    );
}

#[tokio::test]
async fn a_read_only_device_is_write_protected() {
    let device = match Loop::with(4 * MIB, &["--read-only"]) {
        Ok(device) => device,
        Err(why) => return skip(&why),
    };
    let lease = lease(device.path()).await;
    let error = write(&lease, b"image").await.unwrap_err();
    assert!(
        matches!(error, DriverError::FailedPrecondition(_)),
        "{error:?}"
    );
    assert!(
        error
            .to_string()
            .starts_with("card write-protected: /dev/loop"),
        "{error}"
    );
    lease.ok("dut", json!([])).await;
}

#[tokio::test]
async fn two_instances_and_two_clients_exclude_each_other() {
    let device = loop_device!(8 * MIB);
    let (one, two) = (lease(device.path()).await, lease(device.path()).await);
    let (sender, handle) = one.upload();
    sender.send(noise(65_536, 1).into()).await;
    let writing = one.call("write", json!([handle]));
    let others = async {
        // A look at whether it has the disk by now would take the disk from it.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let error = two
            .fails("read", json!([two.download().1]))
            .await
            .to_string();
        // The lock of the other one is waited for, as udev holds it for a moment.
        assert!(error.starts_with("disk in use: "), "{error}");
        let busy = one.fails("host", json!([])).await;
        assert!(busy.to_string().starts_with("busy: write since "), "{busy}");
        one.ok("off", json!([])).await;
        sender.end().await;
    };
    let (written, ()) = tokio::join!(writing, others);
    written.unwrap();
    write(&two, b"image").await.unwrap();
}
