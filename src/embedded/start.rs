//! From options to a port that answers, and to its end.

use std::{
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use rigd_controller::{
    certs::{CertError, Certs},
    engine::Engine,
    leases::Limits,
    schedule::{Idle, Settings},
    server::{self, Services},
    store::{Store, StoreError},
};
use tokio::{runtime, sync::watch, task::spawn_blocking, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{Lab, Options, endpoint, port};
use crate::{cli::Failure, config::Endpoint};

/// Threads of the controller, besides that of its state.
const WORKERS: usize = 2;
/// How long calls may go on once the daemon stops: its exporters have signed off by then.
const GRACE: Duration = Duration::from_millis(200);
/// How long the thread may take to end after that and after its connections were cut.
const END_LIMIT: Duration = Duration::from_secs(5);

/// The controller with its thread. Dropping it stops the port without waiting.
#[derive(Debug)]
pub(crate) struct Running {
    /// What others may know of it.
    pub(crate) lab: Lab,
    shutdown: CancellationToken,
    over: watch::Receiver<Option<String>>,
}

/// The controller cannot be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// Its state.
    #[error(transparent)]
    Store(StoreError),
    /// Another process has its state.
    #[error(
        "{error} ({}): end that rigd, or give this one a state of its own with RIGD_STATE_DIR=DIR",
        directory.display()
    )]
    InUse {
        /// Which one, if it is known.
        error: StoreError,
        /// The state.
        directory: PathBuf,
    },
    /// Its certificate.
    #[error("the certificate of the embedded controller: {0}")]
    Certificate(CertError),
    /// The certificate that the settings name, or a name that they want in its own one.
    #[error("the certificate of the embedded controller: {0}")]
    Given(CertError),
    /// No client would accept it.
    #[error(
        "the certificate of the embedded controller does not hold the name {name}, which is handed \
         out: it is for {}; start rigd with --advertise and one of them",
        holds.join(", ")
    )]
    OtherName {
        /// The name that is handed out.
        name: String,
        /// What the certificate is for.
        holds: Vec<String>,
    },
    /// Its port.
    #[error(transparent)]
    Port(#[from] port::PortError),
    /// Its keys.
    #[error(transparent)]
    Engine(#[from] rigd_controller::engine::EngineError),
    /// Its files.
    #[error(transparent)]
    File(#[from] rigd_controller::config_files::ConfigFileError),
    /// Its own client.
    #[error("{0}")]
    OwnClient(String),
    /// The system has no thread for it.
    #[error("no thread for the embedded controller: {0}")]
    Thread(#[from] std::io::Error),
    /// It failed while it started, by a mistake of ours.
    #[error("the embedded controller failed unexpectedly")]
    Failed,
}

impl StartError {
    fn store(error: StoreError, directory: &Path) -> Self {
        match error {
            StoreError::InUse { .. } | StoreError::InUseUnnamed => Self::InUse {
                error,
                directory: directory.into(),
            },
            error => Self::Store(error),
        }
    }

    fn certificate(error: CertError, options: &Options) -> Self {
        match error {
            error if options.gives_certificate() => Self::Given(error),
            error @ CertError::Name(_) => Self::Given(error),
            error => Self::Certificate(error),
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        // Its text has those of its causes.
        let text = anyhow::Error::msg(error.to_string());
        match error {
            StartError::Given(_) | StartError::OtherName { .. } => Self::Usage(text),
            _ => Self::Runtime(text),
        }
    }
}

/// What blocks: files, and the port.
struct Opened {
    engine: Engine,
    certs: Certs,
    listener: TcpListener,
    bound: SocketAddr,
    endpoint: Endpoint,
}

/// Starts the controller of `state`, the daemon's state directory. The port is bound when this ends.
///
/// # Errors
/// See [`StartError`]; nothing runs then.
pub(crate) async fn start(options: &Options, state: &Path) -> Result<Running, StartError> {
    let opened = {
        let (options, directory) = (options.clone(), super::directory(state));
        spawn_blocking(move || open(&options, &directory)).await
    };
    let opened = opened.map_err(|_| StartError::Failed)??;
    let Opened {
        engine,
        certs,
        listener,
        bound,
        endpoint,
    } = opened;
    let (endpoint, advertised) = (endpoint.to_string(), endpoint);
    let ca = certs.ca_base64();
    let lab = Lab {
        ca_pem: certs.ca_pem().into(),
        near: port::near(bound),
        state: std::path::absolute(state).unwrap_or_else(|_| state.into()),
        engine: engine.clone(),
        endpoint: endpoint.clone(),
        ca,
    };
    let own = lab.write_own_client().await;
    own.map_err(|error| StartError::OwnClient(error.to_string()))?;
    let shutdown = CancellationToken::new();
    let options = server::Options {
        certs: Arc::new(certs),
        shutdown: shutdown.clone(),
        grace: GRACE,
    };
    let services = Services::new(engine, &endpoint, Limits::default());
    let (over_tx, over) = watch::channel(None);
    let serve = move || {
        let ended = serve(services, listener, options);
        over_tx.send_replace(Some(ended.err().unwrap_or_default()));
    };
    thread::Builder::new()
        .name("rigd-controller".into())
        .spawn(serve)?;
    tracing::info!(%bound, endpoint, "The embedded controller serves.");
    thread::Builder::new()
        .name("rigd-look-up".into())
        .spawn(move || resolve(&advertised))?;
    Ok(Running {
        lab,
        shutdown,
        over,
    })
}

fn open(options: &Options, directory: &Path) -> Result<Opened, StartError> {
    let store = Store::open(directory).map_err(|error| StartError::store(error, directory))?;
    let certs = Certs::open(options.certificate(directory), SystemTime::now());
    let certs = certs.map_err(|error| StartError::certificate(error, options))?;
    let before = endpoint::remembered(directory);
    let listener = port::bind(options, before.as_ref())?;
    let bound = listener.local_addr()?;
    let endpoint = port::endpoint(&options.advertise, bound, port::host_name)?;
    if let Some(port) = port::of_before(options, before.as_ref())
        && port != bound.port()
    {
        tracing::warn!(
            port,
            %endpoint,
            "The port of before is in use: files that were handed out name it, and do not lead here. \
             End the program that has it (`ss -ltnp` names it) and restart rigd, or hand them out anew."
        );
    }
    if !certs.covers(endpoint.host()) {
        return Err(StartError::OtherName {
            name: endpoint.host().to_owned(),
            holds: certs.names(),
        });
    }
    endpoint::remember(directory, &endpoint)?;
    let from = SystemTime::now();
    let idle = options.idle.map(|limit| Idle { limit, from });
    let engine = Engine::open(options.namespace.clone(), store, Settings { idle })?;
    Ok(Opened {
        engine,
        certs,
        listener,
        bound,
        endpoint,
    })
}

/// A name that nobody can find is told at the start, and not by each client. It may still be known to
/// them alone, so that it stops nothing; and a name server that does not answer holds nothing up.
fn resolve(endpoint: &Endpoint) {
    let found = (endpoint.host(), endpoint.port()).to_socket_addrs();
    if let Err(error) = found {
        tracing::warn!(
            %endpoint,
            %error,
            "The name that the embedded controller hands out does not resolve here: clients that \
             cannot resolve it either do not reach it. Give another one with --advertise NAME."
        );
    }
}

/// The life of the thread.
fn serve(
    services: Services,
    listener: TcpListener,
    options: server::Options,
) -> Result<(), String> {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("rigd-controller")
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let served = runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener);
        let listener = listener.map_err(|error| error.to_string())?;
        let served = server::serve(services, listener, options).await;
        served.map_err(|error| format!("{:#}", anyhow::Error::from(error)))
    });
    runtime.shutdown_background();
    served
}

impl Running {
    /// Waits until it is over although nobody stopped it; gives the reason. Cancel-safe.
    pub(crate) async fn failed(&mut self) -> String {
        let over = self.over.wait_for(Option::is_some).await;
        match over {
            Ok(reason) => match reason.as_deref() {
                Some("") | None => "it ended".into(),
                Some(reason) => reason.to_owned(),
            },
            // The thread is gone without a word.
            Err(_) => "it failed unexpectedly".into(),
        }
    }

    /// Stops it: no new calls, and those under way have a moment.
    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        // An error means that its thread is gone, which is as well.
        let over = self.over.wait_for(Option::is_some);
        if timeout(END_LIMIT, over).await.is_err() {
            tracing::warn!("The embedded controller does not end; it ends with the process.");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
