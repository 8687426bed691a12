//! What the small calls answer: stat, exists, seek, capability.

use std::io::{Seek, SeekFrom};

use rigd_driver::{DriverError, Value};
use rustix::fs::FileType;
use serde_json::json;

use super::{
    error::{PathError, refused},
    files::Loan,
    path::RelPath,
    root::file_type,
    store::Store,
};

/// Metadata with all of upstream's keys. Blocks.
pub(super) fn stat(store: &Store, path: &RelPath) -> Result<Value, DriverError> {
    let found = store.root.stat(path).map_err(|e| e.told("stat", path))?;
    let is_dir = file_type(&found) == FileType::Directory;
    if path.is_dir() && !is_dir {
        let why = "stat expected a directory, but found a file";
        return Err(refused("NotFound", "stat", why, path));
    }
    // As upstream: a path that says it is a directory has no length.
    let length = if path.is_dir() { 0 } else { found.st_size };
    Ok(json!({
        "content_disposition": null,
        "content_length": length,
        "content_md5": null,
        "content_type": null,
        "etag": null,
        "mode": {
            "entry_is_file": file_type(&found) == FileType::RegularFile,
            "entry_is_dir": is_dir,
        },
    }))
}

/// Whether something is there, and is a directory if the path says so. Blocks.
pub(super) fn exists(store: &Store, path: &RelPath) -> Result<bool, DriverError> {
    match store.root.stat(path) {
        Ok(found) => Ok(!path.is_dir() || file_type(&found) == FileType::Directory),
        Err(e) if e.is_missing() => Ok(false),
        Err(e) => Err(e.told("stat", path)),
    }
}

/// Where to seek to, in Python's numbers.
pub(super) fn seek_from(pos: i64, whence: i64) -> Result<SeekFrom, DriverError> {
    match whence {
        0 => u64::try_from(pos)
            .map(SeekFrom::Start)
            .map_err(|_| negative()),
        1 => Ok(SeekFrom::Current(pos)),
        2 => Ok(SeekFrom::End(pos)),
        _ => Err(DriverError::InvalidArgument(format!(
            "invalid whence {whence}: 0 is the start, 1 the cursor, 2 the end"
        ))),
    }
}

/// Moves the cursor; returns where it is then. Blocks.
pub(super) fn seek(loan: &Loan, to: SeekFrom) -> Result<u64, DriverError> {
    (&*loan.medium.file).seek(to).map_err(|e| match e.kind() {
        std::io::ErrorKind::InvalidInput => negative(),
        _ => match RelPath::parse(&loan.medium.name) {
            Ok(path) => PathError::from(e).told("seek", &path),
            Err(error) => error,
        },
    })
}

fn negative() -> DriverError {
    DriverError::InvalidArgument("invalid seek to a negative position".into())
}

/// What OpenDAL's `fs` service says of itself.
pub(super) fn capability() -> Value {
    json!({
        "stat": true,
        "stat_with_if_match": false,
        "stat_with_if_none_match": false,
        "read": true,
        "read_with_if_match": false,
        "read_with_if_none_match": false,
        "read_with_override_cache_control": false,
        "read_with_override_content_disposition": false,
        "read_with_override_content_type": false,
        "write": true,
        "write_can_multi": true,
        "write_can_empty": true,
        "write_can_append": true,
        "write_with_content_type": false,
        "write_with_content_disposition": false,
        "write_with_cache_control": false,
        "write_multi_max_size": null,
        "write_multi_min_size": null,
        "write_total_max_size": null,
        "create_dir": true,
        "delete": true,
        "copy": true,
        "rename": true,
        "list": true,
        "list_with_limit": false,
        "list_with_start_after": false,
        "list_with_recursive": false,
        "presign": false,
        "presign_read": false,
        "presign_stat": false,
        "presign_write": false,
        "shared": true,
        "blocking": true,
    })
}
