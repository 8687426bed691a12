//! Where a command finds the lab: in the running daemon, else on disk.
//!
//! ```text
//!   control socket ── answers, runs a controller ──> its service
//!        │ nobody answers, or no controller there
//!        v
//!   state directory, locked ──> the same service in this process
//! ```

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rigd_controller::{engine::Engine, resources::Node, schedule, store::Store};
use rigd_proto::control::v1::{DescribeRequest, controller_client::ControllerClient};
use tokio::runtime;
use tonic::{Code, body::Body};
use tower::{BoxError, Service, ServiceExt, util::BoxService};

use crate::{
    cli::{
        Failure,
        daemon::{ANSWER_LIMIT, Daemon, answer, failed, refused},
    },
    config::Settings,
    control::{
        client::{ConnectError, channel},
        controller::{Administered, MAX_ANSWER, Place, server},
    },
    embedded,
    os::paths,
};

/// How long an answer may take that changes nothing: a large lab is written out in full.
pub(in crate::cli) const READ_LIMIT: Duration = Duration::from_secs(20);
/// How long a change may take: it is on the disk then, which may be a slow card with others waiting.
pub(super) const CHANGE_LIMIT: Duration = Duration::from_secs(60);
/// A client of the service, whoever serves it.
pub(in crate::cli) type Client = ControllerClient<BoxService<Asked, Answered, BoxError>>;
type Asked = http::Request<Body>;
type Answered = http::Response<Body>;

/// Which lab a command is about.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Desk {
    #[command(flatten)]
    daemon: Daemon,
}

/// What to do when there is no lab yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Absent {
    /// Make one.
    Make,
    /// Say so.
    Refuse,
}

impl Desk {
    /// Finds the lab, and does `work` with it.
    pub(in crate::cli) fn ask(
        self,
        absent: Absent,
        work: impl AsyncFnOnce(Client) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let env = |name: &str| std::env::var(name).ok();
        let settings = Settings::load(&env).map_err(Failure::Usage)?;
        let named = self.daemon.is_named();
        let places = self.daemon.places(&settings);
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::Runtime(error.into()))?;
        runtime.block_on(async {
            let (why, absent) = match running(&places).await? {
                Found::Lab(client) => return work(client).await,
                // Whoever named the daemon means that one.
                Found::Nobody(why) if named => return Err(why),
                Found::Nobody(why) => (why, absent),
                // It has a state directory of its own, and need not be meant.
                Found::NoLab(why) => (why, Absent::Refuse),
            };
            let lab = on_disk(&settings, absent, why)?;
            let service = server(Place::OnDisk(lab));
            work(client(ServiceExt::<Asked>::map_err(
                service,
                |never| match never {},
            )))
            .await
        })
    }
}

/// Where the state of the daemon is that this user would run.
pub(super) fn state_directory(settings: &Settings) -> PathBuf {
    let env = |name: &str| std::env::var(name).ok();
    let state = settings.state_dir.clone();
    state.unwrap_or_else(|| paths::state_dir(&env))
}

/// How the lab was served last. Flags of the daemon may have said so, which no setting tells.
struct Served {
    namespace: String,
    /// Base64 of PEM.
    ca: String,
}

impl Served {
    /// As the file of the lab's own client has it, which each start writes.
    fn last(state: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(embedded::own_client_file(state)).ok()?;
        let file = Node::from_yaml(&text).ok()?;
        let text = |at: &str, key: &str| match file.get(at)?.get(key)? {
            Node::Text(text) => Some(text.clone()),
            _ => None,
        };
        Some(Self {
            namespace: text("metadata", "namespace")?,
            ca: text("tls", "ca")?,
        })
    }

    /// As settings say that it will be.
    fn first(options: embedded::Options, directory: &Path) -> Result<Self, Failure> {
        let ca = options.certificate(directory).ca_pem(SystemTime::now());
        Ok(Self {
            namespace: options.namespace,
            ca: STANDARD.encode(ca.map_err(failed)?),
        })
    }
}

enum Found {
    Lab(Client),
    /// A daemon answers, and says this.
    NoLab(Failure),
    /// None does.
    Nobody(Failure),
}

async fn running(places: &[PathBuf]) -> Result<Found, Failure> {
    let channel = match channel(places).await {
        Ok(channel) => channel,
        Err(error @ ConnectError::Nobody(_)) => {
            return Ok(Found::Nobody(Failure::Runtime(error.into())));
        }
        Err(error) => return Err(Failure::Runtime(error.into())),
    };
    let mut client = client(ServiceExt::<Asked>::map_err(channel, BoxError::from));
    let described = async {
        match client.describe(DescribeRequest {}).await {
            // A daemon from before there were controllers has none either.
            Err(status)
                if [Code::FailedPrecondition, Code::Unimplemented].contains(&status.code()) =>
            {
                Ok(tonic::Response::new(Some(status)))
            }
            other => other.map(|_| tonic::Response::new(None)),
        }
    };
    Ok(match answer(ANSWER_LIMIT, described).await? {
        Some(status) => Found::NoLab(refused(&status)),
        None => Found::Lab(client),
    })
}

fn client<S>(service: S) -> Client
where
    S: Service<Asked, Response = Answered, Error = BoxError, Future: Send> + Send + 'static,
{
    ControllerClient::new(BoxService::new(service)).max_decoding_message_size(MAX_ANSWER)
}

/// The lab on disk, under its lock for as long as it is used.
fn on_disk(settings: &Settings, absent: Absent, why: Failure) -> Result<Administered, Failure> {
    let state = state_directory(settings);
    let directory = embedded::directory(&state);
    let is_new = !Store::exists(&directory);
    if is_new && absent == Absent::Refuse {
        return Err(failed(format!(
            "{}; and {} holds no state of a controller (RIGD_STATE_DIR names another directory)",
            why.text(),
            directory.display()
        )));
    }
    let options = embedded::Options::new(&settings.controller)?;
    let store = Store::open(&directory).map_err(failed)?;
    if is_new {
        eprintln!(
            "note: no daemon answers; a new lab was made in {}",
            directory.display()
        );
    }
    // Of a controller that has never run, it is what settings say.
    let endpoint = match embedded::remembered(&directory) {
        Some(endpoint) => endpoint,
        None => embedded::expected_endpoint(&options).map_err(failed)?,
    };
    let Served { namespace, ca } = match Served::last(&state) {
        Some(served) => served,
        None => Served::first(options, &directory)?,
    };
    let engine = Engine::open(namespace, store, schedule::Settings::default());
    Ok(Administered {
        engine: engine.map_err(failed)?,
        endpoint: endpoint.to_string(),
        ca,
    })
}
