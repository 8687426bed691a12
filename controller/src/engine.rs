//! The one owner of a lab: every change goes through here, in one order.
//!
//! ```text
//!   rpc ── change ──> [ rules ─> world ─> schedule::step ] ──┬─> store (queued in this order)
//!                         one lock, no waiting inside        ├─> exporters told who holds them
//!   answer <── on the disk ──────────────────────────────────┴─> streams of what ended are cut
//! ```
//!
//! The world in memory is ahead of the disk by what is being written; nobody gets an answer that
//! says "done" before it is there. Nothing changes without a place in the store's queue, and nothing
//! any more after a write that failed: what memory has then may not be on the disk, so that the lab
//! must end and begin anew from there. A timer takes the step that is due when nothing happens.

mod due;
mod gate;
mod holdings;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
};
use tonic::Status;

use crate::{
    auth::{Keys, Tokens},
    model::{Exporter, World},
    router::{Cut, Router, RouterLimits},
    schedule::{self, Settings, What},
    store::{self, Batch, Change, Retention, Store, StoreError},
};

pub use holdings::Holding;
pub(crate) use holdings::serving;

use gate::Gate;
use holdings::Holdings;

/// When a step is tried again for which the store's queue had no room: a disk that works writes a
/// part of it within this.
const AGAIN_IN: Duration = Duration::from_millis(200);

/// The owner of a lab. Clones are the same one.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    namespace: String,
    keys: Keys,
    tokens: Tokens,
    settings: Settings,
    store: Store,
    router: Router,
    state: Mutex<State>,
    /// The next step is due at another time than before.
    timer: Notify,
}

struct State {
    world: World,
    holdings: Holdings,
    /// Rises with every change, for whoever waits for one.
    version: watch::Sender<u64>,
    wake: Option<SystemTime>,
}

impl Engine {
    /// The lab `namespace` as `store` has kept it. Nothing is there yet: exporters register again.
    ///
    /// # Errors
    /// The state cannot be read, or its keys are no good.
    pub fn open(namespace: String, store: Store, settings: Settings) -> Result<Self, EngineError> {
        let loaded = store.load()?;
        let tokens = Tokens::new(&loaded.keys, crate::auth::DEFAULT_LIFETIME)?;
        let engine = Arc::new_cyclic(|engine: &Weak<Inner>| Inner {
            namespace,
            keys: loaded.keys,
            tokens,
            settings,
            store,
            router: Router::new(Arc::new(Gate(engine.clone())), RouterLimits::default()),
            state: Mutex::new(State {
                world: loaded.world,
                holdings: Holdings::default(),
                version: watch::Sender::new(0),
                wake: None,
            }),
            timer: Notify::new(),
        });
        Ok(Self(engine))
    }

    /// Name of the lab.
    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// Makes and checks tokens.
    pub fn tokens(&self) -> &Tokens {
        &self.0.tokens
    }

    /// Joins the streams of its leases.
    pub fn router(&self) -> &Router {
        &self.0.router
    }

    /// All of the state as it is now, its secrets included.
    pub fn dump(&self) -> store::Dump {
        store::Dump::new(self.read(World::clone), self.0.keys.clone())
    }

    /// Why no change is kept any more, if that is so.
    pub fn poisoned(&self) -> Option<StoreError> {
        self.0.store.poisoned()
    }

    /// Ends when no change is kept any more, with the reason: what is known here may not be on the
    /// disk then, and whoever serves it must end. Cancel-safe.
    pub fn failed(&self) -> impl Future<Output = StoreError> + Send + use<> {
        self.0.store.failed()
    }

    /// Looks at the lab as it is now. Must not take long: everybody waits.
    pub fn read<R>(&self, look: impl FnOnce(&World) -> R) -> R {
        look(&self.state().world)
    }

    /// Changes what is kept: `plan` says how, from the lab as it is. Ends when it is on the disk;
    /// dropping the future takes nothing back.
    ///
    /// # Errors
    /// What `plan` refuses, RESOURCE_EXHAUSTED when too much waits for the disk already, INTERNAL when
    /// nothing is kept any more or this cannot be: with nothing changed. INTERNAL also when it could
    /// not be written: [`Engine::failed`] ends then.
    pub async fn change<R>(
        &self,
        plan: impl FnOnce(&World, SystemTime) -> Result<(R, Vec<Change>), Status>,
    ) -> Result<R, Status> {
        let (result, commit) = {
            let mut state = self.state();
            let mut batch = self.0.store.begin().map_err(not_kept)?;
            let now = SystemTime::now();
            let (result, changes) = plan(&state.world, now)?;
            for change in &changes {
                batch.put(change).map_err(not_kept)?;
            }
            self.apply(&mut state, &changes, now);
            let follows = self.settle(&mut state, now);
            for change in &changes {
                if let Change::Exporter(name, None) = change {
                    state.holdings.forget(name);
                }
            }
            self.add(&mut batch, &follows);
            (result, batch.commit())
        };
        commit.await.map_err(not_kept)?;
        Ok(result)
    }

    /// Changes what is only true while an exporter is there, or its devices. Nothing happens without
    /// such an exporter. What follows for leases is kept in the background.
    pub fn presence<R>(
        &self,
        exporter: &str,
        change: impl FnOnce(&mut Exporter, SystemTime) -> R,
    ) -> Option<R> {
        let mut state = self.state();
        let now = SystemTime::now();
        let result = change(state.world.exporters.get_mut(exporter)?, now);
        self.step(&mut state, now);
        Some(result)
    }

    /// Notes something of an exporter from which nothing follows, such as that it is still there: as
    /// [`Engine::presence`], without a step.
    pub fn note<R>(
        &self,
        exporter: &str,
        note: impl FnOnce(&mut Exporter, SystemTime) -> R,
    ) -> Option<R> {
        let mut state = self.state();
        let exporter = state.world.exporters.get_mut(exporter)?;
        Some(note(exporter, SystemTime::now()))
    }

    /// Who holds an exporter, from now on. The first value is that of this moment; the sender is
    /// gone when the exporter is.
    pub fn holding(&self, exporter: &str) -> watch::Receiver<Holding> {
        let mut state = self.state();
        let State {
            world, holdings, ..
        } = &mut *state;
        holdings.follow(world, exporter)
    }

    /// Rises with every change of the lab.
    pub fn version(&self) -> watch::Receiver<u64> {
        self.state().version.subscribe()
    }

    /// How many follow [`Engine::version`].
    #[cfg(test)]
    pub(crate) fn followers(&self) -> usize {
        self.state().version.receiver_count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked under the lock was between two changes of the world, each whole.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was decided becomes so.
    fn apply(&self, state: &mut State, changes: &[Change], now: SystemTime) {
        for change in changes {
            let handed_on = handed_on(&state.world, change).map(str::to_owned);
            change.clone().apply(&mut state.world);
            let handed_on = handed_on.and_then(|name| state.world.exporters.get_mut(&name));
            if let Some(exporter) = handed_on {
                exporter.presence.used(now);
            }
        }
        self.cut_ended(changes);
    }

    /// A step whose changes nobody waits for; a later one when they could not be kept now.
    fn step(&self, state: &mut State, now: SystemTime) {
        match self.0.store.begin() {
            Ok(batch) => {
                let changes = self.settle(state, now);
                self.keep(batch, &changes);
            }
            Err(error) => {
                Self::postpone(state, &error, now);
                self.0.timer.notify_one();
            }
        }
    }

    /// There is no step now; false when there will be none at all.
    fn postpone(state: &mut State, error: &StoreError, now: SystemTime) -> bool {
        tracing::debug!(%error, "No leases begin or end for now.");
        // What led to the step has happened all the same.
        state.version.send_modify(|version| *version += 1);
        state.wake = now.checked_add(AGAIN_IN);
        matches!(error, StoreError::Overloaded)
    }

    /// Adds what has happened already.
    fn add(&self, batch: &mut Batch<'_>, changes: &[Change]) {
        for change in changes {
            if let Err(error) = batch.put(change) {
                // A clock before 1970 at the most; but the disk must not be left behind.
                tracing::error!(%error, "What became of a lease cannot be kept.");
                self.0.store.poison(&error);
            }
        }
    }

    /// Keeps changes for which nobody waits.
    fn keep(&self, mut batch: Batch<'_>, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        self.add(&mut batch, changes);
        let commit = batch.commit();
        // Streams that end with their runtime come here too; what is queued is written all the same.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            if let Err(error) = commit.await {
                tracing::error!(%error, "What became of leases cannot be kept.");
            }
        });
    }

    /// What follows from a change: leases begin and end, and who is concerned is told.
    fn settle(&self, state: &mut State, now: SystemTime) -> Vec<Change> {
        let outcome = schedule::step(&mut state.world, &self.0.settings, now);
        let mut changes = Vec::new();
        for change in outcome.changed {
            match change.what {
                What::Told => continue,
                What::Ended(_) => drop(self.0.router.cut(&change.lease, Cut::Ended)),
                What::Acquired | What::Begun => {}
            }
            let lease = state.world.leases.get(&change.lease).cloned();
            changes.push(Change::Lease(change.lease, lease));
        }
        let State {
            world, holdings, ..
        } = &mut *state;
        holdings.tell(world, |lease| self.cut_former(world, lease));
        state.version.send_modify(|version| *version += 1);
        if state.wake != outcome.wake || due::far_over(&state.world, Retention::default()) {
            state.wake = outcome.wake;
            self.0.timer.notify_one();
        }
        changes
    }

    /// Leases that somebody ended, or that are gone: their streams end. Those that end by themselves
    /// are the schedule's.
    fn cut_ended(&self, changes: &[Change]) {
        for change in changes {
            if let Change::Lease(name, lease) = change
                && lease.as_ref().is_none_or(|lease| lease.over.is_some())
            {
                self.0.router.cut(name, Cut::Ended);
            }
        }
    }

    /// The lease has another holder: the streams of the one before end.
    fn cut_former(&self, world: &World, lease: &str) {
        let held = world
            .leases
            .get(lease)
            .and_then(|lease| lease.held.as_ref());
        if let Some(held) = held {
            let epoch = held.epoch;
            self.0.router.cut(lease, Cut::Transferred { epoch });
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("namespace", &self.0.namespace)
            .finish_non_exhaustive()
    }
}

/// A lab cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Its state.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// Its keys.
    #[error(transparent)]
    Keys(#[from] crate::auth::KeyError),
}

/// The exporter of a lease that gets another holder, whose time without a tunnel begins now.
fn handed_on<'a>(world: &World, change: &'a Change) -> Option<&'a str> {
    let Change::Lease(name, Some(lease)) = change else {
        return None;
    };
    let (held, before) = (lease.held.as_ref()?, world.leases.get(name)?.held.as_ref()?);
    (held.epoch != before.epoch).then_some(held.exporter.as_str())
}

fn not_kept(error: StoreError) -> Status {
    if matches!(error, StoreError::Overloaded) {
        tracing::warn!("A change is refused: too many wait to be written to the disk.");
        return Status::resource_exhausted(
            "too many changes wait to be written to the controller's disk: try again later",
        );
    }
    tracing::error!(%error, "A change cannot be kept.");
    Status::internal("the controller cannot keep its state; its log has the reason")
}
