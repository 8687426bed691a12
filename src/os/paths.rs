//! Where state and sockets live.

use std::{
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

/// Looks an environment variable up; a table in tests.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Directory for what survives a restart.
pub fn state_dir(env: Env<'_>) -> PathBuf {
    let set = |name: &str| {
        env(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    // systemd may list several directories; the first is ours.
    let first = |value: String| value.split(':').next().map(PathBuf::from);
    env("STATE_DIRECTORY")
        .filter(|value| !value.is_empty())
        .and_then(first)
        .or_else(|| set("XDG_STATE_HOME").map(|dir| dir.join("rigd")))
        .or_else(|| set("HOME").map(|dir| dir.join(".local/state/rigd")))
        .unwrap_or_else(|| PathBuf::from("/var/lib/rigd"))
}

/// Directory for sockets.
pub fn runtime_dir(env: Env<'_>) -> PathBuf {
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    let first = |value: String| value.split(':').next().map(PathBuf::from);
    set("RUNTIME_DIRECTORY")
        .and_then(first)
        .or_else(|| set("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("rigd")))
        .unwrap_or_else(|| {
            PathBuf::from(format!("/tmp/rigd-{}", rustix::process::getuid().as_raw()))
        })
}

/// Where a file with a secret is: a bare name is first looked for among the credentials that
/// systemd hands to the service (`$CREDENTIALS_DIRECTORY`).
pub fn secret_file(path: &Path, env: Env<'_>) -> PathBuf {
    let bare = path.components().count() == 1 && path.is_relative();
    let credential = env("CREDENTIALS_DIRECTORY").map(|dir| Path::new(&dir).join(path));
    credential
        .filter(|file| bare && file.exists())
        .unwrap_or_else(|| path.into())
}

/// Makes a directory for this user alone, with those above it.
///
/// # Errors
/// It cannot be made, or it belongs to somebody else: in a shared directory such as `/tmp` that
/// would hand our sockets to them.
pub fn make_private(dir: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    let owner = std::fs::symlink_metadata(dir)?.uid();
    let me = rustix::process::getuid().as_raw();
    if owner != me {
        let text = format!("it belongs to user {owner}, not to {me} who runs rigd");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(())
}

/// A name as one component of a path: everything but letters, digits, `.`, `-` and `_` is encoded.
pub fn component(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => out.push(char::from(byte)),
            // A leading dot would hide the file, `.` and `..` are directories.
            b'.' if !out.is_empty() => out.push('.'),
            other => out.push_str(&format!("%{other:02x}")),
        }
    }
    if out.is_empty() { "%".into() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| {
            pairs
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| (*v).to_owned())
        }
    }

    #[test]
    fn systemd_comes_before_xdg_before_home() {
        let all = [
            ("STATE_DIRECTORY", "/a:/b"),
            ("XDG_STATE_HOME", "/x"),
            ("HOME", "/h"),
        ];
        assert_eq!(state_dir(&table(&all)), Path::new("/a"));
        assert_eq!(state_dir(&table(&all[1..])), Path::new("/x/rigd"));
        assert_eq!(
            state_dir(&table(&all[2..])),
            Path::new("/h/.local/state/rigd")
        );
        assert_eq!(
            runtime_dir(&table(&[("XDG_RUNTIME_DIR", "/r")])),
            Path::new("/r/rigd")
        );
        let own = format!("/tmp/rigd-{}", rustix::process::getuid().as_raw());
        assert_eq!(runtime_dir(&table(&[])), Path::new(&own));
    }

    #[test]
    fn a_bare_name_is_a_credential_where_there_is_one() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("pass"), "x").unwrap();
        let text = dir.path().to_str().unwrap();
        let pairs = [("CREDENTIALS_DIRECTORY", text)];
        let find = |path: &str| secret_file(Path::new(path), &table(&pairs));
        assert_eq!(find("pass"), dir.path().join("pass"));
        assert_eq!(find("other"), Path::new("other"));
        assert_eq!(find("./sub/pass"), Path::new("./sub/pass"));
        assert_eq!(find("/etc/pass"), Path::new("/etc/pass"));
    }

    #[test]
    fn names_stay_one_component() {
        for (name, wanted) in [
            ("rpi4", "rpi4"),
            ("a/b", "a%2fb"),
            ("..", "%2e."),
            ("", "%"),
            ("a.b", "a.b"),
        ] {
            assert_eq!(component(name), wanted);
        }
    }
}
