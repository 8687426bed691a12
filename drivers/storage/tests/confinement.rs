//! Symbolic links in the root of the file store: those that stay inside work, those that leave it
//! are refused by every method.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's own steps fail the test, in functions beside the tests as well"
)]

mod lease;

use std::{collections::BTreeMap, os::unix::fs::symlink, path::PathBuf};

use lease::Lease;
use rigd_driver::DriverError;
use rigd_drivers_storage::{FileStore, FileStoreConfig};
use serde_json::json;
use tempfile::TempDir;

struct Rig {
    lease: Lease,
    outside: PathBuf,
    root: PathBuf,
    _dir: TempDir,
}

/// A root with `out -> outside`, `up -> ../outside`, `file -> outside/secret`, `in -> inner`.
async fn rig(remove: bool) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
    std::fs::create_dir_all(root.join("inner")).unwrap();
    std::fs::create_dir_all(outside.join("tree")).unwrap();
    std::fs::write(outside.join("secret"), b"outside").unwrap();
    std::fs::write(root.join("inner/f"), b"inside").unwrap();
    symlink(&outside, root.join("out")).unwrap();
    symlink("../outside", root.join("up")).unwrap();
    symlink(outside.join("secret"), root.join("file")).unwrap();
    symlink("inner", root.join("in")).unwrap();
    symlink(outside.join("new"), root.join("dangling")).unwrap();
    let config = FileStoreConfig {
        scheme: "fs".into(),
        kwargs: BTreeMap::from([("root".into(), root.display().to_string())]),
        remove_created_on_close: remove,
    };
    Rig {
        lease: Lease::start::<FileStore>(config).await,
        outside,
        root,
        _dir: dir,
    }
}

impl Rig {
    fn outside_is_untouched(&self) {
        let secret = std::fs::read(self.outside.join("secret")).unwrap();
        assert_eq!(secret, b"outside");
        let mut names: Vec<_> = std::fs::read_dir(&self.outside)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["secret", "tree"]);
    }
}

fn escaped(error: &DriverError) {
    assert!(
        matches!(error, DriverError::FailedPrecondition(_)),
        "{error:?}"
    );
    assert!(
        error.to_string().starts_with("outside the root: path "),
        "{error}"
    );
}

#[tokio::test]
async fn no_method_follows_a_link_out_of_the_root() {
    let rig = rig(false).await;
    for dir in ["out", "up"] {
        let at = |name: &str| format!("{dir}/{name}");
        for (method, args) in [
            ("open", json!([at("secret"), "rb"])),
            ("open", json!([at("new"), "wb"])),
            ("open", json!([at("secret"), "wb"])),
            ("open", json!([at("a/b/new"), "wb"])),
            ("stat", json!([at("secret")])),
            ("stat", json!([at("")])),
            ("stat", json!([dir])),
            ("exists", json!([at("secret")])),
            ("hash", json!([at("secret")])),
            ("copy", json!([at("secret"), "stolen"])),
            ("copy", json!(["inner/f", at("new")])),
            ("copy", json!(["inner/f", at("secret")])),
            ("rename", json!([at("secret"), "stolen"])),
            ("rename", json!(["inner/f", at("new")])),
            ("create_dir", json!([at("new/")])),
            ("delete", json!([at("secret")])),
            ("remove_all", json!([at("tree")])),
            ("remove_all", json!([at("tree/")])),
        ] {
            println!("{method} {args}");
            escaped(&rig.lease.fails(method, args).await);
        }
        for method in ["list", "scan"] {
            escaped(&rig.lease.names_fail(method, &at("")).await);
            escaped(&rig.lease.names_fail(method, &at("sec")).await);
        }
    }
    for (method, args) in [
        ("open", json!(["file", "rb"])),
        ("open", json!(["file", "wb"])),
        ("open", json!(["dangling", "wb"])),
        ("copy", json!(["inner/f", "file"])),
        ("hash", json!(["file"])),
    ] {
        println!("{method} {args}");
        escaped(&rig.lease.fails(method, args).await);
    }
    rig.outside_is_untouched();
    assert!(!rig.root.join("stolen").exists());
}

#[tokio::test]
async fn links_are_listed_removed_and_renamed_as_what_they_are() {
    let rig = rig(false).await;
    let lease = &rig.lease;
    let names = lease.names("scan", "/").await;
    assert_eq!(
        names,
        [
            "/", "dangling", "file", "in", "inner/", "inner/f", "out", "up"
        ]
    );
    lease.ok("rename", json!(["out", "moved"])).await;
    lease.ok("delete", json!(["moved"])).await;
    lease.ok("remove_all", json!(["up"])).await;
    // A slash at the end asks for a directory, and a link is none.
    lease.ok("remove_all", json!(["file/"])).await;
    lease.ok("remove_all", json!(["/"])).await;
    assert_eq!(lease.names("scan", "/").await, ["/"]);
    rig.outside_is_untouched();
}

#[tokio::test]
async fn links_that_stay_inside_work() {
    let rig = rig(false).await;
    let lease = &rig.lease;
    assert_eq!(lease.ok("exists", json!(["in/f"])).await, true);
    assert_eq!(lease.names("list", "in/").await, ["in/", "in/f"]);
    lease.ok("copy", json!(["in/f", "in/g"])).await;
    lease.ok("create_dir", json!(["in/d/"])).await;
    lease.ok("rename", json!(["in/g", "in/d/g"])).await;
    assert_eq!(
        std::fs::read(rig.root.join("inner/d/g")).unwrap(),
        b"inside"
    );
}

#[tokio::test]
async fn the_clean_up_of_a_lease_follows_no_link() {
    let rig = rig(true).await;
    let lease = &rig.lease;
    for path in ["out/secret", "out/tree", "file", "up/", "inner"] {
        lease.ok("register_path", json!([path])).await;
    }
    lease.next().await;
    rig.outside_is_untouched();
    // The links themselves were registered as paths of the root, and are.
    assert_eq!(
        lease.names("list", "/").await,
        ["/", "dangling", "in", "out"]
    );
}
