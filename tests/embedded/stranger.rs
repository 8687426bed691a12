//! An ordinary user: root may write everywhere, and tests of permissions mean nothing as root.

use std::{fs, os::unix::fs::PermissionsExt, os::unix::process::CommandExt, process::Command};

use super::Site;
use crate::support::copy_program;

/// Of `nobody`, everywhere.
const NOBODY: u32 = 65534;

/// The same command as an ordinary user, who may look at the site's directories. As it is where the
/// tests themselves run as one.
pub(crate) fn as_somebody(site: &Site, command: Command) -> Command {
    if !rustix::process::getuid().is_root() {
        return command;
    }
    for dir in ["", "home", "exporters", "state"] {
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(site.settings.path(dir), open).unwrap();
    }
    let run = site.settings.path("run-of-somebody");
    fs::create_dir_all(&run).unwrap();
    std::os::unix::fs::chown(&run, Some(NOBODY), Some(NOBODY)).unwrap();
    // The build's own directory may not be open to everybody.
    let binary = site.settings.path("rigd");
    copy_program(env!("CARGO_BIN_EXE_rigd").as_ref(), &binary);
    let mut other = Command::new(binary);
    other.args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => other.env(key, value),
            None => other.env_remove(key),
        };
    }
    other.env("RUNTIME_DIRECTORY", run);
    other.current_dir("/").uid(NOBODY).gid(NOBODY);
    other
}
