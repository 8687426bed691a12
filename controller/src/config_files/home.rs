//! Where the files are, and how they get there.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use super::{ConfigFileError, Drivers, Role, text};
use crate::{auth::Token, private_file, resources::Node};

/// A directory of configuration files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home(PathBuf);

/// What to do with a file that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Leave it, and fail.
    Keep,
    /// Write over it.
    Replace,
}

/// Which client `jmp` uses after a file was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Current {
    /// The one that was saved: there was none before.
    This,
    /// Another one, or `config.yaml` is none that can be read; it was left as it is.
    Unchanged,
}

/// What was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The file.
    pub path: PathBuf,
    /// For clients.
    pub current: Current,
}

impl Home {
    /// This directory.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// The caller's own one, by the variables that `jmp` looks at.
    ///
    /// # Errors
    /// [`ConfigFileError::NoHome`].
    pub fn of_caller(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigFileError> {
        let set = |name: &str| {
            variable(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        set("JMP_CLIENT_CONFIG_HOME")
            .or_else(|| set("XDG_CONFIG_HOME").map(|base| base.join("jumpstarter")))
            .or_else(|| set("HOME").map(|home| home.join(".config/jumpstarter")))
            .map(Self)
            .ok_or(ConfigFileError::NoHome)
    }

    /// Where the file of that alias is.
    ///
    /// # Errors
    /// `jmp` would not know it by that alias: it cuts at the first dot.
    pub fn path(&self, role: Role, alias: &str) -> Result<PathBuf, ConfigFileError> {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if alias.is_empty() || !alias.chars().all(good) {
            return Err(ConfigFileError::Alias(alias.to_owned()));
        }
        let directory = match role {
            Role::Client => "clients",
            Role::Exporter => "exporters",
        };
        Ok(self.0.join(directory).join(format!("{alias}.yaml")))
    }

    /// Saves a file for `jmp`. The first client becomes the current one.
    ///
    /// # Errors
    /// It is there and is to be kept, or the directory cannot be written.
    pub fn save(
        &self,
        role: Role,
        alias: &str,
        content: &str,
        existing: Existing,
    ) -> Result<Saved, ConfigFileError> {
        let path = self.path(role, alias)?;
        write_file(&path, content, existing)?;
        let current = match role {
            Role::Client if self.has_no_current() => {
                self.set_current(alias)?;
                Current::This
            }
            _ => Current::Unchanged,
        };
        Ok(Saved { path, current })
    }

    fn user_file(&self) -> PathBuf {
        self.0.join("config.yaml")
    }

    /// There is no `config.yaml`, or it names no client. One that cannot be read is its owner's.
    fn has_no_current(&self) -> bool {
        match std::fs::read_to_string(self.user_file()) {
            Err(error) => error.kind() == io::ErrorKind::NotFound,
            Ok(text) => Node::from_yaml(&text).is_ok_and(|node| {
                let current = node
                    .get("config")
                    .and_then(|node| node.get("current-client"));
                current == Some(&Node::Null)
            }),
        }
    }

    fn set_current(&self, alias: &str) -> Result<(), ConfigFileError> {
        write_file(
            &self.user_file(),
            &text::user(Some(alias)),
            Existing::Replace,
        )
    }
}

/// Writes a file for its owner only, and the directories above it.
///
/// # Errors
/// It is there and is to be kept, or the directory cannot be written.
pub fn write_file(path: &Path, content: &str, existing: Existing) -> Result<(), ConfigFileError> {
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        private_file::make_directory(parent).map_err(|source| failed(path, source))?;
    }
    match existing {
        Existing::Replace => replace(path, content),
        Existing::Keep => private_file::write_new(path, content.as_bytes()).map_err(|source| {
            match source.kind() {
                io::ErrorKind::AlreadyExists => ConfigFileError::Exists {
                    path: path.to_owned(),
                },
                _ => failed(path, source),
            }
        }),
    }
}

/// A device would be gone, and a directory is somebody's mistake.
fn replace(path: &Path, content: &str) -> Result<(), ConfigFileError> {
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        return Err(ConfigFileError::NotAFile {
            path: path.to_owned(),
        });
    }
    let written = private_file::write(path, content.as_bytes());
    written.map_err(|source| failed(path, source))
}

/// Puts a new token in place of that of any file, and leaves the rest as its owner has it.
///
/// # Errors
/// As [`renewable`], and it cannot be written.
pub fn renew_file(path: &Path, token: &Token) -> Result<(), ConfigFileError> {
    let old = renewable(path)?;
    let mut new = String::new();
    for line in old.split_inclusive('\n') {
        match is_token(line) {
            true => new.push_str(&format!("token: {}\n", token.reveal())),
            false => new.push_str(line),
        }
    }
    replace(path, &new)
}

/// The content of a file in which [`renew_file`] finds the place of the token: for a look before the
/// token is made.
///
/// # Errors
/// There is no such file, or it has no token where `jmp` writes it.
pub fn renewable(path: &Path) -> Result<String, ConfigFileError> {
    let text = std::fs::read_to_string(path).map_err(|source| failed(path, source))?;
    match text.lines().filter(|line| is_token(line)).count() {
        1 => Ok(text),
        _ => Err(ConfigFileError::NoToken { path: path.into() }),
    }
}

fn is_token(line: &str) -> bool {
    line.starts_with("token:")
}

fn failed(path: &Path, source: io::Error) -> ConfigFileError {
    ConfigFileError::File {
        path: path.to_owned(),
        source,
    }
}

/// Writes the lab's own client, `default`, into the daemon's state directory, and gives the directory
/// that `JMP_CLIENT_CONFIG_HOME` is to name.
///
/// # Errors
/// The directory cannot be written.
pub fn write_own_client(state: &Path, access: &text::Access) -> Result<PathBuf, ConfigFileError> {
    const ALIAS: &str = "default";
    let home = Home::at(state.join("client"));
    let content = text::client(access, &Drivers::installed());
    write_file(
        &home.path(Role::Client, ALIAS)?,
        &content,
        Existing::Replace,
    )?;
    home.set_current(ALIAS)?;
    Ok(home.0)
}

/// The token of a file that was written here, so that a later start can go on with it.
pub fn token_of(path: &Path) -> Option<Token> {
    let node = Node::from_yaml(&std::fs::read_to_string(path).ok()?).ok()?;
    match node.get("token")? {
        Node::Text(token) => Some(Token::new(token)),
        _ => None,
    }
}
