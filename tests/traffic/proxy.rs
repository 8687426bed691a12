//! A proxy on a unix socket that keeps what the client sends.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
};

/// Recordings are replayed thousands of times, so they are to be short.
const KEPT: usize = 256 * 1024;

/// Passes connections on to the daemon. Its threads end with their connections.
pub(crate) struct Proxy {
    path: PathBuf,
    recorded: Arc<Mutex<Vec<u8>>>,
}

impl Proxy {
    /// Listens at `path` for one connection to `target`.
    pub(crate) fn start(path: PathBuf, target: &Path) -> Self {
        let listener = UnixListener::bind(&path).unwrap();
        let recorded = Arc::<Mutex<Vec<u8>>>::default();
        let (target, kept) = (target.to_owned(), recorded.clone());
        thread::spawn(move || {
            let (client, _) = listener.accept().unwrap();
            let daemon = UnixStream::connect(target).unwrap();
            let back = (daemon.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || pass(back.0, back.1, |_| {}).ok());
            pass(client, daemon, |bytes| {
                let mut kept = kept.lock().unwrap();
                let room = KEPT - kept.len();
                kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
            })
            .ok();
        });
        Self { path, recorded }
    }

    /// Where clients connect.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What the client has sent so far.
    pub(crate) fn recorded(&self) -> Vec<u8> {
        self.recorded.lock().unwrap().clone()
    }
}

fn pass(mut from: UnixStream, mut to: UnixStream, seen: impl Fn(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return to.shutdown(Shutdown::Write);
        }
        seen(&buffer[..count]);
        to.write_all(&buffer[..count])?;
    }
}
