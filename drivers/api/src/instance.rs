//! One node of the export tree: an instance of a driver.
//!
//! ```text
//!            ┌──────── back-off ────────┐
//!   start ─> opening ──ok──> ready ──lost──> absent / faulty
//!                 └──────── failed ─────────────^
//! ```
//!
//! A driver may outlive its device: it then stays open while the instance is absent, and says itself
//! when the device is back.
//!
//! Calls go through the queue of the instance and are checked against their key when their turn
//! comes. An instance that is not ready answers UNAVAILABLE with the reason; the others of the
//! tree do not notice.

mod guarded;
mod life;
mod under_way;

use std::{
    any::Any,
    collections::BTreeMap,
    os::fd::OwnedFd,
    panic::AssertUnwindSafe,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    Arrival, Blueprint, ByteStream, Call, ConsoleTap, DriverError, HealthHandle, Key, MethodKind,
    Mode, Resources, TaskScope,
    blueprint::Opened,
    device_thread::{DeviceThread, panicked},
    fenced_stream::fence,
    interlock::{Guard, Permit},
    open_cx::Condition,
    queue::Queue,
};
use under_way::{Live, Watch};

/// Whether an instance can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Open and working.
    Ready,
    /// The hardware is not there.
    Absent(String),
    /// The hardware is there and does not work.
    Faulty(String),
}

impl Health {
    /// Tells in the log why it cannot be used.
    pub(crate) fn tell(&self) {
        match self {
            Self::Absent(reason) => tracing::warn!(reason, "Instance is absent."),
            Self::Faulty(reason) => tracing::warn!(reason, "Instance is faulty."),
            Self::Ready => {}
        }
    }
}

/// What an instance is made from.
#[derive(Debug)]
pub struct InstanceConfig {
    /// Name of the exporter.
    pub exporter: String,
    /// Dotted path in the tree.
    pub path: String,
    /// Id for clients.
    pub uuid: Uuid,
    /// Directory that survives restarts.
    pub state_dir: PathBuf,
    /// The configured driver.
    pub blueprint: Blueprint,
    /// The instance that brought this one along.
    pub parent: Option<Arc<Instance>>,
    /// Instances of `children:`.
    pub children: BTreeMap<String, Arc<Instance>>,
    /// Inherited from the process before this one.
    pub descriptor: Option<OwnedFd>,
}

/// What outlives a single opening of the device.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) uuid: Uuid,
    pub(crate) path: String,
    pub(crate) device: Arc<DeviceThread>,
    pub(crate) queue: Arc<Queue>,
}

#[derive(Default)]
struct State {
    driver: Option<Arc<dyn Opened>>,
    tasks: Option<TaskScope>,
    health: Option<HealthHandle>,
    leased: bool,
    /// Clients of the lease may act.
    served: bool,
}

/// One node of the export tree.
pub struct Instance {
    exporter: String,
    blueprint: Blueprint,
    shared: Arc<Shared>,
    state_dir: PathBuf,
    parent: Option<Arc<Instance>>,
    children: BTreeMap<String, Arc<Instance>>,
    descriptor: Mutex<Option<OwnedFd>>,
    state: Mutex<State>,
    condition: watch::Sender<Condition>,
    supervisor: TaskScope,
    guard: OnceLock<Guard>,
    /// What to call in place of its own methods that switch.
    reserved: OnceLock<String>,
    span: tracing::Span,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = &self.shared.path;
        f.debug_struct("Instance")
            .field("path", path)
            .finish_non_exhaustive()
    }
}

impl Instance {
    /// An instance that is not open yet.
    pub fn new(config: InstanceConfig) -> Arc<Self> {
        let InstanceConfig {
            exporter,
            path,
            uuid,
            state_dir,
            blueprint,
            ..
        } = config;
        // Logs of a driver reach clients by this span: see `telemetry` in the daemon.
        let driver_type = blueprint.category();
        let span = tracing::info_span!("instance", exporter, instance = path, driver_type);
        let device = Arc::new(DeviceThread::new(&path));
        Arc::new(Self {
            exporter,
            blueprint,
            shared: Arc::new(Shared {
                uuid,
                path,
                device,
                queue: Queue::new(),
            }),
            state_dir,
            parent: config.parent,
            children: config.children,
            descriptor: Mutex::new(config.descriptor),
            state: Mutex::default(),
            condition: watch::Sender::new(Condition::closed(Health::Absent(
                "not opened yet".into(),
            ))),
            supervisor: TaskScope::new(span.clone()),
            guard: OnceLock::new(),
            reserved: OnceLock::new(),
            span,
        })
    }

    /// Dotted path in the tree.
    pub fn path(&self) -> &str {
        &self.shared.path
    }

    /// Id for clients.
    pub fn uuid(&self) -> Uuid {
        self.shared.uuid
    }

    /// The configured driver.
    pub fn blueprint(&self) -> &Blueprint {
        &self.blueprint
    }

    /// Whether it can be used now.
    pub fn health(&self) -> Health {
        self.condition.borrow().health.clone()
    }

    /// The exclusive call under way and for how long it is.
    pub fn busy(&self) -> Option<(String, Duration)> {
        self.shared.queue.holder()
    }

    fn as_any(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(self.state.lock().ok()?.driver.as_ref()?.as_any())
    }

    /// What a person on the lab host sees of it, if it is a console whose driver is open.
    pub fn console(&self) -> Option<Arc<dyn ConsoleTap>> {
        self.state.lock().ok()?.driver.as_ref()?.console()
    }

    /// The open driver as its own type, for tests of drivers.
    pub fn downcast<D: crate::Driver>(&self) -> Option<Arc<D>> {
        self.as_any()?.downcast().ok()
    }

    fn driver(&self) -> Result<Arc<dyn Opened>, DriverError> {
        let path = &self.shared.path;
        match &self.condition.borrow().health {
            Health::Ready => {}
            Health::Absent(reason) => {
                return Err(DriverError::Unavailable(format!(
                    "{path} is absent: {reason}"
                )));
            }
            Health::Faulty(reason) => {
                return Err(DriverError::Unavailable(format!(
                    "{path} is faulty: {reason}"
                )));
            }
        }
        let state = self.state.lock().ok();
        let driver = state.and_then(|state| state.driver.clone());
        driver.ok_or_else(|| DriverError::Unavailable(format!("{path} is absent: being opened")))
    }

    fn find(&self, method: &str, kind: MethodKind) -> Result<Mode, DriverError> {
        match self.blueprint.0.find(method) {
            None => Err(match self.blueprint.0.others_unimplemented() {
                Some(text) => DriverError::Unimplemented(text.into()),
                None => DriverError::NoSuchMethod(method.into()),
            }),
            Some((found, mode)) if found == kind => Ok(mode),
            Some(_) => Err(DriverError::WrongKind {
                method: method.into(),
                marker: kind.marker(),
            }),
        }
    }

    /// Makes a call. When the future is dropped the call is cancelled where the hardware allows;
    /// blocking work that runs keeps the turn until it is done.
    pub async fn call(
        &self,
        key: &Key,
        resources: Option<Arc<dyn Resources>>,
        method: &str,
        args: Vec<Value>,
    ) -> Result<Value, DriverError> {
        let mode = self.find(method, MethodKind::Call)?;
        self.check_reserved(key, method)?;
        let arrival = Arrival::now();
        key.check()?;
        let cancel = CancellationToken::new();
        let gone = cancel.clone().drop_guard();
        let turn = match mode {
            Mode::Exclusive | Mode::Transfer => {
                let transfer = mode == Mode::Transfer;
                // cancel-safe: both arms only wait.
                Some(tokio::select! {
                    biased;
                    fenced = key.revoked() => return Err(fenced.into()),
                    turn = self.shared.queue.acquire(method, transfer, cancel.clone()) => turn?,
                })
            }
            Mode::Shared | Mode::Preempting => None,
        };
        key.check()?;
        let (key, permit) = self.permit(key, method, &cancel).await?;
        let driver = self.driver()?;
        let span = tracing::info_span!(parent: &self.span, "call", operation = method);
        let watch = Watch {
            transfer: mode == Mode::Transfer,
            span: span.clone(),
            done: false,
        };
        let shared = self.shared.clone();
        let call = Call::new(
            (method, arrival),
            key.clone(),
            resources,
            shared,
            (turn, permit),
            cancel,
        );
        // In the block, so that a panic before the first await is caught as well.
        let work = AssertUnwindSafe(async { driver.call(call, args).await }).catch_unwind();
        // The driver's future is dropped when its lease ends: async work stops at its next await,
        // blocking work sees the revoked key.
        let outcome = tokio::select! {
            biased;
            fenced = key.revoked() => Err(fenced.into()),
            outcome = work.instrument(span) => outcome.unwrap_or_else(|_| Err(panicked())),
        };
        watch.done(&outcome);
        drop(gone);
        outcome
    }

    /// Makes a streaming call. The stream ends with an error when the key is revoked; dropping it
    /// cancels the call. Under interlocks it starts with its first item, which is the refusal if
    /// there is one.
    pub fn streaming_call(
        &self,
        key: &Key,
        resources: Option<Arc<dyn Resources>>,
        method: &str,
        args: Vec<Value>,
    ) -> Result<impl Stream<Item = Result<Value, DriverError>> + Send + use<>, DriverError> {
        self.find(method, MethodKind::StreamingCall)?;
        self.check_reserved(key, method)?;
        key.check()?;
        let driver = self.driver()?;
        let cancel = CancellationToken::new();
        let gone = cancel.clone().drop_guard();
        let (shared, span, gate) = (self.shared.clone(), self.span.clone(), self.gate());
        let (key, method) = (key.clone(), method.to_owned());
        let begin = move |method: &str, key: Key, permit: Option<Arc<Permit>>, cancel| {
            let held = (None, permit.clone());
            let call = Call::new(
                (method, Arrival::now()),
                key.clone(),
                resources,
                shared,
                held,
                cancel,
            );
            let start = AssertUnwindSafe(|| span.in_scope(|| driver.streaming(call, args)));
            let items = std::panic::catch_unwind(start).unwrap_or_else(|_| Err(panicked()))?;
            Ok::<_, DriverError>(
                Live {
                    items,
                    key,
                    span,
                    _gone: gone,
                    _permit: permit,
                }
                .items(),
            )
        };
        if !gate.is_guarded() {
            return Ok(begin(&method, key, None, cancel)?.left_stream());
        }
        let begun = async move {
            let (key, permit) = gate.call(&key, &method, &cancel).await?;
            begin(&method, key, permit, cancel)
        };
        Ok(futures::stream::once(begun).try_flatten().right_stream())
    }

    /// Opens a byte stream. Both its directions end with an error when the key is revoked.
    pub async fn stream(&self, key: &Key, method: &str) -> Result<ByteStream, DriverError> {
        self.find(method, MethodKind::Stream)?;
        self.check_reserved(key, method)?;
        key.check()?;
        let cancel = CancellationToken::new();
        let gone = cancel.clone().drop_guard();
        let (key, permit) = self.permit(key, method, &cancel).await?;
        let driver = self.driver()?;
        let shared = self.shared.clone();
        let call = Call::new(
            (method, Arrival::now()),
            key.clone(),
            None,
            shared,
            (None, permit.clone()),
            cancel,
        );
        let work = AssertUnwindSafe(async { driver.stream(call).await }).catch_unwind();
        // cancel-safe: an opening that is dropped gives no stream.
        let stream = tokio::select! {
            biased;
            fenced = key.revoked() => return Err(fenced.into()),
            opened = work.instrument(self.span.clone()) => {
                opened.unwrap_or_else(|_| Err(panicked()))?
            }
        };
        Ok(fence(stream, (key, permit), gone, self.span.clone()))
    }
}
