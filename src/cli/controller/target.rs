//! Where a configuration file with a token goes. Everything that can fail there is looked at before
//! the token is made.

use std::{
    ffi::OsString,
    io::IsTerminal,
    path::{Path, PathBuf},
};

use rigd_controller::{
    auth::Token,
    config_files::{
        ConfigFileError, Current, Existing, Home, Role, renew_file, renewable, write_file,
    },
    resources::Node,
};
use rustix::fs::{Access, access};

use super::output;
use crate::cli::{Failure, daemon::failed};

/// Flags that say where it goes.
#[derive(Debug, clap::Args)]
pub(super) struct Destination {
    /// Save it into your own Jumpstarter configuration, where `jmp` finds it.
    #[arg(long, conflicts_with = "out")]
    save: bool,

    /// Save it under this alias in place of its name.
    #[arg(long, value_name = "ALIAS", requires = "save")]
    alias: Option<String>,

    /// Write it to this file, for its owner only; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Where it goes.
#[derive(Debug)]
pub(super) struct Target {
    role: Role,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Home {
        home: Home,
        alias: String,
        path: PathBuf,
    },
    File(PathBuf),
    Output,
}

impl Destination {
    /// The place for the file of `name`.
    ///
    /// # Errors
    /// Nothing was said and the output is a terminal, or there is no such place.
    pub(super) fn target(self, role: Role, name: &str) -> Result<Target, Failure> {
        let terminal = std::io::stdout().is_terminal();
        self.place(role, name, terminal, |name| std::env::var_os(name))
            .map(|place| Target { role, place })
    }

    fn place(
        self,
        role: Role,
        name: &str,
        terminal: bool,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Place, Failure> {
        if self.save {
            let home = Home::of_caller(variable).map_err(failed)?;
            let alias = self.alias.unwrap_or_else(|| name.to_owned());
            let path = home.path(role, &alias).map_err(|error| {
                Failure::usage(format!("{error}; --alias ALIAS chooses another one"))
            })?;
            return Ok(Place::Home { home, alias, path });
        }
        match self.out {
            Some(path) if path == Path::new("-") => Ok(Place::Output),
            Some(path) => Ok(Place::File(path)),
            None if terminal => Err(Failure::usage(
                "say where its configuration file goes, which holds a secret: --save puts it into \
                 your own Jumpstarter configuration, --out FILE elsewhere, and --out - prints it",
            )),
            None => Ok(Place::Output),
        }
    }
}

impl Target {
    fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::Home { path, .. } | Place::File(path) => Some(path),
            Place::Output => None,
        }
    }

    /// Whether a file is there.
    pub(super) fn is_there(&self) -> bool {
        self.path()
            .is_some_and(|path| path.symlink_metadata().is_ok())
    }

    /// Looks whether [`Target::put`] can succeed.
    ///
    /// # Errors
    /// There is a file that is to be kept, or none can be written there.
    pub(super) fn check(&self, existing: Existing) -> Result<(), Failure> {
        let Some(path) = self.path() else {
            return Ok(());
        };
        if path.is_dir() {
            let text = format!("{} is a directory: name a file in it", path.display());
            return Err(failed(text));
        }
        if existing == Existing::Keep && self.is_there() {
            let text = format!("{} exists already; --force overwrites it", path.display());
            return Err(failed(text));
        }
        writable(path, matches!(self.place, Place::Home { .. }))
    }

    /// Looks whether [`Target::renew`] can succeed for `name`, whose file is there.
    ///
    /// # Errors
    /// It is another one's, has no place for a token, or cannot be written.
    pub(super) fn check_renewal(&self, name: &str) -> Result<(), Failure> {
        let Some(path) = self.path() else {
            return Ok(());
        };
        let text = renewable(path).map_err(failed)?;
        let found = Node::from_yaml(&text);
        let found = found.map_err(|error| failed(format!("{}: {error}", path.display())))?;
        let kind = match self.role {
            Role::Client => "ClientConfig",
            Role::Exporter => "ExporterConfig",
        };
        // `jmp` takes files without a kind.
        let right_kind = found
            .get("kind")
            .is_none_or(|found| *found == Node::Text(kind.into()));
        let metadata = found.get("metadata").and_then(|node| node.get("name"));
        match metadata {
            Some(Node::Text(found)) if found == name && right_kind => writable(path, false),
            _ => Err(failed(format!(
                "{} is not the {kind} of '{name}': its token stays as it is",
                path.display()
            ))),
        }
    }

    /// Writes a whole file, and tells where it is; nothing when it was printed.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn put(&self, content: &str, existing: Existing) -> Result<Option<String>, Failure> {
        let said = |path: &Path, more: &str| Some(format!("{}{more}", path.display()));
        match &self.place {
            Place::Home { home, alias, .. } => {
                let saved = home.save(self.role, alias, content, existing);
                let saved = saved.map_err(failed)?;
                let more = match (self.role, saved.current) {
                    (Role::Client, Current::This) => ", and is the client that jmp uses".into(),
                    (Role::Client, Current::Unchanged) => {
                        format!("; `jmp config client use {alias}` makes jmp use it")
                    }
                    (Role::Exporter, _) => format!("; `rigd run --exporter {alias}` serves it"),
                };
                Ok(said(&saved.path, &more))
            }
            Place::File(path) => {
                write_file(path, content, existing).map_err(failed)?;
                Ok(said(path, ""))
            }
            Place::Output => output::document(content.as_bytes()).map(|()| None),
        }
    }

    /// Puts a new token into the file that is there, and tells which.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn renew(&self, token: &Token) -> Result<Option<String>, Failure> {
        let Some(path) = self.path() else {
            return Ok(None);
        };
        renew_file(path, token).map_err(failed)?;
        Ok(Some(path.display().to_string()))
    }
}

/// Whether a file can be made at `path`; in the directories of a configuration, also when those are
/// to be made.
fn writable(path: &Path, may_make: bool) -> Result<(), Failure> {
    let file = |path: &Path, source: std::io::Error| {
        failed(ConfigFileError::File {
            path: path.to_owned(),
            source,
        })
    };
    let mut directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    while may_make && directory.symlink_metadata().is_err() {
        let Some(above) = directory.parent() else {
            break;
        };
        directory = match above.as_os_str().is_empty() {
            true => Path::new("."),
            false => above,
        };
    }
    let found = std::fs::metadata(directory).map_err(|error| file(directory, error))?;
    if !found.is_dir() {
        let text = format!("{} is not a directory", directory.display());
        return Err(failed(text));
    }
    access(directory, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| file(directory, error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(save: bool, out: Option<&str>, terminal: bool) -> Result<Place, Failure> {
        let destination = Destination {
            save,
            alias: None,
            out: out.map(PathBuf::from),
        };
        let home = |name: &str| (name == "HOME").then(|| "/home/me".into());
        destination.place(Role::Client, "ci", terminal, home)
    }

    #[test]
    fn a_terminal_shows_no_secret_unasked() {
        let error = place(false, None, true).unwrap_err();
        assert!(matches!(error, Failure::Usage(_)), "{error:?}");
        assert!(error.text().contains("--save") && error.text().contains("--out"));
        for (out, terminal) in [(None, false), (Some("-"), true), (Some("-"), false)] {
            let found = place(false, out, terminal).unwrap();
            assert!(matches!(found, Place::Output), "{found:?}");
        }
    }

    #[test]
    fn the_callers_own_configuration_is_found_as_jmp_finds_it() {
        let Place::Home { path, .. } = place(true, None, true).unwrap() else {
            panic!("not there");
        };
        assert_eq!(
            path,
            Path::new("/home/me/.config/jumpstarter/clients/ci.yaml")
        );
    }

    #[test]
    fn directories_are_made_for_a_configuration_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clients/ci.yaml");
        assert!(writable(&path, true).is_ok());
        let error = writable(&path, false).unwrap_err().text();
        assert!(error.contains("clients: No such file"), "{error}");
        std::fs::write(dir.path().join("clients"), "").unwrap();
        let error = writable(&path, true).unwrap_err().text();
        assert!(error.contains("is not a directory"), "{error}");
    }
}
