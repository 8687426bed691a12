//! What an ordinary user hears where the rights are missing. As root these tests run themselves
//! again under another uid, since root is denied nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's own steps fail the test, in functions beside the tests as well"
)]

mod lease;

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt, path::Path, process::Command};

use lease::Lease;
use rigd_driver::{Blueprint, DriverError, Health, contract};
use rigd_drivers_storage::{FileMux, FileMuxConfig, FileStore, FileStoreConfig};
use rigd_flash::FlashSettings;
use serde_json::json;

/// Where the inner tests find their files.
const DIR: &str = "RIGD_TEST_DENIED_DIR";

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Runs an ignored test of this file as an ordinary user, where that is possible.
fn as_ordinary_user(test: &str, dir: &Path) {
    let this = std::env::current_exe().unwrap();
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.arg(this);
        command
    } else {
        Command::new(this)
    };
    let run = command
        .args(["--exact", test, "--ignored"])
        .env(DIR, dir)
        .output();
    match run {
        Ok(run) if String::from_utf8_lossy(&run.stdout).contains("running 1 test") => {
            let out = String::from_utf8_lossy(&run.stdout);
            assert!(run.status.success() && out.contains("1 passed"), "{out}");
        }
        failed => {
            let required = std::env::var("RIGD_TEST_REQUIRE").is_ok_and(|v| v == "all");
            assert!(!required, "cannot run as an ordinary user: {failed:?}");
            eprintln!("SKIPPED: cannot run as an ordinary user: {failed:?}");
        }
    }
}

#[test]
fn missing_rights_are_clear_errors() {
    let dir = tempfile::tempdir().unwrap();
    mode(dir.path(), 0o755);
    let make = |name: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    };
    let (read_only, card, root) = (make("read-only"), make("card"), make("root"));
    std::fs::write(card.join("card.img"), b"x").unwrap();
    mode(&card.join("card.img"), 0o000);
    mode(&card, 0o777);
    std::fs::write(root.join("closed"), b"x").unwrap();
    mode(&root.join("closed"), 0o000);
    mode(&root, 0o555);
    mode(&read_only, 0o555);
    as_ordinary_user("denied_card", dir.path());
    as_ordinary_user("denied_store", dir.path());
    // So that an ordinary user can remove them, too.
    mode(&root, 0o755);
    mode(&read_only, 0o755);
}

#[tokio::test]
#[ignore = "run by missing_rights_are_clear_errors as an ordinary user"]
async fn denied_card() {
    let dir = std::path::PathBuf::from(std::env::var(DIR).unwrap());
    for (path, beginning) in [
        ("read-only/card.img", "cannot write to "),
        ("card/card.img", "cannot open "),
    ] {
        let path = dir.join(path);
        let config = FileMuxConfig {
            path,
            size: None,
            flash: FlashSettings::default(),
        };
        let instance = contract::instance(Blueprint::new::<FileMux>(config), &dir, None);
        instance.start().await;
        match instance.health() {
            Health::Faulty(reason) => {
                assert!(reason.starts_with(beginning), "{reason}");
                assert!(reason.contains("Permission denied"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
#[ignore = "run by missing_rights_are_clear_errors as an ordinary user"]
async fn denied_store() {
    let dir = std::path::PathBuf::from(std::env::var(DIR).unwrap());
    let lease = Lease::start::<FileStore>(FileStoreConfig {
        scheme: "fs".into(),
        kwargs: BTreeMap::from([("root".into(), dir.join("root").display().to_string())]),
        remove_created_on_close: false,
    })
    .await;
    for (method, args) in [
        ("open", json!(["closed", "rb"])),
        ("open", json!(["new", "wb"])),
        ("create_dir", json!(["new/"])),
        ("delete", json!(["closed"])),
        ("remove_all", json!(["closed"])),
        ("rename", json!(["closed", "open"])),
    ] {
        let error = lease.fails(method, args).await;
        assert!(matches!(error, DriverError::Device(_)), "{error:?}");
        let text = error.to_string();
        assert!(
            text.starts_with("PermissionDenied (permanent) at "),
            "{text}"
        );
    }
}
