//! Opening, losing, leasing and closing: what happens to the driver of an instance between calls.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use futures::FutureExt;
use tokio::time::timeout;
use tracing::Instrument;

use super::{Health, Instance};
use crate::{
    DriverError, HealthHandle, OpenCx, OpenError, TaskScope,
    blueprint::Opened,
    device_thread::panicked,
    open_cx::Condition,
    wake::{Pace, Wakes},
};

/// How long one attempt to open hardware may take before the instance counts as faulty.
const OPEN_LIMIT: Duration = Duration::from_secs(10);
/// How long a driver has for its part of a lease's start or end, and to close.
const LEASE_STEP_LIMIT: Duration = Duration::from_secs(10);
/// How long a driver has when clients begin and end: the owner of the lease waits for it.
const CLIENTS_STEP_LIMIT: Duration = Duration::from_secs(1);
/// Shortest and longest wait between two attempts to open absent hardware.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How an attempt to open ended.
struct Attempt {
    ready: bool,
    /// What makes the next one worthwhile.
    wakes: Wakes,
}

impl OpenCx {
    fn into_attempt(self, ready: bool) -> Attempt {
        let wakes = self.wakes;
        Attempt { ready, wakes }
    }
}

impl Instance {
    /// Opens the driver once, and from then on again with back-off whenever it is not open, and
    /// earlier when something happens that the driver waits for. Returns after the first attempt,
    /// at most 10 s later.
    pub async fn start(self: &Arc<Self>) {
        let mut condition = self.condition.subscribe();
        let mut attempt = self.try_open().await;
        let me: Weak<Self> = Arc::downgrade(self);
        self.supervisor.spawn(async move {
            let (mut wait, mut pace) = (RETRY.0, Pace::default());
            loop {
                // The instance's own task ends with the instance, so the sender is there.
                let lost = condition.wait_for(|c| !c.open).await.is_ok();
                if !lost {
                    return;
                }
                let woken = timeout(wait, pace.woken(&attempt.wakes)).await.is_ok();
                let Some(me) = me.upgrade() else { return };
                attempt = me.try_open().await;
                wait = match (attempt.ready, woken) {
                    (true, _) => RETRY.0,
                    (false, true) => wait,
                    (false, false) => (wait * 2).min(RETRY.1),
                };
            }
        });
    }

    /// One attempt.
    async fn try_open(self: &Arc<Self>) -> Attempt {
        self.close_driver().await;
        let tasks = TaskScope::new(self.span.clone());
        let health = HealthHandle::new(self.condition.clone());
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
            wakes: Wakes::default(),
            gate: self.gate(),
        };
        for other in self.parent.iter().chain(self.children.values()) {
            cx.wakes.add_return(other.condition.subscribe());
        }
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
                let (leased, served) = match self.state.lock() {
                    Ok(mut state) => {
                        state.driver = Some(driver.clone());
                        state.tasks = Some(tasks);
                        state.health = Some(health.clone());
                        (state.leased, state.served)
                    }
                    Err(_) => return cx.into_attempt(false),
                };
                if leased {
                    self.lease_step("lease start", driver.lease_start()).await;
                }
                if served {
                    self.clients_step("start of clients", driver.clients_start())
                        .await;
                }
                if health.opened() {
                    self.span.in_scope(|| tracing::debug!("Instance is ready."));
                }
                return cx.into_attempt(true);
            }
            Err(OpenError::Absent(reason)) => Health::Absent(reason),
            Err(OpenError::Faulty(reason)) => Health::Faulty(reason),
        };
        tasks.close().await;
        if let (Some(unused), Ok(mut slot)) = (cx.take_descriptor(), self.descriptor.lock()) {
            *slot = Some(unused);
        }
        if before != failed {
            self.span.in_scope(|| failed.tell());
        }
        self.condition.send_replace(Condition::closed(failed));
        cx.into_attempt(false)
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

    /// Clients of the lease may act from now on.
    pub async fn clients_start(&self) {
        if let Some(driver) = self.set_served(true) {
            self.clients_step("start of clients", driver.clients_start())
                .await;
        }
    }

    /// The key of the lease's clients is revoked. May come twice.
    pub async fn clients_end(&self) {
        if let Some(driver) = self.set_served(false) {
            self.clients_step("end of clients", driver.clients_end())
                .await;
        }
    }

    fn set_served(&self, served: bool) -> Option<Arc<dyn Opened>> {
        let mut state = self.state.lock().ok()?;
        state.served = served;
        state.driver.clone()
    }

    fn set_leased(&self, leased: bool) -> Option<Arc<dyn Opened>> {
        let mut state = self.state.lock().ok()?;
        state.leased = leased;
        state.served = false;
        state.driver.clone()
    }

    async fn lease_step(
        &self,
        step: &str,
        work: impl Future<Output = Result<(), DriverError>> + Send,
    ) {
        self.step(step, LEASE_STEP_LIMIT, work).await;
    }

    async fn clients_step(
        &self,
        step: &str,
        work: impl Future<Output = Result<(), DriverError>> + Send,
    ) {
        self.step(step, CLIENTS_STEP_LIMIT, work).await;
    }

    async fn step(
        &self,
        step: &str,
        limit: Duration,
        work: impl Future<Output = Result<(), DriverError>> + Send,
    ) {
        let work = AssertUnwindSafe(work).catch_unwind();
        let waiting = timeout(limit, work.instrument(self.span.clone()));
        let limit = limit.as_secs();
        let error = match waiting.await {
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
        let closed = Condition::closed(Health::Absent("closed".into()));
        self.condition.send_replace(closed);
    }
}
