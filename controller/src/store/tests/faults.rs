//! Files that are not ours or broken, and those of others: told, and left as they are.

use super::*;

fn file(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

/// Opening fails with this text, and the file stays as it is.
fn refused(dir: &Path) -> String {
    let before = std::fs::read(file(dir)).unwrap();
    let error = Store::open(dir).unwrap_err().to_string();
    assert!(
        before == std::fs::read(file(dir)).unwrap(),
        "the file was touched: {error}"
    );
    error
}

/// A state with some content, closed.
pub(super) fn good(dir: &Path) -> Vec<u8> {
    let store = Store::open(dir).unwrap();
    store.commit_blocking(some()).unwrap();
    for n in 0..50 {
        store.commit_blocking(put(n)).unwrap();
    }
    drop(store);
    std::fs::read(file(dir)).unwrap()
}

#[test]
fn a_foreign_file_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    for content in [&b"hello"[..], b"SQLite format 3\0 and more", &[0; 8192]] {
        std::fs::write(file(dir.path()), content).unwrap();
        let error = refused(dir.path());
        assert!(error.contains("is not a state file of rigd"), "{error}");
    }
    std::fs::write(file(dir.path()), b"").unwrap();
    assert!(refused(dir.path()).contains("is damaged (it is empty)"));
}

#[test]
fn a_database_of_somebody_else_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::create(file(dir.path())).unwrap();
    let write = database.begin_write().unwrap();
    let table = redb::TableDefinition::<u64, u64>::new("meta");
    write.open_table(table).unwrap().insert(1, 2).unwrap();
    write.commit().unwrap();
    drop(database);
    assert!(refused(dir.path()).contains("is not a state file of rigd"));
}

#[test]
fn a_state_of_another_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    good(dir.path());
    let database = Database::open(file(dir.path())).unwrap();
    let write = database.begin_write().unwrap();
    let table = redb::TableDefinition::<&str, &[u8]>::new("meta");
    write
        .open_table(table)
        .unwrap()
        .insert("format", &b"\x012"[..])
        .unwrap();
    write.commit().unwrap();
    drop(database);
    let error = refused(dir.path());
    assert!(
        error.ends_with("has format 2, and this version of rigd reads format 1"),
        "{error}"
    );
}

#[test]
fn an_object_that_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    good(dir.path());
    let database = Database::open(file(dir.path())).unwrap();
    let write = database.begin_write().unwrap();
    let table = redb::TableDefinition::<&str, &[u8]>::new("leases");
    write
        .open_table(table)
        .unwrap()
        .insert("l-7", &b"\x01{}"[..])
        .unwrap();
    write.commit().unwrap();
    drop(database);
    let error = refused(dir.path());
    assert!(
        error.contains("is damaged (leases \"l-7\": unreadable at column 2)"),
        "{error}"
    );
}

/// A file with damage in one place, each place in turn: every 400 bytes or so, which is headers,
/// branches, leaves, and free pages, where it does not matter.
pub(super) fn damaged(content: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> {
    (0..content.len()).step_by(401).map(|place| {
        let mut bad = content.to_vec();
        bad[place..]
            .iter_mut()
            .take(16)
            .for_each(|byte| *byte ^= 0x5A);
        (place, bad)
    })
}

#[test]
fn a_damaged_file_is_never_taken_for_a_good_one() {
    let dir = tempfile::tempdir().unwrap();
    let content = good(dir.path());
    let loaded = Store::open(dir.path()).unwrap().load().unwrap();
    let content_again = std::fs::read(file(dir.path())).unwrap();
    assert_eq!(content.len(), content_again.len());

    let mut refusals = 0;
    for (place, bad) in damaged(&content_again) {
        std::fs::write(file(dir.path()), &bad).unwrap();
        match Store::open(dir.path()) {
            Ok(store) => assert_eq!(store.load().unwrap(), loaded, "changed at {place}"),
            Err(error) => {
                refusals += 1;
                assert!(
                    std::fs::read(file(dir.path())).unwrap() == bad,
                    "touched: {error}"
                );
            }
        }
    }
    assert!(refusals > 3, "{refusals}");
    for length in [
        9,
        100,
        4096,
        content_again.len() / 2,
        content_again.len() - 1,
    ] {
        std::fs::write(file(dir.path()), &content_again[..length]).unwrap();
        let error = refused(dir.path());
        assert!(error.contains("is damaged"), "{length}: {error}");
    }
}

#[test]
fn a_second_opener_is_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("state is in use by pid {}", std::process::id())
    );
    store.commit_blocking(put(1)).unwrap();
    drop(store);
    Store::open(dir.path()).unwrap();
}

#[test]
fn a_directory_that_cannot_be_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, "").unwrap();
    let error = Store::open(&path.join("state")).unwrap_err().to_string();
    let told = format!("{} cannot be used: ", path.join("state").display());
    assert!(error.starts_with(&told), "{error}");
}

#[test]
fn the_rest_of_a_start_that_was_killed_does_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("controller.redb.new"), "half").unwrap();
    std::fs::write(dir.path().join("controller.lock"), "99999999\n").unwrap();
    let store = Store::open(dir.path()).unwrap();
    let said = std::fs::read_to_string(dir.path().join("controller.lock")).unwrap();
    assert_eq!(said, format!("{}\n", std::process::id()));
    drop(store);
    assert!(!dir.path().join("controller.redb.new").exists());
}
