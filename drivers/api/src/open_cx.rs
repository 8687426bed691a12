//! What a driver is given to open its hardware with, and where it reports that it lost it.

use std::{
    any::Any,
    collections::BTreeMap,
    future::Future,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    Driver, Gate, Health, Instance, OpenError, TaskScope, device_thread::DeviceThread, wake::Wakes,
};

/// What an instance knows of its driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) health: Health,
    /// The driver is open and need not be opened again, whatever its health.
    pub(crate) open: bool,
}

impl Condition {
    /// The driver is open.
    pub(crate) fn open(health: Health) -> Self {
        Self { health, open: true }
    }

    /// There is no driver, or one that must be opened again.
    pub(crate) fn closed(health: Health) -> Self {
        Self {
            health,
            open: false,
        }
    }
}

/// Tells the instance that its device is gone; it is then closed and opened again with back-off.
/// A driver that outlives its device says [`away`](Self::away) and [`back`](Self::back) instead.
///
/// A handle speaks for one opening: after the instance was opened anew, an old one is not heard.
#[derive(Debug, Clone)]
pub struct HealthHandle {
    condition: watch::Sender<Condition>,
    phase: Arc<Mutex<Phase>>,
}

#[derive(Debug)]
enum Phase {
    /// `open` is under way; what is reported meanwhile decides in place of its success.
    Opening(Option<Condition>),
    Open,
    Closed,
}

impl HealthHandle {
    pub(crate) fn new(condition: watch::Sender<Condition>) -> Self {
        Self {
            condition,
            phase: Arc::new(Mutex::new(Phase::Opening(None))),
        }
    }

    /// The device went away.
    pub fn lost(&self, reason: impl Into<String>) {
        self.report(Condition::closed(Health::Absent(reason.into())));
    }

    /// The device does not work as it should.
    pub fn faulty(&self, reason: impl Into<String>) {
        self.report(Condition::closed(Health::Faulty(reason.into())));
    }

    /// The device cannot be used for this reason, and the driver stays open and looks for it by
    /// itself: its streams and tasks go on, and it hears of leases. New calls are refused until
    /// [`back`](Self::back). A change is told in the log.
    pub fn away(&self, why: OpenError) {
        let health = match why {
            OpenError::Absent(reason) => Health::Absent(reason),
            OpenError::Faulty(reason) => Health::Faulty(reason),
        };
        if self.condition.borrow().health != health {
            health.tell();
        }
        self.report(Condition::open(health));
    }

    /// The device that was [`away`](Self::away) can be used.
    pub fn back(&self) {
        self.report(Condition::open(Health::Ready));
    }

    fn report(&self, condition: Condition) {
        let Ok(mut phase) = self.phase.lock() else {
            return;
        };
        match &mut *phase {
            Phase::Opening(early) => *early = Some(condition),
            Phase::Open => _ = self.condition.send_replace(condition),
            Phase::Closed => {}
        }
    }

    /// `open` succeeded; the instance is ready unless it was reported otherwise already. Tells
    /// whether it is.
    pub(crate) fn opened(&self) -> bool {
        let Ok(mut phase) = self.phase.lock() else {
            return false;
        };
        let Phase::Opening(early) = std::mem::replace(&mut *phase, Phase::Open) else {
            return false;
        };
        let condition = early.unwrap_or(Condition::open(Health::Ready));
        let ready = condition.health == Health::Ready;
        self.condition.send_replace(condition);
        ready
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
    pub(crate) wakes: Wakes,
    pub(crate) gate: Gate,
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

    /// What to go through before switching outside of a call.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// A descriptor inherited from the process before this one, if there is one.
    pub fn take_descriptor(&self) -> Option<OwnedFd> {
        self.descriptor.lock().ok().and_then(|mut slot| slot.take())
    }

    /// Makes a new attempt worthwhile when `event` resolves, for instance because a device was
    /// plugged in: while the instance is not ready it is then opened at once, and not only when
    /// its back-off is over.
    ///
    /// Call it before looking for the device, with a listener that hears from then on, so that
    /// nothing falls between the two. What was given counts until the next attempt, which gives it
    /// anew; several events count each. Attempts are kept apart however often events come.
    pub fn wake_on(&self, event: impl Future<Output = ()> + Send + 'static) {
        self.wakes.add(event);
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
