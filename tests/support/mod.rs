//! What the interop tests share: an environment with the released packages, a daemon for each test,
//! and the way from a Rust test to a case in `tests/python/`.

#![allow(
    dead_code,
    reason = "every test binary compiles this anew and uses its own part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy exempts only functions marked as tests"
)]

pub(crate) mod case;
pub(crate) mod daemon;
pub(crate) mod jmp;
pub(crate) mod lines;
pub(crate) mod mounts;
pub(crate) mod python;
pub(crate) mod settings;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The top of the repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of `tests/python/`.
pub(crate) fn python_file(name: &str) -> PathBuf {
    repository().join("tests/python").join(name)
}

/// Copies a program that is then started. Another process does it: while this one has the copy open for
/// writing, a child that another test starts has it as well, and nobody can run it.
pub(crate) fn copy_program(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}
