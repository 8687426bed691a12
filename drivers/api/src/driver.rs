//! The trait a driver implements, and its erased form.
//!
//! ```text
//!   config ──check──> Blueprint ──open(OpenCx)──> driver ──lease_start / lease_end──> … ──close
//!                         └────────── tried again with back-off while absent ─────────┘
//! ```

use std::{
    any::Any,
    collections::BTreeMap,
    future::Future,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use futures::{FutureExt, future::BoxFuture, stream::BoxStream};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    ByteStream, Call, ConfigError, DriverError, Health, Instance, Interface, MethodKind, Mode,
    OpenError, TaskScope, device_thread::DeviceThread, interface::Method,
};

/// One kind of instrument.
///
/// The implementing type is the open device; it lives from a successful [`open`](Self::open) until
/// the daemon stops or the device is lost, over many leases.
pub trait Driver: Send + Sync + Sized + 'static {
    /// Short name for `type:`, e.g. `power.gpio`.
    const TYPE: &'static str;
    /// Class path of the client that drives it, the label `jumpstarter.dev/client`.
    const CLIENT: &'static str;
    /// Category in logs and telemetry, e.g. `power`.
    const CATEGORY: &'static str = "other";

    /// What `config:` holds. Derive with `deny_unknown_fields`; the doc comments of its fields
    /// become the driver's page and JSON schema.
    type Config: DeserializeOwned + JsonSchema + Send + Sync + 'static;

    /// The exported methods. Called once for each instance.
    fn interface() -> Interface<Self>;

    /// Checks what types cannot say, without touching hardware. Called before `open`, also by
    /// `rigd check`.
    fn check(config: &Self::Config) -> Result<(), ConfigError> {
        let _ = config;
        Ok(())
    }

    /// Labels for the report beside those of the configuration.
    fn labels(config: &Self::Config) -> Vec<(String, String)> {
        let _ = config;
        Vec::new()
    }

    /// Instances that this driver brings along, in report order. They are opened after it and
    /// reach it through [`OpenCx::parent`].
    fn children(config: &Self::Config) -> Vec<Child> {
        let _ = config;
        Vec::new()
    }

    /// Opens the hardware. Called at start and again with back-off after a failure or a loss; the
    /// future is dropped when it takes too long, so blocking work belongs into
    /// [`OpenCx::blocking`].
    fn open(
        config: &Self::Config,
        cx: &OpenCx,
    ) -> impl Future<Output = Result<Self, OpenError>> + Send;

    /// A lease begins; no client call is under way. Puts the device into the state that a client
    /// of upstream finds after construction and `reset`. Has 10 s; a failure is logged.
    fn lease_start(&self) -> impl Future<Output = Result<(), DriverError>> + Send {
        std::future::ready(Ok(()))
    }

    /// A lease ended; its keys are revoked. Forgets what the lease could see (open streams, file
    /// tables, settings, temporary files). May be called twice. Has 10 s; a failure is logged.
    fn lease_end(&self) -> impl Future<Output = Result<(), DriverError>> + Send {
        std::future::ready(Ok(()))
    }

    /// The daemon stops or the device was lost. Releases what drop cannot.
    fn close(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// An instance that a driver brings along.
#[derive(Debug, Clone)]
pub struct Child {
    /// Key in the tree.
    pub name: String,
    /// What it is.
    pub blueprint: Blueprint,
}

impl Child {
    /// A child `name` of driver `D`.
    pub fn new<D: Driver>(name: &str, config: D::Config) -> Self {
        Self {
            name: name.into(),
            blueprint: Blueprint::new::<D>(config),
        }
    }
}

/// Tells the instance that its device is gone; it is then closed and opened again with back-off.
///
/// A handle speaks for one opening: after the instance was opened anew, an old one is not heard.
#[derive(Debug, Clone)]
pub struct HealthHandle {
    health: watch::Sender<Health>,
    phase: Arc<Mutex<Phase>>,
}

#[derive(Debug)]
enum Phase {
    /// `open` is under way; what is reported meanwhile decides in place of its success.
    Opening(Option<Health>),
    Open,
    Closed,
}

impl HealthHandle {
    pub(crate) fn new(health: watch::Sender<Health>) -> Self {
        Self {
            health,
            phase: Arc::new(Mutex::new(Phase::Opening(None))),
        }
    }

    /// The device went away.
    pub fn lost(&self, reason: impl Into<String>) {
        self.report(Health::Absent(reason.into()));
    }

    /// The device does not work as it should.
    pub fn faulty(&self, reason: impl Into<String>) {
        self.report(Health::Faulty(reason.into()));
    }

    fn report(&self, health: Health) {
        let Ok(mut phase) = self.phase.lock() else {
            return;
        };
        match &mut *phase {
            Phase::Opening(early) => *early = Some(health),
            Phase::Open => _ = self.health.send_replace(health),
            Phase::Closed => {}
        }
    }

    /// `open` succeeded; the instance is ready unless it was reported lost already.
    pub(crate) fn opened(&self) {
        let Ok(mut phase) = self.phase.lock() else {
            return;
        };
        let Phase::Opening(early) = std::mem::replace(&mut *phase, Phase::Open) else {
            return;
        };
        self.health.send_replace(early.unwrap_or(Health::Ready));
    }

    /// The driver of this opening is gone.
    pub(crate) fn closed(&self) {
        if let Ok(mut phase) = self.phase.lock() {
            *phase = Phase::Closed;
        }
    }
}

/// What a driver opens its hardware with.
#[derive(Debug)]
pub struct OpenCx {
    pub(crate) exporter: String,
    pub(crate) path: String,
    pub(crate) uuid: Uuid,
    pub(crate) state_dir: PathBuf,
    pub(crate) tasks: TaskScope,
    pub(crate) health: HealthHandle,
    pub(crate) device: Arc<DeviceThread>,
    pub(crate) parent: Option<Arc<dyn Any + Send + Sync>>,
    pub(crate) children: BTreeMap<String, Arc<Instance>>,
    pub(crate) descriptor: Mutex<Option<OwnedFd>>,
}

impl OpenCx {
    /// Name of the exporter.
    pub fn exporter(&self) -> &str {
        &self.exporter
    }

    /// Dotted path of the instance in the tree.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Id of the instance, stable over restarts.
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// A directory of this instance alone that survives restarts. It may not exist yet.
    pub fn state_dir(&self) -> &std::path::Path {
        &self.state_dir
    }

    /// Where to spawn background tasks.
    pub fn tasks(&self) -> &TaskScope {
        &self.tasks
    }

    /// Where to report that the device was lost.
    pub fn health(&self) -> &HealthHandle {
        &self.health
    }

    /// The open driver that brought this instance along.
    ///
    /// # Errors
    /// Absent while the parent is absent; faulty when it is of another type.
    pub fn parent<P: Driver>(&self) -> Result<Arc<P>, OpenError> {
        let parent = self.parent.clone();
        let parent = parent.ok_or_else(|| OpenError::Absent("its parent is absent".into()))?;
        parent.downcast().map_err(|_| {
            OpenError::Faulty(format!("works only as a part of a {} instance", P::TYPE))
        })
    }

    /// An instance of `children:` in the configuration.
    pub fn child(&self, name: &str) -> Option<&Arc<Instance>> {
        self.children.get(name)
    }

    /// A descriptor inherited from the process before this one, if there is one.
    pub fn take_descriptor(&self) -> Option<OwnedFd> {
        self.descriptor.lock().ok().and_then(|mut slot| slot.take())
    }

    /// Runs blocking work on the instance's own thread.
    pub async fn blocking<T, F>(&self, job: F) -> Result<T, OpenError>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, OpenError> + Send + 'static,
    {
        self.device.run_unkeyed(job).await
    }
}

/// A configured driver that is not open: type, config and method table.
#[derive(Clone)]
pub struct Blueprint(pub(crate) Arc<dyn Erased>);

impl std::fmt::Debug for Blueprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Blueprint")
            .field(&self.0.type_name())
            .finish()
    }
}

impl Blueprint {
    /// A blueprint of driver `D`.
    pub fn new<D: Driver>(config: D::Config) -> Self {
        Self(Arc::new(Typed::<D> {
            config,
            interface: Arc::new(D::interface()),
            client: None,
        }))
    }

    /// The same with another client label, for drivers that stand in for many types.
    pub fn with_client<D: Driver>(config: D::Config, client: String) -> Self {
        let interface = Arc::new(D::interface());
        Self(Arc::new(Typed::<D> {
            config,
            interface,
            client: Some(client),
        }))
    }

    /// Checks the config without hardware.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.0.check()
    }

    /// Short name of the type.
    pub fn type_name(&self) -> &'static str {
        self.0.type_name()
    }

    /// Client class path for the report.
    pub fn client(&self) -> &str {
        self.0.client()
    }

    /// Category for logs.
    pub fn category(&self) -> &'static str {
        self.0.category()
    }

    /// Labels that the driver adds to the report.
    pub fn labels(&self) -> Vec<(String, String)> {
        self.0.labels()
    }

    /// Instances that the driver brings along.
    pub fn children(&self) -> Vec<Child> {
        self.0.children()
    }

    /// Exported methods, sorted by name.
    pub fn methods(&self) -> Vec<(&'static str, MethodKind)> {
        self.0.methods()
    }
}

pub(crate) trait Erased: Send + Sync {
    fn type_name(&self) -> &'static str;
    fn client(&self) -> &str;
    fn category(&self) -> &'static str;
    fn check(&self) -> Result<(), ConfigError>;
    fn labels(&self) -> Vec<(String, String)>;
    fn children(&self) -> Vec<Child>;
    fn methods(&self) -> Vec<(&'static str, MethodKind)>;
    fn find(&self, method: &str) -> Option<(MethodKind, Mode)>;
    fn others_unimplemented(&self) -> Option<&'static str>;
    fn open<'a>(&'a self, cx: &'a OpenCx) -> BoxFuture<'a, Result<Arc<dyn Opened>, OpenError>>;
}

/// An open driver without its type.
pub(crate) trait Opened: Send + Sync {
    fn call(&self, call: Call, args: Vec<Value>) -> BoxFuture<'static, Result<Value, DriverError>>;
    fn streaming(
        &self,
        call: Call,
        args: Vec<Value>,
    ) -> Result<BoxStream<'static, Result<Value, DriverError>>, DriverError>;
    fn stream(&self, call: Call) -> BoxFuture<'static, Result<ByteStream, DriverError>>;
    fn lease_start(&self) -> BoxFuture<'_, Result<(), DriverError>>;
    fn lease_end(&self) -> BoxFuture<'_, Result<(), DriverError>>;
    fn close(&self) -> BoxFuture<'_, ()>;
    fn as_any(&self) -> Arc<dyn Any + Send + Sync>;
}

struct Typed<D: Driver> {
    config: D::Config,
    interface: Arc<Interface<D>>,
    client: Option<String>,
}

impl<D: Driver> Erased for Typed<D> {
    fn type_name(&self) -> &'static str {
        D::TYPE
    }

    fn client(&self) -> &str {
        self.client.as_deref().unwrap_or(D::CLIENT)
    }

    fn category(&self) -> &'static str {
        D::CATEGORY
    }

    fn check(&self) -> Result<(), ConfigError> {
        D::check(&self.config)
    }

    fn labels(&self) -> Vec<(String, String)> {
        D::labels(&self.config)
    }

    fn children(&self) -> Vec<Child> {
        D::children(&self.config)
    }

    fn methods(&self) -> Vec<(&'static str, MethodKind)> {
        self.interface.methods().collect()
    }

    fn find(&self, method: &str) -> Option<(MethodKind, Mode)> {
        self.interface.get(method).map(|method| match method {
            Method::Call(mode, _) => (MethodKind::Call, *mode),
            Method::Streaming(_) => (MethodKind::StreamingCall, Mode::Shared),
            Method::Stream(_) => (MethodKind::Stream, Mode::Shared),
        })
    }

    fn others_unimplemented(&self) -> Option<&'static str> {
        self.interface.others()
    }

    fn open<'a>(&'a self, cx: &'a OpenCx) -> BoxFuture<'a, Result<Arc<dyn Opened>, OpenError>> {
        async move {
            let driver = Arc::new(D::open(&self.config, cx).await?);
            let interface = self.interface.clone();
            Ok(Arc::new(Bound { driver, interface }) as Arc<dyn Opened>)
        }
        .boxed()
    }
}

struct Bound<D: Driver> {
    driver: Arc<D>,
    interface: Arc<Interface<D>>,
}

impl<D: Driver> Bound<D> {
    /// The instance has looked the method up already; this only narrows the type.
    fn wrong_kind(call: &Call, kind: MethodKind) -> DriverError {
        DriverError::WrongKind {
            method: call.method().into(),
            marker: kind.marker(),
        }
    }
}

impl<D: Driver> Opened for Bound<D> {
    fn call(&self, call: Call, args: Vec<Value>) -> BoxFuture<'static, Result<Value, DriverError>> {
        match self.interface.get(call.method()) {
            Some(Method::Call(_, run)) => run(self.driver.clone(), call, args),
            _ => std::future::ready(Err(Self::wrong_kind(&call, MethodKind::Call))).boxed(),
        }
    }

    fn streaming(
        &self,
        call: Call,
        args: Vec<Value>,
    ) -> Result<BoxStream<'static, Result<Value, DriverError>>, DriverError> {
        match self.interface.get(call.method()) {
            Some(Method::Streaming(run)) => run(self.driver.clone(), call, args),
            _ => Err(Self::wrong_kind(&call, MethodKind::StreamingCall)),
        }
    }

    fn stream(&self, call: Call) -> BoxFuture<'static, Result<ByteStream, DriverError>> {
        match self.interface.get(call.method()) {
            Some(Method::Stream(open)) => open(self.driver.clone(), call),
            _ => std::future::ready(Err(Self::wrong_kind(&call, MethodKind::Stream))).boxed(),
        }
    }

    fn lease_start(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        self.driver.lease_start().boxed()
    }

    fn lease_end(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        self.driver.lease_end().boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.driver.close().boxed()
    }

    fn as_any(&self) -> Arc<dyn Any + Send + Sync> {
        self.driver.clone()
    }
}
