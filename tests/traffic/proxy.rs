//! A proxy on a unix socket that keeps what the client sends, or changes it on its way.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
};

use super::mutate::Mutation;

/// Recordings are replayed thousands of times, so they are to be short.
const KEPT: usize = 256 * 1024;

/// Passes one connection on to the daemon. Its threads end with the connection.
pub(crate) struct Proxy {
    path: PathBuf,
    recorded: Arc<Mutex<Vec<u8>>>,
}

impl Proxy {
    /// Listens at `path` for one connection to `target`, and records it.
    pub(crate) fn start(path: PathBuf, target: &Path) -> Self {
        let recorded = Arc::<Mutex<Vec<u8>>>::default();
        let kept = recorded.clone();
        serve(&path, target, move |bytes| {
            let mut kept = kept.lock().unwrap();
            let room = KEPT - kept.len();
            kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
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

/// Listens at `path` for one connection to `target`, and changes the piece that holds the byte
/// number `at`.
pub(crate) fn change(path: &Path, target: &Path, at: usize, mutation: Mutation) {
    let mut passed = 0;
    serve(path, target, move |bytes| {
        let here = (passed..passed + bytes.len()).contains(&at);
        passed += bytes.len();
        if here {
            mutation.apply(bytes);
        }
    });
}

fn serve(path: &Path, target: &Path, seen: impl FnMut(&mut Vec<u8>) + Send + 'static) {
    let listener = UnixListener::bind(path).unwrap();
    let target = target.to_owned();
    thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        let daemon = UnixStream::connect(target).unwrap();
        let back = (daemon.try_clone().unwrap(), client.try_clone().unwrap());
        thread::spawn(move || pass(back.0, back.1, |_| {}).ok());
        pass(client, daemon, seen).ok();
    });
}

fn pass(
    mut from: UnixStream,
    mut to: UnixStream,
    mut seen: impl FnMut(&mut Vec<u8>),
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return to.shutdown(Shutdown::Write);
        }
        let mut bytes = buffer[..count].to_vec();
        seen(&mut bytes);
        to.write_all(&bytes)?;
    }
}
