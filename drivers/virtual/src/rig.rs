//! The running board: the machine with its card, its console, its timer and its clock.
//!
//! Events are applied at once, under one lock that is never held over a wait: when `off` returns,
//! the board is off. Effects that take time (reading the card) run on a thread of their own and
//! come back as events.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, Weak,
    atomic::{AtomicBool, Ordering},
};

use rigd_driver::DriverError;
use tokio::{sync::watch, time::Instant};

use crate::{
    card::Card,
    faults::FaultSwitch,
    machine::{Effect, Event, Machine, Medium, Mux, Supply},
    streams::Streams,
};

/// Typed bytes that are worked off at once before others get the board.
const INPUT_PIECE: usize = 1024;

#[derive(Debug)]
struct Core {
    machine: Machine,
    /// Set to give the read of the card up that is under way.
    reading: Option<Arc<AtomicBool>>,
}

/// The board, shared by its instruments.
#[derive(Debug)]
pub(crate) struct Rig {
    me: Weak<Self>,
    core: Mutex<Core>,
    timer: watch::Sender<Option<Instant>>,
    pub(crate) card: Card,
    pub(crate) console: Arc<Streams>,
    pub(crate) faults: Arc<FaultSwitch>,
}

impl Rig {
    pub(crate) fn new(machine: Machine, card: Card, faults: Arc<FaultSwitch>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            core: Mutex::new(Core {
                machine,
                reading: None,
            }),
            timer: watch::Sender::new(None),
            card,
            console: Streams::new(),
            faults,
        })
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One event and its effects. Does not block.
    pub(crate) fn apply(&self, event: Event) {
        self.run(&mut self.core(), event);
    }

    /// Moves the card.
    pub(crate) fn switch(&self, mux: Mux) {
        self.apply(Event::Mux(mux));
    }

    /// Whether the board has power.
    pub(crate) fn powered(&self) -> bool {
        self.core().machine.powered()
    }

    /// Who has the card.
    pub(crate) fn mux(&self) -> Mux {
        self.core().machine.mux()
    }

    /// What the power meter shows.
    pub(crate) fn supply(&self) -> Supply {
        self.core().machine.supply()
    }

    /// Types bytes into the console; lets others have the board in between.
    pub(crate) async fn type_in(&self, bytes: &[u8]) {
        for piece in bytes.chunks(INPUT_PIECE) {
            self.apply(Event::Input(piece.to_vec()));
            tokio::task::yield_now().await;
        }
    }

    fn run(&self, core: &mut Core, event: Event) {
        let mut failed = None;
        for effect in core.machine.step(event) {
            match effect {
                Effect::Print(bytes) => self.console.print(&bytes),
                Effect::ReadCard(read) => match self.read_card(read) {
                    Ok(stop) => core.reading = Some(stop),
                    Err(error) => {
                        tracing::error!(%error, "The board cannot read its card: no thread.");
                        failed = Some(Event::CardRead(read, Medium::Error { offset: 0 }));
                    }
                },
                Effect::StopReading => {
                    if let Some(stop) = core.reading.take() {
                        stop.store(true, Ordering::Release);
                    }
                }
                Effect::Arm(after) => {
                    self.timer.send_replace(Some(Instant::now() + after));
                }
                Effect::Disarm => {
                    self.timer.send_replace(None);
                }
            }
        }
        if let Some(failed) = failed {
            // Once only: a failed read asks for no other.
            self.run(core, failed);
        }
    }

    /// Reads the card beside everything else; the result is an event.
    fn read_card(&self, read: u64) -> std::io::Result<Arc<AtomicBool>> {
        let stop = Arc::new(AtomicBool::new(false));
        let (me, stopped) = (self.me.clone(), stop.clone());
        let span = tracing::Span::current();
        let work = move || {
            let _entered = span.enter();
            let Some(rig) = me.upgrade() else { return };
            let wanted = || match stopped.load(Ordering::Acquire) {
                true => Err(DriverError::Cancelled("the board went off".into())),
                false => Ok(()),
            };
            if let Some(medium) = rig.card.examine(&wanted) {
                rig.apply(Event::CardRead(read, medium));
            }
        };
        let thread = std::thread::Builder::new().name("rigd:board".into());
        thread.spawn(work).map(|_| stop)
    }

    /// Runs the timer until the board is gone.
    pub(crate) fn clock(self: &Arc<Self>) -> impl Future<Output = ()> + Send + use<> {
        let me = Arc::downgrade(self);
        let mut timer = self.timer.subscribe();
        async move {
            loop {
                let due = *timer.borrow_and_update();
                let Some(due) = due else {
                    if timer.changed().await.is_err() {
                        return;
                    }
                    continue;
                };
                // cancel-safe: both arms only wait.
                tokio::select! {
                    changed = timer.changed() => if changed.is_err() { return },
                    () = tokio::time::sleep_until(due) => match me.upgrade() {
                        Some(rig) => rig.ring(due),
                        None => return,
                    },
                }
            }
        }
    }

    /// The timer rings, unless it was set anew or stopped meanwhile.
    fn ring(&self, due: Instant) {
        let mut core = self.core();
        if *self.timer.borrow() == Some(due) {
            self.timer.send_replace(None);
            self.run(&mut core, Event::Tick);
        }
    }

    /// A lease ended: streams end, nobody stays logged in, injected faults go. What was printed is
    /// out of reach, since a reader gets nothing from before its start.
    pub(crate) fn end_lease(&self) {
        self.console.end_all(None);
        self.apply(Event::Logout);
        self.faults.reset();
    }

    /// The daemon stops: everything that waits or works is let go.
    pub(crate) fn close(&self) {
        self.faults.close();
        self.apply(Event::PowerOff);
        self.console.end_all(None);
        self.card.release();
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(stop) = self.core().reading.take() {
            stop.store(true, Ordering::Release);
        }
    }
}
