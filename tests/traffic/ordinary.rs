//! An ordinary user, since permissions mean nothing to root, and file systems that fill up.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::Path,
    process::Command,
};

use crate::support::{copy_program, daemon::Daemon, settings::Settings};

/// The user that nobody is, on every Linux.
const NOBODY: u32 = 65_534;

/// `rigd` as an ordinary user, to whom the test's directory belongs; who runs the tests without
/// being root is that user already.
pub(crate) fn command(settings: &Settings) -> Command {
    let usual = Daemon::command(settings);
    if !rustix::process::getuid().is_root() {
        return usual;
    }
    for name in ["", "run", "state", "home", "root"] {
        chown(settings.path(name), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    // Where the tests were built may be closed to others.
    let program = settings.path("rigd");
    if fs::hard_link(usual.get_program(), &program).is_err() {
        copy_program(usual.get_program().as_ref(), &program);
    }
    let mut command = with_program(&usual, program.as_os_str());
    command.uid(NOBODY).gid(NOBODY);
    command
}

/// `rigd` with its own `dir` of that many bytes; `None`, with a line that says why, where the
/// system does not let one make it. With `RIGD_TEST_REQUIRE=all` that is a failure.
pub(crate) fn with_small_disk(settings: &Settings, dir: &Path, bytes: u64) -> Option<Command> {
    let mut unshare = vec!["unshare", "--mount"];
    if !rustix::process::getuid().is_root() {
        unshare.push("--map-root-user");
    }
    let works = Command::new(unshare[0])
        .args(&unshare[1..])
        .args(["mount", "-t", "tmpfs", "none"])
        .arg(dir)
        .output();
    match works {
        Ok(output) if output.status.success() => {}
        other => {
            let why = format!("no tmpfs in a mount namespace of its own: {other:?}");
            let required = std::env::var_os("RIGD_TEST_REQUIRE");
            assert_ne!(required.as_deref(), Some(OsStr::new("all")), "{why}");
            eprintln!("SKIPPED: {why}");
            return None;
        }
    }
    let usual = Daemon::command(settings);
    let mut command = with_program(&usual, OsStr::new(unshare[0]));
    command.args(&unshare[1..]);
    let script = r#"mount -t tmpfs -o size="$1" none "$2" && shift 2 && exec "$@""#;
    command.args(["sh", "-c", script, "sh", &bytes.to_string()]);
    command.arg(dir).arg(usual.get_program());
    Some(command)
}

/// Takes every right to a path from everybody but its owner.
pub(crate) fn private(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// The same directories and environment for another program.
fn with_program(usual: &Command, program: &OsStr) -> Command {
    let mut command = Command::new(program);
    for (name, value) in usual.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
        .current_dir(usual.get_current_dir().unwrap())
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    command
}
