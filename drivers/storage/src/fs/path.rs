//! Paths as clients write them, resolved by their text before anything touches the disk.
//!
//! `/a//b/./c/../d` is `a/b/d` below the root. What symbolic links do is `root`'s affair.

use rigd_driver::DriverError;

/// Longest path the kernel takes, without its final zero.
const LONGEST: usize = 4095;

/// A path below the root, without dot segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RelPath {
    parts: Vec<String>,
    /// It ends in `/`: the client means a directory.
    dir: bool,
}

impl RelPath {
    /// Reads a client's path.
    ///
    /// # Errors
    /// It leads out of the root, has a zero byte, or is too long.
    pub(super) fn parse(raw: &str) -> Result<Self, DriverError> {
        if raw.contains('\0') {
            let text = format!("path {raw:?} has a zero byte");
            return Err(DriverError::InvalidArgument(text));
        }
        if raw.len() > LONGEST {
            let text = format!("path of {} bytes: {LONGEST} are possible", raw.len());
            return Err(DriverError::InvalidArgument(text));
        }
        let mut parts = Vec::new();
        for part in raw.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    if parts.pop().is_none() {
                        let text = format!("path {raw:?} leads out of the storage root");
                        return Err(DriverError::InvalidArgument(text));
                    }
                }
                name => parts.push(name.to_owned()),
            }
        }
        let last = raw.rsplit('/').next().unwrap_or_default();
        let dir = parts.is_empty() || matches!(last, "" | "." | "..");
        Ok(Self { parts, dir })
    }

    pub(super) fn root() -> Self {
        Self {
            parts: Vec::new(),
            dir: true,
        }
    }

    pub(super) fn is_root(&self) -> bool {
        self.parts.is_empty()
    }

    pub(super) fn is_dir(&self) -> bool {
        self.dir
    }

    pub(super) fn parts(&self) -> &[String] {
        &self.parts
    }

    /// Without slashes at the ends: `a/b`, empty for the root.
    pub(super) fn key(&self) -> String {
        self.parts.join("/")
    }

    /// As clients see it: `a/b`, `a/b/`, `/`.
    pub(super) fn shown(&self) -> String {
        let mut text = self.key();
        if self.dir {
            text.push('/');
        }
        text
    }

    /// As the kernel takes it, relative to the root.
    pub(super) fn for_kernel(&self) -> String {
        if self.is_root() {
            ".".into()
        } else {
            self.key()
        }
    }

    /// The first `count` parts, as a directory.
    pub(super) fn prefix(&self, count: usize) -> Self {
        Self {
            parts: self.parts[..count].to_vec(),
            dir: true,
        }
    }

    /// The directory it is in and its name there; `None` for the root.
    pub(super) fn split(&self) -> Option<(Self, &str)> {
        let name = self.parts.last()?;
        Some((self.prefix(self.parts.len() - 1), name))
    }

    /// An entry of this directory.
    pub(super) fn child(&self, name: &str, dir: bool) -> Self {
        let mut parts = self.parts.clone();
        parts.push(name.to_owned());
        Self { parts, dir }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(raw: &str) -> String {
        RelPath::parse(raw).unwrap().shown()
    }

    #[test]
    fn dots_and_slashes_are_resolved_by_text() {
        assert_eq!(shown("/a//b/./c/../d"), "a/b/d");
        assert_eq!(shown("a/b/"), "a/b/");
        assert_eq!(shown("a/b/."), "a/b/");
        assert_eq!(shown("a/b/.."), "a/");
        for root in ["", "/", ".", "a/..", "//"] {
            assert_eq!(shown(root), "/", "{root:?}");
        }
        assert_eq!(RelPath::parse("/same/").unwrap().key(), "same");
        assert_eq!(shown(" f"), " f");
    }

    #[test]
    fn what_leads_out_is_refused() {
        for bad in ["..", "../x", "a/../..", "/../etc/passwd", "a\0b"] {
            let error = RelPath::parse(bad).unwrap_err();
            assert!(matches!(error, DriverError::InvalidArgument(_)), "{bad:?}");
        }
        assert!(RelPath::parse(&"x".repeat(4096)).is_err());
    }
}
