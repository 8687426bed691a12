//! The temporary directory of one test, and exporter files filled in for it.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// A directory, and two ports that nobody listens on.
#[derive(Debug)]
pub(crate) struct Settings {
    dir: TempDir,
    pub(crate) port: u16,
    pub(crate) port2: u16,
}

impl Settings {
    pub(crate) fn new() -> Self {
        // Below /tmp, since a socket path may have 107 bytes at most.
        let dir = tempfile::Builder::new()
            .prefix("rigd-test-")
            .tempdir()
            .unwrap();
        for name in ["run", "state", "home", "root"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let (port, port2) = (free_port(), free_port());
        Self { dir, port, port2 }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Copies an exporter file into the directory, with `@DIR@`, `@PORT@` and `@PORT2@` filled in.
    pub(crate) fn fill_in(&self, template: &Path) -> PathBuf {
        let text = fs::read_to_string(template)
            .unwrap_or_else(|why| panic!("{}: {why}", template.display()))
            .replace("@DIR@", self.dir.path().to_str().unwrap())
            .replace("@PORT@", &self.port.to_string())
            .replace("@PORT2@", &self.port2.to_string());
        let filled = self.path("exporter.yaml");
        fs::write(&filled, text).unwrap();
        filled
    }
}

/// A port that was free a moment ago; the kernel hands out others before it repeats itself.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
