//! Commands that see a file system of their own, such as a disk that is full.

use std::{ffi::OsStr, path::Path, process::Command};

/// The same behind words of a wrapper that executes what follows them.
pub(crate) fn wrapped(words: &[String], command: &Command) -> Command {
    let mut wrapper = Command::new(&words[0]);
    wrapper
        .args(&words[1..])
        .arg(command.get_program())
        .args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => wrapper.env(key, value),
            None => wrapper.env_remove(key),
        };
    }
    wrapper.current_dir(command.get_current_dir().unwrap());
    wrapper.stdin(std::process::Stdio::null());
    wrapper.stdout(std::process::Stdio::piped());
    wrapper.stderr(std::process::Stdio::piped());
    wrapper
}

/// A wrapper that runs `script` (its `$1` is `dir`, the rest the command) where nobody else sees
/// what it mounts. None, and a word about it, where that is not allowed.
pub(crate) fn private_mounts(script: &str, dir: &Path) -> Option<Vec<String>> {
    let words = |script: &str| {
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script].map(str::to_owned)
    };
    let [program, args @ ..] = words("mount --bind /etc/hosts /etc/hosts");
    let tried = Command::new(program).args(args).output();
    if !tried.is_ok_and(|output| output.status.success()) {
        let why = "no mounts of one's own are allowed here";
        let required = std::env::var_os("RIGD_TEST_REQUIRE");
        assert_ne!(required.as_deref(), Some(OsStr::new("all")), "{why}");
        eprintln!("SKIPPED: {why}");
        return None;
    }
    let rest = ["sh".to_owned(), dir.to_str().unwrap().to_owned()];
    Some(words(script).into_iter().chain(rest).collect())
}
