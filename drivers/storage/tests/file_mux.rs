//! The card that is a file: images, limits, broken writes, full disks.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's own steps fail the test, in functions beside the tests as well"
)]

mod lease;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use lease::{Lease, pattern};
use rigd_driver::{Blueprint, Driver, DriverError, Health, contract};
use rigd_drivers_storage::{FileMux, FileMuxConfig};
use rigd_flash::FlashSettings;
use serde_json::json;

fn card(dir: &Path, size: Option<u64>) -> FileMuxConfig {
    let path = dir.join("card.img");
    let flash = FlashSettings::default();
    FileMuxConfig { path, size, flash }
}

async fn incomplete(lease: &Lease) -> String {
    match lease.fails("dut", json!([])).await {
        DriverError::FailedPrecondition(text) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_image_is_the_file_and_outlives_leases_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let lease = Lease::start::<FileMux>(card(dir.path(), None)).await;
    let read = lease.receive("read", json!(["HANDLE"])).await.unwrap();
    assert_eq!(read, b"", "a card that was never written is empty");
    let image = pattern(3 * 1024 * 1024 + 7);
    // From any position: writing and reading switch to the host by themselves.
    lease.ok("dut", json!([])).await;
    let report = lease.send("write", json!(["HANDLE"]), &image).await;
    assert_eq!(report.unwrap()["size"], json!(image.len()));
    assert!(std::fs::read(dir.path().join("card.img")).unwrap() == image);
    lease.ok("dut", json!([])).await;
    lease.next().await;
    let read = lease.receive("read", json!(["HANDLE"])).await.unwrap();
    assert!(read == image);
    lease.ok("off", json!([])).await;
    lease
        .send("write", json!(["HANDLE"]), b"short")
        .await
        .unwrap();
    assert_eq!(
        std::fs::read(dir.path().join("card.img")).unwrap(),
        b"short"
    );
    drop(lease);
    let lease = Lease::start::<FileMux>(card(dir.path(), None)).await;
    lease.ok("dut", json!([])).await;
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "only the card: {left:?}");
}

#[tokio::test]
async fn an_image_that_does_not_fit_names_both_sizes() {
    let dir = tempfile::tempdir().unwrap();
    let lease = Lease::start::<FileMux>(card(dir.path(), Some(200_000))).await;
    lease
        .send("write", json!(["HANDLE"]), &pattern(200_000))
        .await
        .unwrap();
    let error = lease
        .send("write", json!(["HANDLE"]), &pattern(3_000_000))
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(
            "image too large: the card holds 200000 bytes (195.3 KiB), the image has at least "
        ),
        "{text}"
    );
    assert!(
        matches!(error, DriverError::InvalidArgument(_)),
        "{error:?}"
    );
    let size = std::fs::metadata(dir.path().join("card.img"))
        .unwrap()
        .len();
    assert!(size <= 200_000, "{size}");
    assert_eq!(incomplete(&lease).await, format!("card incomplete: {text}"));
}

#[tokio::test]
async fn a_broken_upload_marks_the_card_until_a_whole_one() {
    let dir = tempfile::tempdir().unwrap();
    let lease = Lease::start::<FileMux>(card(dir.path(), None)).await;
    let (sender, handle) = lease.upload();
    assert!(sender.send(pattern(1000).into()).await);
    drop(sender);
    let error = lease.fails("write", json!([handle])).await;
    assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
    let told = incomplete(&lease).await;
    assert_eq!(told, format!("card incomplete: {error}"));
    // The other positions stay open, and so does reading what is there.
    lease.ok("host", json!([])).await;
    lease.ok("off", json!([])).await;
    // The mark is about the card, not the lease or the process.
    lease.next().await;
    assert_eq!(incomplete(&lease).await, told);
    drop(lease);
    let lease = Lease::start::<FileMux>(card(dir.path(), None)).await;
    assert_eq!(incomplete(&lease).await, told);
    lease
        .send("write", json!(["HANDLE"]), b"whole")
        .await
        .unwrap();
    lease.ok("dut", json!([])).await;
}

#[tokio::test]
async fn bad_data_in_the_middle_marks_the_card() {
    let dir = tempfile::tempdir().unwrap();
    let lease = Lease::start::<FileMux>(card(dir.path(), None)).await;
    let (sender, handle) = lease.upload();
    assert!(sender.send(pattern(1000).into()).await);
    sender
        .fail(DriverError::InvalidArgument("gzip: bad checksum".into()))
        .await;
    let error = lease.fails("write", json!([handle])).await;
    assert!(
        matches!(error, DriverError::InvalidArgument(_)),
        "{error:?}"
    );
    assert_eq!(
        incomplete(&lease).await,
        "card incomplete: write stopped at 0 bytes: gzip: bad checksum"
    );
}

#[tokio::test]
async fn a_lease_that_ends_in_a_write_leaves_the_card_marked() {
    let dir = tempfile::tempdir().unwrap();
    let lease = Lease::start::<FileMux>(card(dir.path(), None)).await;
    lease
        .send("write", json!(["HANDLE"]), b"old")
        .await
        .unwrap();
    let (sender, handle) = lease.upload();
    assert!(sender.send(pattern(1000).into()).await);
    let write = lease.call("write", json!([handle]));
    let end = async {
        // The mark comes before the first byte.
        while !dir.path().join("card.img.incomplete").exists() {
            tokio::task::yield_now().await;
        }
        lease.next().await;
        // The last step ends with the lease; its turn is given back right after.
        while lease.instance.busy().is_some() {
            tokio::task::yield_now().await;
        }
    };
    let (error, ()) = tokio::join!(write, end);
    assert!(matches!(error, Err(DriverError::Fenced(_))), "{error:?}");
    assert_eq!(
        incomplete(&lease).await,
        "card incomplete: fenced: the lease ended"
    );
    lease
        .send("write", json!(["HANDLE"]), b"new")
        .await
        .unwrap();
    lease.ok("dut", json!([])).await;
}

#[tokio::test]
async fn two_instances_over_one_file_do_not_mix_images() {
    let dir = tempfile::tempdir().unwrap();
    let one = Lease::start::<FileMux>(card(dir.path(), None)).await;
    let two = Lease::start::<FileMux>(card(dir.path(), None)).await;
    let (sender, handle) = one.upload();
    let image = pattern(10_000);
    let write = one.call("write", json!([handle]));
    let other = async {
        assert!(sender.send(image.clone().into()).await);
        while !dir.path().join("card.img.incomplete").exists() {
            tokio::task::yield_now().await;
        }
        let error = two
            .send("write", json!(["HANDLE"]), b"two")
            .await
            .unwrap_err();
        sender.end().await;
        error
    };
    let (done, error) = tokio::join!(write, other);
    done.unwrap();
    assert!(error.to_string().starts_with("disk in use:"), "{error}");
    assert!(std::fs::read(dir.path().join("card.img")).unwrap() == image);
}

#[tokio::test]
async fn a_missing_directory_makes_the_instance_absent() {
    let dir = tempfile::tempdir().unwrap();
    let config = card(&dir.path().join("usb"), None);
    let instance = contract::instance(Blueprint::new::<FileMux>(config), dir.path(), None);
    instance.start().await;
    let reason = format!(
        "directory {} does not exist",
        dir.path().join("usb").display()
    );
    assert_eq!(instance.health(), Health::Absent(reason));
}

#[tokio::test]
async fn a_directory_that_goes_away_makes_the_instance_absent() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("usb");
    std::fs::create_dir(&inner).unwrap();
    let lease = Lease::start::<FileMux>(card(&inner, None)).await;
    std::fs::remove_dir(&inner).unwrap();
    let error = lease
        .send("write", json!(["HANDLE"]), b"x")
        .await
        .unwrap_err();
    assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
    assert!(
        error.to_string().contains("No such file or directory"),
        "{error}"
    );
    assert!(matches!(lease.instance.health(), Health::Absent(_)));
}

#[tokio::test]
async fn what_is_no_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("card.img")).unwrap();
    let config = card(dir.path(), None);
    let instance = contract::instance(Blueprint::new::<FileMux>(config), dir.path(), None);
    instance.start().await;
    match instance.health() {
        Health::Faulty(reason) => assert!(reason.ends_with("is not a regular file"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn configs_that_cannot_be_right_are_refused() {
    let check = |path: &str, size| {
        FileMux::check(&FileMuxConfig {
            path: path.into(),
            size,
            flash: FlashSettings::default(),
        })
        .map_err(|e| e.key)
    };
    assert_eq!(check("/", None), Err("path".into()));
    assert_eq!(check("", None), Err("path".into()));
    assert_eq!(check("/srv/card.img", Some(0)), Err("size".into()));
    assert_eq!(check("card.img", Some(1)), Ok(()));
}

/// A file system of 1 MiB, for as long as it lives.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(at)
            .output();
        match mount {
            Ok(done) if done.status.success() => Some(Self(at.into())),
            failed => {
                let required = std::env::var("RIGD_TEST_REQUIRE").is_ok_and(|v| v == "all");
                assert!(!required, "cannot mount a small tmpfs: {failed:?}");
                eprintln!("SKIPPED: cannot mount a small tmpfs: {failed:?}");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the instance may still hold the card.
        let done = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(
            done.is_ok_and(|s| s.success()),
            "{} stays mounted",
            self.0.display()
        );
    }
}

#[tokio::test]
async fn a_full_disk_is_a_clear_error_and_an_incomplete_card() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_disk) = SmallDisk::mount(dir.path()) else {
        return;
    };
    let lease = Lease::start::<FileMux>(card(dir.path(), None)).await;
    let error = lease
        .send("write", json!(["HANDLE"]), &pattern(3_000_000))
        .await
        .unwrap_err();
    assert!(matches!(error, DriverError::Device(_)), "{error:?}");
    assert!(
        error.to_string().contains("No space left on device"),
        "{error}"
    );
    assert!(incomplete(&lease).await.contains("No space left on device"));
    lease
        .send("write", json!(["HANDLE"]), &pattern(300_000))
        .await
        .unwrap();
    lease.ok("dut", json!([])).await;
}

/// Needs no rights: a limit on file sizes, set by a shell for this test in a process of its own.
#[test]
fn a_file_size_limit_is_a_clear_error() {
    let shell = "trap '' XFSZ; ulimit -f 2048; exec \"$0\" --exact under_a_limit --ignored";
    let test = std::env::current_exe().unwrap();
    let run = Command::new("sh")
        .args(["-c", shell])
        .arg(test)
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && out.contains("1 passed"), "{out}");
}

#[tokio::test]
#[ignore = "run by a_file_size_limit_is_a_clear_error under a limit"]
async fn under_a_limit() {
    let dir = tempfile::tempdir().unwrap();
    let lease = Lease::start::<FileMux>(card(dir.path(), None)).await;
    let error = lease
        .send("write", json!(["HANDLE"]), &pattern(4_000_000))
        .await
        .unwrap_err();
    assert!(matches!(error, DriverError::Device(_)), "{error:?}");
    assert!(error.to_string().contains("File too large"), "{error}");
    assert!(incomplete(&lease).await.contains("File too large"));
}
