//! Interlocks: work that is refused while other instances are not in the right state.
//!
//! ```text
//!   call, turn in hand ──> ask the devices that decide ──> table: enter ──> Permit ──> driver works
//!                                                            │  ^ a release      └ dropped with the
//!                                                            v  │                  last clone of Call
//!                                                          refused / waits for what winds up
//! ```
//!
//! What holds, as long as only rigd switches the instances:
//!
//! - Work that a rule denies starts only when all states of its `unless` are known and right.
//! - While it runs, nothing that would leave such a state starts, whoever asks for it. Methods that
//!   never queue (`off`, `close`, `stop`) are the exception: they go ahead, and the work is stopped as
//!   if its key had been revoked.
//! - Nobody waits for work whose caller is there, so rules that refer to each other only refuse.
//!
//! The states are those that drivers tell ([`Driver::state`](crate::Driver::state)); a device that
//! can be asked is asked before each decision. This module never switches anything.

mod gate;
mod permit;
mod table;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use futures::future::join_all;
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{DriverError, Instance, Key, queue::MAX_WAIT};
use table::{Denied, Id, Known, Rule, Slot, Table, Verdict, View};

pub(crate) use gate::Guard;
pub use gate::{Gate, Passage};
pub(crate) use permit::Permit;
pub(crate) use table::Work;

/// How long devices may take to tell their state. A network PDU takes a second; one that takes longer
/// is not known to be in the right state.
const ASK_LIMIT: Duration = Duration::from_secs(5);

/// A rule over instances.
#[derive(Debug, Clone)]
pub struct Interlock {
    /// Its name, the first word of a refusal.
    pub name: String,
    /// Instances and the methods of theirs that are refused.
    pub deny: Vec<(Arc<Instance>, String)>,
    /// Unless these instances are all in these states.
    pub unless: Vec<(Arc<Instance>, String)>,
}

/// The rules of one exporter.
#[derive(Debug)]
pub(crate) struct Interlocks {
    // The instances hold the rules.
    instances: Vec<Weak<Instance>>,
    began: Instant,
    running: Mutex<Running>,
    /// Counts what was released.
    released: watch::Sender<u64>,
}

#[derive(Debug)]
struct Running {
    table: Table,
    holders: HashMap<Id, Holder>,
}

/// Who stands behind an entry.
#[derive(Debug)]
struct Holder {
    /// Cancelled when the caller is gone.
    caller: CancellationToken,
    key: Option<Key>,
}

impl Holder {
    fn gone(&self) -> bool {
        self.caller.is_cancelled() || self.key.as_ref().is_some_and(|key| key.check().is_err())
    }
}

impl Interlock {
    /// Puts instances under `rules`: all rules of an exporter at once, before its instances are
    /// started. An instance that is under rules already stays under those.
    ///
    /// A method or a state that an instance does not have is not found here: such a method is never
    /// called, and such a state never reached.
    pub fn install(rules: Vec<Self>) {
        if rules.is_empty() {
            return;
        }
        let mut instances: Vec<Arc<Instance>> = Vec::new();
        let mut slot = |wanted: &Arc<Instance>| {
            let found = instances.iter().position(|one| Arc::ptr_eq(one, wanted));
            found.unwrap_or_else(|| {
                instances.push(wanted.clone());
                instances.len() - 1
            })
        };
        let mut numbered = Vec::new();
        for rule in rules {
            let mut deny = Vec::new();
            for (instance, method) in &rule.deny {
                let slot = slot(instance);
                let blueprint = instance.blueprint();
                deny.push(Denied {
                    slot,
                    method: method.clone(),
                    switches_to: blueprint.switches_to(method),
                });
                let variants = blueprint.variants_of(method).into_iter();
                deny.extend(variants.map(|variant| Denied {
                    slot,
                    method: variant.to_owned(),
                    switches_to: None,
                }));
            }
            let unless = rule.unless.iter();
            let unless = unless.map(|(instance, state)| (slot(instance), state.clone()));
            numbered.push(Rule {
                name: rule.name,
                deny,
                unless: unless.collect(),
            });
        }
        let paths = instances.iter().map(|one| one.path().to_owned()).collect();
        let interlocks = Arc::new(Interlocks {
            instances: instances.iter().map(Arc::downgrade).collect(),
            began: Instant::now(),
            running: Mutex::new(Running {
                table: Table::new(paths, numbered),
                holders: HashMap::new(),
            }),
            released: watch::Sender::new(0),
        });
        for (slot, instance) in instances.iter().enumerate() {
            instance.put_under(Guard::new(interlocks.clone(), slot));
        }
    }
}

impl Interlocks {
    /// Lets `work` start, for as long as the permit lives. Waits only for what winds up, at most as
    /// long as a call waits for its turn. Cancel-safe: a dropped wait leaves nothing behind.
    async fn enter(
        self: &Arc<Self>,
        work: &Work,
        caller: &CancellationToken,
        key: Option<&Key>,
    ) -> Result<Permit, DriverError> {
        let unknown = self.ask(work).await;
        let deadline = Instant::now() + MAX_WAIT;
        let mut released = self.released.subscribe();
        loop {
            released.mark_unchanged();
            let text = match self.try_enter(work, &unknown, caller, key) {
                Ok(permit) => return Ok(permit),
                Err(Verdict::Later(text)) => text,
                Err(Verdict::Refused(text)) => return Err(DriverError::FailedPrecondition(text)),
                Err(Verdict::Entered { .. }) => return Err(crate::device_thread::panicked()),
            };
            if timeout_at(deadline, released.changed()).await.is_err() {
                return Err(DriverError::FailedPrecondition(text));
            }
        }
    }

    fn try_enter(
        self: &Arc<Self>,
        work: &Work,
        unknown: &HashMap<Slot, String>,
        caller: &CancellationToken,
        key: Option<&Key>,
    ) -> Result<Permit, Verdict> {
        let mut running = self.running();
        let Running { table, holders } = &mut *running;
        let known = |slot| self.known(slot, unknown);
        let gone = |id| holders.get(&id).is_none_or(Holder::gone);
        let view = View {
            known: &known,
            gone: &gone,
            now: self.began.elapsed(),
        };
        let (id, stopped) = match table.enter(work, &view) {
            Verdict::Entered { id, stopped } => (id, stopped),
            other => return Err(other),
        };
        for (id, text) in stopped {
            if let Some(key) = holders.get(&id).and_then(|holder| holder.key.as_ref()) {
                key.stop(text);
            }
        }
        let key = key.map(Key::narrowed);
        let holder = Holder {
            caller: caller.clone(),
            key: key.clone(),
        };
        holders.insert(id, holder);
        Ok(Permit::new(self.clone(), id, key))
    }

    fn known(&self, slot: Slot, unknown: &HashMap<Slot, String>) -> Known {
        if let Some(why) = unknown.get(&slot) {
            return Known::Unknown(Some(why.clone()));
        }
        let instance = self.instances.get(slot).and_then(Weak::upgrade);
        match instance.map(|instance| instance.state()) {
            Some(Ok(Some(state))) => Known::State(state),
            Some(Ok(None)) | None => Known::Unknown(None),
            Some(Err(error)) => Known::Unknown(Some(error.to_string())),
        }
    }

    /// Asks the devices whose state decides; those that do not tell are not known.
    async fn ask(&self, work: &Work) -> HashMap<Slot, String> {
        let deciding = self.running().table.deciding(work);
        let end = Instant::now() + ASK_LIMIT;
        let asked = deciding.into_iter().map(|slot| async move {
            let instance = self.instances.get(slot).and_then(Weak::upgrade)?;
            let why = match timeout_at(end, instance.ask_state()).await {
                Ok(Ok(())) => return None,
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {} s", ASK_LIMIT.as_secs()),
            };
            Some((slot, why))
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    fn release(&self, id: Id) {
        let mut running = self.running();
        running.table.release(id);
        running.holders.remove(&id);
        drop(running);
        self.released.send_modify(|count| *count += 1);
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
