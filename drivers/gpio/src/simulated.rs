//! Simulated chips for tests of the drivers: each test has a host of its own, by number.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use rigd_driver::async_trait;
use rustix::io::Errno;
use tokio::sync::watch;

use crate::line::{Chip, Chips, Direction, Edge, Level, Line, Request};

static HOSTS: Mutex<BTreeMap<u32, Vec<SimulatedChip>>> = Mutex::new(BTreeMap::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The chips of host number `HOST`.
pub(crate) struct Host<const HOST: u32>;

#[derive(Clone)]
struct SimulatedChip {
    chip: Chip,
    pins: Vec<Pin>,
    refuses: Option<ErrorKind>,
}

/// One line, from the outside.
#[derive(Clone)]
pub(crate) struct Pin(Arc<PinState>);

struct PinState {
    state: Mutex<State>,
    freed: Condvar,
    edges: watch::Sender<Vec<Edge>>,
    removed: watch::Sender<bool>,
}

struct State {
    level: Level,
    holder: Option<String>,
    requests: Vec<Request>,
    /// Levels that were set, without that of the request.
    sets: Vec<Level>,
    hangs: bool,
    interrupts: bool,
}

impl Pin {
    fn new() -> Self {
        Self(Arc::new(PinState {
            state: Mutex::new(State {
                level: Level::Inactive,
                holder: None,
                requests: Vec::new(),
                sets: Vec::new(),
                hangs: false,
                interrupts: true,
            }),
            freed: Condvar::new(),
            edges: watch::Sender::new(Vec::new()),
            removed: watch::Sender::new(false),
        }))
    }

    pub(crate) fn level(&self) -> Level {
        lock(&self.0.state).level
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        lock(&self.0.state).requests.clone()
    }

    pub(crate) fn sets(&self) -> Vec<Level> {
        lock(&self.0.state).sets.clone()
    }

    pub(crate) fn holder(&self) -> Option<String> {
        lock(&self.0.state).holder.clone()
    }

    /// Another program takes or frees it.
    pub(crate) fn hold(&self, holder: Option<&str>) {
        lock(&self.0.state).holder = holder.map(str::to_owned);
    }

    pub(crate) fn cannot_interrupt(&self) {
        lock(&self.0.state).interrupts = false;
    }

    /// Calls on the line return only after `hang(false)`.
    pub(crate) fn hang(&self, hangs: bool) {
        lock(&self.0.state).hangs = hangs;
        self.0.freed.notify_all();
    }

    /// An edge from outside, of the moment `at`.
    pub(crate) fn edge(&self, to: Level, at: u64) {
        lock(&self.0.state).level = to;
        self.0
            .edges
            .send_modify(|edges| edges.push(Edge { to, at }));
    }

    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = lock(&self.0.state);
        let state = self.0.freed.wait_while(state, |state| state.hangs);
        if *self.0.removed.borrow() {
            return Err(Errno::NODEV.into());
        }
        Ok(state.unwrap_or_else(PoisonError::into_inner))
    }
}

/// Plugs a chip in; its path is `/dev/NAME`.
pub(crate) fn plug(host: u32, name: &str, label: &str, lines: &[&str]) -> Vec<Pin> {
    let pins: Vec<_> = lines.iter().map(|_| Pin::new()).collect();
    let name_of = |line: &&str| (!line.is_empty()).then(|| (*line).to_owned());
    let chip = Chip {
        path: format!("/dev/{name}").into(),
        name: name.into(),
        label: label.into(),
        lines: lines.iter().map(name_of).collect(),
        device: None,
    };
    let mut hosts = lock(&HOSTS);
    hosts.entry(host).or_default().push(SimulatedChip {
        chip,
        pins: pins.clone(),
        refuses: None,
    });
    pins
}

/// A chip is behind a USB device.
pub(crate) fn behind(host: u32, name: &str, device: rigd_device::Found) {
    let mut hosts = lock(&HOSTS);
    let chips = hosts.entry(host).or_default().iter_mut();
    for chip in chips.filter(|chip| chip.chip.name == name) {
        chip.chip.device = Some(device.clone());
    }
}

/// Opening a chip fails.
pub(crate) fn refuse(host: u32, name: &str, kind: ErrorKind) {
    let mut hosts = lock(&HOSTS);
    for chip in hosts.entry(host).or_default() {
        if chip.chip.name == name {
            chip.refuses = Some(kind);
        }
    }
}

/// Pulls all chips of a host out.
pub(crate) fn unplug(host: u32) {
    let chips = lock(&HOSTS).remove(&host).unwrap_or_default();
    for pin in chips.iter().flat_map(|chip| &chip.pins) {
        pin.0.removed.send_replace(true);
    }
}

fn chip(host: u32, path: &Path) -> io::Result<SimulatedChip> {
    let hosts = lock(&HOSTS);
    let chips = hosts.get(&host).into_iter().flatten();
    let mut found = chips.filter(|chip| chip.chip.path == path);
    let found = found.next().ok_or(ErrorKind::NotFound)?;
    match found.refuses {
        Some(kind) => Err(kind.into()),
        None => Ok(found.clone()),
    }
}

impl<const HOST: u32> Chips for Host<HOST> {
    fn list() -> io::Result<Vec<PathBuf>> {
        let hosts = lock(&HOSTS);
        let chips = hosts.get(&HOST).into_iter().flatten();
        Ok(chips.map(|chip| chip.chip.path.clone()).collect())
    }

    fn describe(path: &Path) -> io::Result<Chip> {
        Ok(chip(HOST, path)?.chip)
    }

    fn holder(path: &Path, offset: u32) -> io::Result<Option<String>> {
        let chip = chip(HOST, path)?;
        Ok(chip.pins[offset as usize].holder())
    }

    fn take(request: &Request) -> io::Result<Arc<dyn Line>> {
        let chip = chip(HOST, &request.chip)?;
        let pin = chip.pins[request.offset as usize].clone();
        let mut state = lock(&pin.0.state);
        if state.holder.is_some() {
            return Err(Errno::BUSY.into());
        }
        state.holder = Some(request.consumer.clone());
        state.requests.push(request.clone());
        if let Direction::Output(level, _) = request.direction {
            state.level = level;
        }
        let edges = request.direction == Direction::Input && state.interrupts;
        drop(state);
        Ok(Arc::new(Taken { pin, edges }))
    }
}

struct Taken {
    pin: Pin,
    edges: bool,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.pin.hold(None);
    }
}

#[async_trait]
impl Line for Taken {
    fn set(&self, level: Level) -> io::Result<()> {
        let mut state = self.pin.state()?;
        state.sets.push(level);
        state.level = level;
        Ok(())
    }

    fn get(&self) -> io::Result<Level> {
        Ok(self.pin.state()?.level)
    }

    fn has_edges(&self) -> bool {
        self.edges
    }

    async fn edges(&self) -> io::Result<Vec<Edge>> {
        let mut edges = self.pin.0.edges.subscribe();
        // The sender is in the pin.
        edges.wait_for(|edges| !edges.is_empty()).await.ok();
        let mut taken = Vec::new();
        self.pin.0.edges.send_modify(|edges| taken.append(edges));
        Ok(taken)
    }

    async fn removed(&self) {
        let mut removed = self.pin.0.removed.subscribe();
        removed.wait_for(|removed| *removed).await.ok();
    }
}
