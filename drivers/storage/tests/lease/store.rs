//! A lease on a file store, and the two sequences of calls that clients make most.

use std::{collections::BTreeMap, path::Path};

use rigd_driver::DriverError;
use rigd_drivers_storage::{FileStore, FileStoreConfig};
use serde_json::json;
use tempfile::TempDir;

use super::Lease;

pub(crate) fn config(root: &Path, remove: bool) -> FileStoreConfig {
    FileStoreConfig {
        scheme: "fs".into(),
        kwargs: BTreeMap::from([("root".into(), root.display().to_string())]),
        remove_created_on_close: remove,
    }
}

pub(crate) async fn store() -> (TempDir, Lease) {
    let dir = tempfile::tempdir().unwrap();
    let lease = Lease::start::<FileStore>(config(dir.path(), false)).await;
    (dir, lease)
}

/// What `write_bytes` of the client does.
pub(crate) async fn write(lease: &Lease, path: &str, data: &[u8]) {
    let fd = lease.ok("open", json!([path, "wb"])).await;
    lease
        .send("file_write", json!([fd, "HANDLE"]), data)
        .await
        .unwrap();
    lease.ok("file_close", json!([fd])).await;
}

/// What `read_bytes` of the client does.
pub(crate) async fn read(lease: &Lease, path: &str) -> Vec<u8> {
    let fd = lease.ok("open", json!([path, "rb"])).await;
    let data = lease
        .receive("file_read", json!([fd, "HANDLE"]))
        .await
        .unwrap();
    lease.ok("file_close", json!([fd])).await;
    data
}

pub(crate) fn unknown(error: &DriverError, beginning: &str) {
    assert!(matches!(error, DriverError::Unknown(_)), "{error:?}");
    assert!(error.to_string().starts_with(beginning), "{error}");
}

pub(crate) fn invalid(error: &DriverError) {
    assert!(
        matches!(error, DriverError::InvalidArgument(_)),
        "{error:?}"
    );
}
