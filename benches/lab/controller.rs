//! The controller under test, a process of its own: only its CPU time and memory count.

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    process::Command,
    time::{Duration, Instant},
};

use tokio::net::TcpStream;

use crate::{Failure, process::Process, site::Site};

/// It reads its state and listens within milliseconds.
const START_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(1);

/// Starts the lab; it ends when the value is dropped.
pub(crate) async fn start(site: &Site) -> Result<Process, Failure> {
    let runtime = site.dir().join("run");
    fs::DirBuilder::new().mode(0o700).create(&runtime)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_rigd"));
    command
        .args(["controller", "run", "--controller-listen", &site.endpoint])
        .env("STATE_DIRECTORY", site.dir())
        .env("RUNTIME_DIRECTORY", runtime)
        .env("HOME", site.dir())
        .env_remove("NOTIFY_SOCKET")
        .env_remove("RIGD_CONFIG")
        .current_dir(site.dir());
    let mut process = Process::start(&mut command, site.dir().join("log"))?;
    let began = Instant::now();
    while TcpStream::connect(&site.endpoint).await.is_err() {
        process.check()?;
        if began.elapsed() > START_LIMIT {
            return Err(format!("the controller does not listen after {START_LIMIT:?}").into());
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(process)
}
