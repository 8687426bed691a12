//! Failures on paths, in the words of OpenDAL, which clients match: `NotFound (permanent) at stat
//! => …`.

use rigd_driver::DriverError;
use rustix::io::Errno;

use super::path::RelPath;

/// Why a path could not be used.
#[derive(Debug)]
pub(super) enum PathError {
    Errno(Errno),
    /// A symbolic link on the way leads out of the root.
    Escape,
    /// Something else stops the work: the key, a bound.
    Stop(DriverError),
}

impl From<Errno> for PathError {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<std::io::Error> for PathError {
    fn from(error: std::io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(errno) => Self::Errno(errno),
            None => Self::Stop(DriverError::Device(error.to_string())),
        }
    }
}

impl From<DriverError> for PathError {
    fn from(error: DriverError) -> Self {
        Self::Stop(error)
    }
}

/// A refusal in OpenDAL's form. UNKNOWN, as upstream answers it.
pub(super) fn refused(kind: &str, op: &str, why: &str, path: &RelPath) -> DriverError {
    let path = path.shown();
    DriverError::Unknown(format!(
        "{kind} (permanent) at {op} => {why}: path {path:?}"
    ))
}

impl PathError {
    pub(super) fn is_missing(&self) -> bool {
        // Below a file there is nothing.
        matches!(self, Self::Errno(Errno::NOENT | Errno::NOTDIR))
    }

    /// What the client hears of a failed `op` on `path`.
    pub(super) fn told(self, op: &str, path: &RelPath) -> DriverError {
        let errno = match self {
            Self::Errno(errno) => errno,
            Self::Escape => {
                return DriverError::FailedPrecondition(format!(
                    "outside the root: path {:?} leads through a symbolic link out of the storage \
                     root",
                    path.shown()
                ));
            }
            Self::Stop(error) => return error,
        };
        let source = std::io::Error::from(errno);
        let (kind, why) = match errno {
            Errno::NOENT => ("NotFound", "entity not found"),
            Errno::EXIST => ("AlreadyExists", "entity already exists"),
            Errno::NOTDIR => ("NotADirectory", "not a directory"),
            Errno::ISDIR => ("IsADirectory", "is a directory"),
            Errno::NOTEMPTY => ("Unexpected", "directory not empty"),
            Errno::LOOP => (
                "Unexpected",
                "too many symbolic links, or links not allowed here",
            ),
            Errno::NAMETOOLONG => ("Unexpected", "name too long"),
            Errno::ACCESS | Errno::PERM | Errno::ROFS => {
                return device("PermissionDenied", op, "permission denied", path, &source);
            }
            Errno::NOSPC | Errno::DQUOT => {
                return device("Unexpected", op, "disk full", path, &source);
            }
            _ => return device("Unexpected", op, "operation failed", path, &source),
        };
        refused(kind, op, &format!("{why}, {source}"), path)
    }
}

fn device(kind: &str, op: &str, why: &str, path: &RelPath, source: &std::io::Error) -> DriverError {
    let path = path.shown();
    DriverError::Device(format!(
        "{kind} (permanent) at {op} => {why}, {source}: path {path:?}"
    ))
}
