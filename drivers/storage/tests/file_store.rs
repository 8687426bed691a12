//! The calls of the file store on paths, as the released `OpendalClient` makes them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's own steps fail the test, in functions beside the tests as well"
)]

mod lease;

use lease::{
    Lease, pattern,
    store::{config, invalid, read, store, unknown, write},
};
use rigd_driver::{Driver, Health};
use rigd_drivers_storage::{FileStore, FileStoreConfig};
use serde_json::{Value, json};

#[tokio::test]
async fn stat_and_exists() {
    let (_dir, lease) = store().await;
    write(&lease, "a/f", b"content").await;
    let stat = |length: u64, is_dir: bool| {
        json!({
            "content_disposition": null,
            "content_length": length,
            "content_md5": null,
            "content_type": null,
            "etag": null,
            "mode": {"entry_is_file": !is_dir, "entry_is_dir": is_dir},
        })
    };
    assert_eq!(lease.ok("stat", json!(["a/f"])).await, stat(7, false));
    for dir in ["a/", "/", ""] {
        assert_eq!(
            lease.ok("stat", json!([dir])).await,
            stat(0, true),
            "{dir:?}"
        );
    }
    let of_dir = lease.ok("stat", json!(["a"])).await;
    assert_eq!(of_dir["mode"]["entry_is_dir"], true);
    for path in ["missing", "missing/", "a/missing"] {
        let error = lease.fails("stat", json!([path])).await;
        unknown(&error, "NotFound (permanent) at stat => ");
    }
    let error = lease.fails("stat", json!(["a/f/"])).await;
    unknown(&error, "NotFound (permanent) at stat => ");
    let error = lease.fails("stat", json!(["a/f/x"])).await;
    unknown(&error, "NotADirectory (permanent) at stat => ");
    for (path, there) in [
        ("a/f", true),
        ("a", true),
        ("a/", true),
        ("", true),
        ("a/f/", false),
        ("a/f/x", false),
        ("missing/", false),
    ] {
        assert_eq!(
            lease.ok("exists", json!([path])).await,
            json!(there),
            "{path:?}"
        );
    }
}

#[tokio::test]
async fn digests() {
    let (_dir, lease) = store().await;
    write(&lease, "f", b"content").await;
    let sha256 = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73";
    assert_eq!(lease.ok("hash", json!(["f"])).await, json!(sha256));
    assert_eq!(
        lease.ok("hash", json!(["f", "sha256"])).await,
        json!(sha256)
    );
    let md5 = "9a0364b9e99bb480dd25e1f0284c8555";
    assert_eq!(lease.ok("hash", json!(["f", "md5"])).await, json!(md5));
    // Longer than a step.
    write(&lease, "zeros", &vec![0; 9 * 1024 * 1024]).await;
    let zeros = "d2ee4703cd9698945ca7b9fe1689ea3095597eac1a0afd8dba00cac7894fdc43";
    assert_eq!(lease.ok("hash", json!(["zeros"])).await, json!(zeros));
    invalid(&lease.fails("hash", json!(["f", "crc"])).await);
    let error = lease.fails("hash", json!(["missing"])).await;
    unknown(&error, "NotFound (permanent) at stat => ");
}

#[tokio::test]
async fn copy_and_rename() {
    let (dir, lease) = store().await;
    let data = pattern(9 * 1024 * 1024 + 5);
    write(&lease, "f", &data).await;
    lease.ok("copy", json!(["f", "n/m/copy"])).await;
    assert!(read(&lease, "n/m/copy").await == data);
    lease.ok("rename", json!(["n/m/copy", "o/p/moved"])).await;
    assert_eq!(lease.ok("exists", json!(["n/m/copy"])).await, json!(false));
    assert!(read(&lease, "o/p/moved").await == data);
    write(&lease, "g", b"old and longer").await;
    write(&lease, "h", b"new").await;
    lease.ok("copy", json!(["h", "g"])).await;
    assert_eq!(read(&lease, "g").await, b"new");
    for method in ["copy", "rename"] {
        let at = |kind: &str| format!("{kind} (permanent) at {method} => ");
        let error = lease.fails(method, json!(["missing", "x/y"])).await;
        unknown(&error, &at("NotFound"));
        assert!(!dir.path().join("x").exists(), "no directory for nothing");
        unknown(
            &lease.fails(method, json!(["f", "f"])).await,
            &at("IsSameFile"),
        );
        unknown(
            &lease.fails(method, json!(["o/", "x"])).await,
            &at("IsADirectory"),
        );
        unknown(
            &lease.fails(method, json!(["f", "o/"])).await,
            &at("IsADirectory"),
        );
    }
    unknown(
        &lease.fails("copy", json!(["o", "x"])).await,
        "IsADirectory",
    );
    lease.ok("rename", json!(["o", "q"])).await;
    assert!(dir.path().join("q/p/moved").exists());
    // A second name of the same file: emptying the target would lose the source.
    std::fs::hard_link(dir.path().join("f"), dir.path().join("same")).unwrap();
    unknown(
        &lease.fails("copy", json!(["f", "same"])).await,
        "IsSameFile",
    );
    assert!(read(&lease, "f").await == data);
}

#[tokio::test]
async fn directories_come_and_go() {
    let (dir, lease) = store().await;
    lease.ok("create_dir", json!(["x/y/z/"])).await;
    lease.ok("create_dir", json!(["x/y/z/"])).await;
    lease.ok("create_dir", json!(["/"])).await;
    write(&lease, "f", b"x").await;
    let error = lease.fails("create_dir", json!(["x/q"])).await;
    unknown(&error, "NotADirectory (permanent) at create_dir => ");
    let error = lease.fails("create_dir", json!(["f/"])).await;
    unknown(&error, "AlreadyExists (permanent) at create_dir => ");
    let error = lease.fails("create_dir", json!(["f/g/"])).await;
    unknown(&error, "NotADirectory (permanent) at create_dir => ");
    for path in ["missing", "missing/", "f/", "x/y/z/"] {
        assert_eq!(lease.ok("delete", json!([path])).await, Value::Null);
    }
    assert!(dir.path().join("f").exists(), "f/ is no directory");
    let error = lease.fails("delete", json!(["x"])).await;
    unknown(
        &error,
        "Unexpected (permanent) at delete => directory not empty",
    );
    invalid(&lease.fails("delete", json!(["/"])).await);
    lease.ok("delete", json!(["f"])).await;
    write(&lease, "fo/bar/baz", b"x").await;
    write(&lease, "foo", b"x").await;
    lease.ok("remove_all", json!(["missing/"])).await;
    lease.ok("remove_all", json!(["foo/"])).await;
    lease.ok("remove_all", json!(["fo"])).await;
    let left = lease.names("scan", "/").await;
    assert_eq!(
        left,
        ["/", "foo", "x/", "x/y/"],
        "foo is another path than fo"
    );
    lease.ok("remove_all", json!(["foo"])).await;
    lease.ok("remove_all", json!(["/"])).await;
    assert_eq!(lease.names("list", "/").await, ["/"]);
}

#[tokio::test]
async fn list_and_scan() {
    let (_dir, lease) = store().await;
    for path in ["a/b.bin", "a/c/d.bin", "abc", "f"] {
        write(&lease, path, b"x").await;
    }
    for (method, path, names) in [
        ("list", "/", vec!["/", "a/", "abc", "f"]),
        ("list", "", vec!["/", "a/", "abc", "f"]),
        ("list", "a/", vec!["a/", "a/b.bin", "a/c/"]),
        ("scan", "a/", vec!["a/", "a/b.bin", "a/c/", "a/c/d.bin"]),
        // Without a slash it is the beginning of a path, as upstream has it.
        ("list", "a", vec!["a/", "abc"]),
        (
            "scan",
            "a",
            vec!["a/", "a/b.bin", "a/c/", "a/c/d.bin", "abc"],
        ),
        ("list", "f", vec!["f"]),
        ("list", "f/", vec![]),
        ("list", "missing/", vec![]),
        ("scan", "missing", vec![]),
        (
            "scan",
            "",
            vec!["/", "a/", "a/b.bin", "a/c/", "a/c/d.bin", "abc", "f"],
        ),
    ] {
        assert_eq!(lease.names(method, path).await, names, "{method} {path:?}");
    }
    invalid(&lease.names_fail("list", "../").await);
}

#[tokio::test]
async fn a_directory_of_several_batches_is_listed_whole() {
    let (dir, lease) = store().await;
    std::fs::create_dir(dir.path().join("many")).unwrap();
    for n in 0..2500 {
        std::fs::write(dir.path().join(format!("many/{n:04}")), b"").unwrap();
    }
    let names = lease.names("list", "many/").await;
    assert_eq!(names.len(), 2501);
    assert_eq!(names[2500], "many/2499");
    lease.ok("remove_all", json!(["many"])).await;
    assert_eq!(lease.names("list", "many/").await, Vec::<String>::new());
}

#[tokio::test]
async fn presigning_is_not_supported() {
    let (_dir, lease) = store().await;
    for method in ["presign_stat", "presign_read", "presign_write"] {
        let error = lease.fails(method, json!(["test", 100])).await;
        unknown(
            &error,
            "Unsupported (permanent) at presign => operation is not supported",
        );
    }
}

#[tokio::test]
async fn capabilities_have_all_keys_of_the_client_model() {
    let (_dir, lease) = store().await;
    let all = lease.ok("capability", json!([])).await;
    let all = all.as_object().unwrap();
    assert_eq!(all.len(), 33);
    assert_eq!(all["copy"], true);
    assert_eq!(all["presign_read"], false);
    assert_eq!(all["write_total_max_size"], Value::Null);
}

#[tokio::test]
async fn what_a_lease_made_is_known_and_kept() {
    let (dir, lease) = store().await;
    write(&lease, "/w/./x/../f", b"x").await;
    lease.ok("create_dir", json!(["d/e/"])).await;
    lease.ok("copy", json!(["w/f", "c"])).await;
    lease.ok("rename", json!(["c", "r"])).await;
    lease.ok("register_path", json!(["/same/"])).await;
    write(&lease, "gone", b"x").await;
    lease.ok("delete", json!(["gone"])).await;
    let made = lease.ok("get_created_resources", json!([])).await;
    assert_eq!(made, json!(["d/e", "r", "same", "w/f"]));
    lease.next().await;
    assert_eq!(
        lease.ok("get_created_resources", json!([])).await,
        json!([])
    );
    assert!(dir.path().join("w/f").exists());
}

#[tokio::test]
async fn what_a_lease_made_is_removed_when_so_configured() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("mine"), b"x").unwrap();
    let lease = Lease::start::<FileStore>(config(dir.path(), true)).await;
    write(&lease, "a/f", b"x").await;
    lease.ok("create_dir", json!(["d/e/"])).await;
    write(&lease, "d/e/inner", b"x").await;
    lease.ok("register_path", json!(["/"])).await;
    std::fs::write(dir.path().join("registered"), b"x").unwrap();
    lease.ok("register_path", json!(["registered"])).await;
    let fd = lease.ok("open", json!(["open", "wb"])).await;
    lease.next().await;
    // As upstream: directories made on the way to a file stay.
    assert_eq!(lease.names("scan", "/").await, ["/", "a/", "d/", "mine"]);
    let id = fd.as_str().unwrap();
    let error = lease.fails("file_tell", json!([fd])).await;
    assert_eq!(
        error.to_string(),
        format!("UUID('{id}')"),
        "the table is cleared"
    );
}

#[tokio::test]
async fn a_root_is_made_and_a_removed_one_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("new/root");
    let lease = Lease::start::<FileStore>(config(&root, false)).await;
    assert!(root.is_dir());
    std::fs::remove_dir(&root).unwrap();
    lease.next().await;
    let gone = Health::Absent("the storage root was removed".into());
    assert_eq!(lease.instance.health(), gone);
}

#[test]
fn configs_that_cannot_be_right_are_refused() {
    let check = |scheme: &str, kwargs: &[(&str, &str)]| {
        let kwargs = kwargs.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        FileStore::check(&FileStoreConfig {
            scheme: scheme.into(),
            kwargs: kwargs.collect(),
            remove_created_on_close: false,
        })
        .map_err(|e| (e.key, e.message))
    };
    assert_eq!(check("fs", &[("root", "/srv")]), Ok(()));
    let (key, message) = check("s3", &[("bucket", "b")]).unwrap_err();
    assert_eq!(key, "scheme");
    assert_eq!(message, "scheme \"s3\" is not supported, only \"fs\" is");
    assert_eq!(check("fs", &[]).unwrap_err().0, "kwargs.root");
    assert_eq!(check("fs", &[("root", "")]).unwrap_err().0, "kwargs.root");
    let more = check("fs", &[("root", "/srv"), ("rot", "/x")]);
    assert_eq!(more.unwrap_err().0, "kwargs.rot");
}
