//! A configured driver without its type, so that drivers of all kinds stand in one tree.
//!
//! ```text
//!   Blueprint (Erased: type, config, methods) ──open──> Opened (calls, streams, lease steps)
//! ```

use std::{any::Any, sync::Arc};

use futures::{FutureExt, future::BoxFuture, stream::BoxStream};
use serde_json::Value;

use crate::{
    ByteStream, Call, Child, ConfigError, ConsoleTap, Driver, DriverError, Interface, MethodKind,
    Mode, OpenCx, OpenError, interface::Method,
};

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

    /// Checks the config beside one of the same exporter that stands before it. Those of other
    /// drivers have nothing to do with each other.
    pub fn check_beside(&self, earlier: &Self) -> Result<(), ConfigError> {
        self.0.check_beside(earlier.0.config())
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

    /// States that an instance can be in; none when its driver knows of none.
    pub fn states(&self) -> Vec<&'static str> {
        self.0.states()
    }

    /// States that a method takes the instance through.
    pub(crate) fn enters(&self, method: &str) -> Vec<&'static str> {
        self.0.enters(method)
    }

    /// The state to which a method leads, when it does nothing else.
    pub(crate) fn switches_to(&self, method: &str) -> Option<&'static str> {
        self.0.switches_to(method)
    }

    /// Other ways to do what a method does.
    pub(crate) fn variants_of(&self, method: &str) -> Vec<&'static str> {
        self.0.variants_of(method)
    }

    /// Whether a method never queues.
    pub(crate) fn preempts(&self, method: &str) -> bool {
        self.0.preempts(method)
    }

    /// Whether a method that never queues leads to a state.
    pub(crate) fn reached_at_once(&self, state: &str) -> bool {
        self.0.reached_at_once(state)
    }
}

pub(crate) trait Erased: Send + Sync {
    fn type_name(&self) -> &'static str;
    fn client(&self) -> &str;
    fn category(&self) -> &'static str;
    fn config(&self) -> &dyn Any;
    fn check(&self) -> Result<(), ConfigError>;
    fn check_beside(&self, earlier: &dyn Any) -> Result<(), ConfigError>;
    fn labels(&self) -> Vec<(String, String)>;
    fn children(&self) -> Vec<Child>;
    fn methods(&self) -> Vec<(&'static str, MethodKind)>;
    fn states(&self) -> Vec<&'static str>;
    fn enters(&self, method: &str) -> Vec<&'static str>;
    fn switches_to(&self, method: &str) -> Option<&'static str>;
    fn variants_of(&self, method: &str) -> Vec<&'static str>;
    fn preempts(&self, method: &str) -> bool;
    fn reached_at_once(&self, state: &str) -> bool;
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
    fn state(&self) -> Option<&'static str>;
    fn ask_state(&self) -> BoxFuture<'_, Result<(), DriverError>>;
    fn lease_start(&self) -> BoxFuture<'_, Result<(), DriverError>>;
    fn lease_end(&self) -> BoxFuture<'_, Result<(), DriverError>>;
    fn clients_start(&self) -> BoxFuture<'_, Result<(), DriverError>>;
    fn clients_end(&self) -> BoxFuture<'_, Result<(), DriverError>>;
    fn console(&self) -> Option<Arc<dyn ConsoleTap>>;
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

    fn config(&self) -> &dyn Any {
        &self.config
    }

    fn check(&self) -> Result<(), ConfigError> {
        D::check(&self.config)
    }

    fn check_beside(&self, earlier: &dyn Any) -> Result<(), ConfigError> {
        let earlier = earlier.downcast_ref();
        earlier.map_or(Ok(()), |earlier| D::check_beside(&self.config, earlier))
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

    fn states(&self) -> Vec<&'static str> {
        self.interface.states()
    }

    fn enters(&self, method: &str) -> Vec<&'static str> {
        self.interface.enters(method)
    }

    fn variants_of(&self, method: &str) -> Vec<&'static str> {
        self.interface.variants_of(method).collect()
    }

    fn switches_to(&self, method: &str) -> Option<&'static str> {
        self.interface.switches_to(method)
    }

    fn preempts(&self, method: &str) -> bool {
        self.interface.preempts(method)
    }

    fn reached_at_once(&self, state: &str) -> bool {
        self.interface.reached_at_once(state)
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

    fn state(&self) -> Option<&'static str> {
        self.driver.state()
    }

    fn ask_state(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        self.driver.ask_state().boxed()
    }

    fn lease_start(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        self.driver.lease_start().boxed()
    }

    fn lease_end(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        self.driver.lease_end().boxed()
    }

    fn clients_start(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        self.driver.clients_start().boxed()
    }

    fn clients_end(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        self.driver.clients_end().boxed()
    }

    fn console(&self) -> Option<Arc<dyn ConsoleTap>> {
        self.driver.console()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.driver.close().boxed()
    }

    fn as_any(&self) -> Arc<dyn Any + Send + Sync> {
        self.driver.clone()
    }
}
