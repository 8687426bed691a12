//! One node of the export tree: an instance of a driver.
//!
//! ```text
//!            ┌──────── back-off ────────┐
//!   start ─> opening ──ok──> ready ──lost──> absent / faulty
//!                 └──────── failed ─────────────^
//! ```
//!
//! Calls go through the queue of the instance and are checked against their key when their turn
//! comes. An instance that is not ready answers UNAVAILABLE with the reason; the others of the
//! tree do not notice.

use std::{
    any::Any,
    collections::BTreeMap,
    os::fd::OwnedFd,
    panic::AssertUnwindSafe,
    path::PathBuf,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use futures::{FutureExt, Stream, StreamExt, stream::BoxStream};
use serde_json::Value;
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    Blueprint, ByteStream, Call, DriverError, HealthHandle, Key, MethodKind, Mode, OpenCx,
    OpenError, Resources, TaskScope,
    device_thread::{DeviceThread, panicked},
    driver::Opened,
    fenced_stream::fence,
    queue::Queue,
};

/// How long one attempt to open hardware may take before the instance counts as faulty.
const OPEN_LIMIT: Duration = Duration::from_secs(10);
/// How long a driver has for its part of a lease's start or end, and to close.
const LEASE_STEP_LIMIT: Duration = Duration::from_secs(10);
/// Shortest and longest wait between two attempts to open absent hardware.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

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
    health: watch::Sender<Health>,
    supervisor: TaskScope,
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
            health: watch::Sender::new(Health::Absent("not opened yet".into())),
            supervisor: TaskScope::new(span.clone()),
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
        self.health.borrow().clone()
    }

    /// The exclusive call under way and for how long it is.
    pub fn busy(&self) -> Option<(String, Duration)> {
        self.shared.queue.holder()
    }

    /// Opens the hardware once, and from then on again with back-off whenever it is not ready.
    /// Returns after the first attempt, at most 10 s later.
    pub async fn start(self: &Arc<Self>) {
        let mut health = self.health.subscribe();
        self.try_open().await;
        let me: Weak<Self> = Arc::downgrade(self);
        self.supervisor.spawn(async move {
            let mut wait = RETRY.0;
            loop {
                // The instance's own task ends with the instance, so the sender is there.
                let lost = health.wait_for(|h| *h != Health::Ready).await.is_ok();
                if !lost {
                    return;
                }
                tokio::time::sleep(wait).await;
                let Some(me) = me.upgrade() else { return };
                wait = if me.try_open().await {
                    RETRY.0
                } else {
                    (wait * 2).min(RETRY.1)
                };
            }
        });
    }

    /// One attempt; tells whether the instance is ready afterwards.
    async fn try_open(self: &Arc<Self>) -> bool {
        self.close_driver().await;
        let tasks = TaskScope::new(self.span.clone());
        let health = HealthHandle::new(self.health.clone());
        let cx = OpenCx {
            exporter: self.exporter.clone(),
            path: self.shared.path.clone(),
            uuid: self.shared.uuid,
            state_dir: self.state_dir.clone(),
            tasks: tasks.clone(),
            health: health.clone(),
            device: self.shared.device.clone(),
            parent: self.parent.as_ref().and_then(|p| p.as_any()),
            children: self.children.clone(),
            descriptor: Mutex::new(self.descriptor.lock().ok().and_then(|mut fd| fd.take())),
        };
        let before = self.health();
        let opening = AssertUnwindSafe(self.blueprint.0.open(&cx)).catch_unwind();
        let opened = match timeout(OPEN_LIMIT, opening.instrument(self.span.clone())).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(_)) => Err(OpenError::Faulty(panicked().to_string())),
            Err(_) => {
                let limit = OPEN_LIMIT.as_secs();
                Err(OpenError::Faulty(format!("did not open within {limit} s")))
            }
        };
        let failed = match opened {
            Ok(driver) => {
                let leased = match self.state.lock() {
                    Ok(mut state) => {
                        state.driver = Some(driver.clone());
                        state.tasks = Some(tasks);
                        state.health = Some(health.clone());
                        state.leased
                    }
                    Err(_) => return false,
                };
                if leased {
                    self.lease_step("lease start", driver.lease_start()).await;
                }
                health.opened();
                self.span.in_scope(|| tracing::debug!("Instance is ready."));
                return true;
            }
            Err(OpenError::Absent(reason)) => Health::Absent(reason),
            Err(OpenError::Faulty(reason)) => Health::Faulty(reason),
        };
        tasks.close().await;
        if let (Some(unused), Ok(mut slot)) = (cx.take_descriptor(), self.descriptor.lock()) {
            *slot = Some(unused);
        }
        if before != failed {
            self.span.in_scope(|| match &failed {
                Health::Absent(reason) => tracing::warn!(reason, "Instance is absent."),
                Health::Faulty(reason) => tracing::warn!(reason, "Instance is faulty."),
                Health::Ready => {}
            });
        }
        self.health.send_replace(failed);
        false
    }

    fn as_any(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(self.state.lock().ok()?.driver.as_ref()?.as_any())
    }

    /// The open driver as its own type, for tests of drivers.
    pub fn downcast<D: crate::Driver>(&self) -> Option<Arc<D>> {
        self.as_any()?.downcast().ok()
    }

    fn driver(&self) -> Result<Arc<dyn Opened>, DriverError> {
        let path = &self.shared.path;
        match &*self.health.borrow() {
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
        let driver = self.driver()?;
        let span = tracing::info_span!(parent: &self.span, "call", operation = method);
        let watch = Watch {
            transfer: mode == Mode::Transfer,
            span: span.clone(),
            done: false,
        };
        let shared = self.shared.clone();
        let call = Call::new(method, key.clone(), resources, shared, turn, cancel);
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
    /// cancels the call.
    pub fn streaming_call(
        &self,
        key: &Key,
        resources: Option<Arc<dyn Resources>>,
        method: &str,
        args: Vec<Value>,
    ) -> Result<impl Stream<Item = Result<Value, DriverError>> + Send + use<>, DriverError> {
        self.find(method, MethodKind::StreamingCall)?;
        key.check()?;
        let driver = self.driver()?;
        let cancel = CancellationToken::new();
        let gone = cancel.clone().drop_guard();
        let shared = self.shared.clone();
        let call = Call::new(method, key.clone(), resources, shared, None, cancel);
        let start = AssertUnwindSafe(|| self.span.in_scope(|| driver.streaming(call, args)));
        let items = std::panic::catch_unwind(start).unwrap_or_else(|_| Err(panicked()))?;
        let live = Live {
            items,
            key: key.clone(),
            span: self.span.clone(),
            _gone: gone,
        };
        Ok(futures::stream::unfold(Some(live), async |live| {
            live?.next().await
        }))
    }

    /// Opens a byte stream. Both its directions end with an error when the key is revoked.
    pub async fn stream(&self, key: &Key, method: &str) -> Result<ByteStream, DriverError> {
        self.find(method, MethodKind::Stream)?;
        key.check()?;
        let driver = self.driver()?;
        let cancel = CancellationToken::new();
        let gone = cancel.clone().drop_guard();
        let shared = self.shared.clone();
        let call = Call::new(method, key.clone(), None, shared, None, cancel);
        let work = AssertUnwindSafe(async { driver.stream(call).await }).catch_unwind();
        // cancel-safe: an opening that is dropped gives no stream.
        let stream = tokio::select! {
            biased;
            fenced = key.revoked() => return Err(fenced.into()),
            opened = work.instrument(self.span.clone()) => {
                opened.unwrap_or_else(|_| Err(panicked()))?
            }
        };
        Ok(fence(stream, key.clone(), gone, self.span.clone()))
    }

    /// A lease begins.
    pub async fn lease_start(&self) {
        let driver = self.set_leased(true);
        if let Some(driver) = driver {
            self.lease_step("lease start", driver.lease_start()).await;
        }
    }

    /// A lease ended; its keys are revoked.
    pub async fn lease_end(&self) {
        let driver = self.set_leased(false);
        if let Some(driver) = driver {
            self.lease_step("lease end", driver.lease_end()).await;
        }
    }

    fn set_leased(&self, leased: bool) -> Option<Arc<dyn Opened>> {
        let mut state = self.state.lock().ok()?;
        state.leased = leased;
        state.driver.clone()
    }

    async fn lease_step(
        &self,
        step: &str,
        work: impl Future<Output = Result<(), DriverError>> + Send,
    ) {
        let work = AssertUnwindSafe(work).catch_unwind();
        let limit = LEASE_STEP_LIMIT.as_secs();
        let error = match timeout(LEASE_STEP_LIMIT, work.instrument(self.span.clone())).await {
            Ok(Ok(Ok(()))) => return,
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(_)) => panicked().to_string(),
            Err(_) => format!("not done within {limit} s"),
        };
        self.span
            .in_scope(|| tracing::warn!(error, "Instance failed at {step}."));
    }

    async fn close_driver(&self) {
        let (driver, tasks) = match self.state.lock() {
            Ok(mut state) => {
                if let Some(health) = state.health.take() {
                    health.closed();
                }
                (state.driver.take(), state.tasks.take())
            }
            Err(_) => return,
        };
        if let Some(driver) = driver {
            let close = async {
                driver.close().await;
                Ok(())
            };
            self.lease_step("close", close).await;
        }
        if let Some(tasks) = tasks {
            tasks.close().await;
        }
    }

    /// Closes the hardware for good.
    pub async fn close(&self) {
        self.supervisor.close().await;
        self.close_driver().await;
        self.health.send_replace(Health::Absent("closed".into()));
    }
}

/// Tells in the log how a call ended that did not end well.
struct Watch {
    transfer: bool,
    span: tracing::Span,
    done: bool,
}

impl Watch {
    fn done(mut self, outcome: &Result<Value, DriverError>) {
        self.done = true;
        let Err(error) = outcome else { return };
        let _in = self.span.enter();
        match error {
            // A half-done transfer leaves a card that does not boot: somebody must act.
            _ if self.transfer => tracing::error!(%error, "Transfer failed."),
            // The client's own mistakes are its own business, and a lease ends every day.
            DriverError::InvalidArgument(_)
            | DriverError::Unimplemented(_)
            | DriverError::Busy { .. }
            | DriverError::FailedPrecondition(_)
            | DriverError::Fenced(_) => tracing::debug!(%error, "Call refused."),
            error => tracing::warn!(%error, "Call failed."),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let _in = self.span.enter();
        const GONE: &str = "The caller went away before the call was done.";
        if self.transfer {
            tracing::error!("{GONE}")
        } else {
            tracing::warn!("{GONE}")
        }
    }
}

/// A streaming call under way.
struct Live {
    items: BoxStream<'static, Result<Value, DriverError>>,
    key: Key,
    span: tracing::Span,
    // Dropped with the stream, which tells the driver that its caller is gone.
    _gone: DropGuard,
}

impl Live {
    /// One item, or the end when the key was revoked. An error is the last item.
    async fn next(mut self) -> Option<(Result<Value, DriverError>, Option<Self>)> {
        let next = AssertUnwindSafe(self.items.next()).catch_unwind();
        // cancel-safe: after `revoked` the stream is not polled again.
        let item = tokio::select! {
            biased;
            fenced = self.key.revoked() => return Some((Err(fenced.into()), None)),
            item = next.instrument(self.span.clone()) => item,
        };
        match item {
            Ok(Some(Ok(value))) => Some((Ok(value), Some(self))),
            Ok(Some(Err(error))) => Some((Err(error), None)),
            Ok(None) => None,
            Err(_) => Some((Err(panicked()), None)),
        }
    }
}
