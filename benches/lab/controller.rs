//! The controller under test, a process of its own: only its CPU time and memory count.

use std::{
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use rigd_controller::{
    certs::Certs,
    engine::Engine,
    leases::Limits,
    schedule::Settings,
    server::{Options, Services, serve as serve_lab},
    store::Store,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::{
    Failure,
    echo_server::runtime,
    process::Process,
    site::{NAMESPACE, Site, certificate, state},
};

/// Makes the benchmark's own program such a process.
pub(crate) const FLAG: &str = "--controller";

/// It reads its state and listens within milliseconds.
const START_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(1);

/// Starts the lab; it ends when the value is dropped.
pub(crate) async fn start(site: &Site) -> Result<Process, Failure> {
    let mut process = Process::start(&mut command(site)?, site.dir().join("log"))?;
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

/// What serves a lab.
fn command(site: &Site) -> Result<Command, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(FLAG).arg(site.dir()).arg(&site.endpoint);
    Ok(command)
}

/// Serves it until it is killed.
pub(crate) fn serve(arguments: &[String]) -> Result<(), Failure> {
    let [dir, endpoint] = arguments else {
        return Err(format!("{FLAG} DIRECTORY ENDPOINT").into());
    };
    let dir = Path::new(dir);
    runtime()?.block_on(async {
        let certs = Certs::open(certificate(dir), SystemTime::now())?;
        let store = Store::open(&state(dir))?;
        let engine = Engine::open(NAMESPACE.to_owned(), store, Settings::default())?;
        let options = Options {
            certs: Arc::new(certs),
            shutdown: CancellationToken::new(),
            grace: Duration::ZERO,
        };
        let services = Services::new(engine, endpoint, Limits::default());
        serve_lab(services, TcpListener::bind(endpoint).await?, options).await?;
        Ok(())
    })
}
