//! The file in which beforeLease leaves a message to the client (`JMP_MOTD_FILE`).

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Bytes that are read of it: upstream's limit.
const MAX_BYTES: u64 = 64 * 1024;

/// Makes it, empty and for this user alone. Blocks no longer than making a file takes.
pub(crate) fn prepare(file: &Path) -> io::Result<()> {
    forget(file);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .map(drop)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))
}

/// Reads what was left in it, without the space around, and removes it. Nothing when the hook put
/// something else in its place: a link could lead to what the client must not see, a pipe would
/// block.
pub(crate) fn take(file: &Path) -> Option<String> {
    let text = read(file);
    forget(file);
    let text = text.ok()?;
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    if fs::symlink_metadata(file)?.is_file() {
        File::open(file)?.take(MAX_BYTES).read_to_end(&mut text)?;
    }
    Ok(text)
}

fn forget(file: &Path) {
    // It may never have been there.
    fs::remove_file(file).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_taken_once_and_only_from_a_regular_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("motd");
        prepare(&file).unwrap();
        fs::write(&file, "\n  mind the fan \n").unwrap();
        assert_eq!(take(&file).as_deref(), Some("mind the fan"));
        assert_eq!(take(&file), None);
        prepare(&file).unwrap();
        assert_eq!(take(&file), None, "empty");
        std::os::unix::fs::symlink("/etc/passwd", &file).unwrap();
        assert_eq!(take(&file), None, "a link");
        fs::write(&file, "x".repeat(100_000)).unwrap();
        assert_eq!(take(&file).map(|text| text.len()), Some(64 * 1024));
    }
}
