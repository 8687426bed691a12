//! Leases: made, given to the first free exporter, transferred, over.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tonic::Status;

use super::{
    heard::What,
    selector::Selector,
    state::{Exporter, Shared, State},
};

/// What one lease is about. Ended ones are kept.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    pub(super) name: String,
    /// Older leases have smaller ones.
    pub(super) number: u64,
    pub(super) client: String,
    pub(super) selector: Selector,
    /// The exporter that was asked for by name.
    pub(super) pinned: Option<String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) duration: Duration,
    pub(super) exporter: Option<String>,
    pub(super) created: SystemTime,
    pub(super) begun: Option<SystemTime>,
    pub(super) ended: Option<SystemTime>,
    pub(super) released: bool,
    /// Why it has no exporter yet, or never will: condition type, reason and message.
    pub(super) waits: Option<(&'static str, &'static str, String)>,
}

/// Why a lease ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Released,
    Expired,
}

/// What a lease is asked for with.
#[derive(Debug, Default)]
pub(super) struct Wish {
    pub(super) name: Option<String>,
    pub(super) selector: Selector,
    pub(super) pinned: Option<String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) duration: Duration,
}

impl State {
    /// A name that no lease had.
    pub(super) fn lease_name(&mut self) -> String {
        format!("lease-{}", self.number())
    }

    /// A lease without exporter.
    pub(super) fn make_lease(&mut self, client: &str, wish: Wish) -> String {
        let number = self.number();
        let name = wish.name.unwrap_or_else(|| self.lease_name());
        let lease = Lease {
            name: name.clone(),
            number,
            client: client.to_owned(),
            selector: wish.selector,
            pinned: wish.pinned,
            tags: wish.tags,
            duration: wish.duration,
            exporter: None,
            created: SystemTime::now(),
            begun: None,
            ended: None,
            released: false,
            waits: None,
        };
        self.clients.insert(client.to_owned());
        self.leases.insert(name.clone(), lease);
        name
    }

    /// Gives a lease to an exporter, whatever that does at the moment, without telling it.
    pub(super) fn give(&mut self, lease: &str, exporter: &str) {
        let Some(lease) = self.leases.get_mut(lease) else {
            return;
        };
        lease.begun = Some(SystemTime::now());
        lease.exporter = Some(exporter.to_owned());
        let exporter = self.exporters.entry(exporter.to_owned()).or_default();
        exporter.lease = Some(lease.name.clone());
    }

    /// Gives waiting leases, oldest first, what is free for them; returns those that began.
    pub(super) fn assign(&mut self) -> Vec<String> {
        let mut waiting: Vec<_> = self
            .leases
            .values()
            .filter(|it| it.ended.is_none() && it.exporter.is_none())
            .map(|it| (it.number, it.name.clone()))
            .collect();
        waiting.sort_unstable();
        let mut begun = Vec::new();
        for (_, name) in waiting {
            match self.choose(&name) {
                Ok(exporter) => {
                    self.give(&name, &exporter);
                    self.announce(&exporter);
                    begun.push(name);
                }
                Err(why) => {
                    let lease = self.leases.get_mut(&name).expect("it was in the list");
                    if why.0 != "Pending" {
                        lease.ended = Some(SystemTime::now());
                    }
                    lease.waits = Some(why);
                }
            }
        }
        begun
    }

    /// The first registered exporter that is free and fits, or why there is none.
    fn choose(&self, lease: &str) -> Result<String, (&'static str, &'static str, String)> {
        let lease = &self.leases[lease];
        let fits = |(name, exporter): &(&String, &Exporter)| {
            lease.pinned.as_ref().is_none_or(|pinned| pinned == *name)
                && lease.selector.matches(&exporter.labels)
        };
        let all: Vec<_> = self.exporters.iter().filter(fits).collect();
        let free = all.iter().filter(|(_, exporter)| exporter.assignable());
        if let Some((name, _)) = free.min_by_key(|(_, exporter)| exporter.order) {
            return Ok((*name).clone());
        }
        let online = |(_, exporter): &(&String, &Exporter)| exporter.online();
        let unleased =
            |(_, exporter): &(&String, &Exporter)| exporter.online() && exporter.lease.is_none();
        Err(match (&lease.pinned, all.is_empty()) {
            (Some(pinned), true) => (
                "Unsatisfiable",
                "ExporterNotFound",
                format!("Requested exporter {pinned} was not found"),
            ),
            (None, true) => ("Unsatisfiable", "NoAccess", "No exporter matches".into()),
            _ if !all.iter().any(online) => {
                ("Pending", "Offline", "No matching exporter online".into())
            }
            _ if !all.iter().any(unleased) => {
                ("Pending", "NotAvailable", "All exporters leased".into())
            }
            _ => ("Pending", "NotReady", "Exporter is cleaning up".into()),
        })
    }

    /// Ends a lease if it is not over yet, and tells its exporter.
    pub(super) fn end_lease(&mut self, name: &str, end: End) -> bool {
        let ended = self.end_silently(name, end);
        let exporter = self.leases.get(name).and_then(|it| it.exporter.clone());
        if let Some(exporter) = exporter.filter(|_| ended) {
            self.announce(&exporter);
        }
        ended
    }

    /// Ends a lease if it is not over yet; its exporter does not hear of it.
    pub(super) fn end_silently(&mut self, name: &str, end: End) -> bool {
        let Some(lease) = self.leases.get_mut(name) else {
            return false;
        };
        lease.released |= end == End::Released;
        if lease.ended.is_some() {
            return false;
        }
        lease.ended = Some(SystemTime::now());
        let exporter = lease.exporter.as_ref();
        if let Some(exporter) = exporter.and_then(|it| self.exporters.get_mut(it)) {
            exporter.lease.take_if(|held| held == name);
        }
        true
    }

    /// Gives a running lease to another client, and tells its exporter.
    pub(super) fn transfer(&mut self, name: &str, client: &str) -> Result<(), String> {
        if !self.clients.contains(client) {
            return Err("target client not found".to_owned());
        }
        let lease = self.leases.get_mut(name).ok_or("no such lease")?;
        if lease.begun.is_none() {
            return Err("cannot transfer lease: it has not started".to_owned());
        }
        if lease.ended.is_some() {
            return Err("cannot transfer lease: it has ended".to_owned());
        }
        client.clone_into(&mut lease.client);
        if let Some(exporter) = lease.exporter.clone() {
            self.announce(&exporter);
        }
        Ok(())
    }

    pub(super) fn lease(&self, name: &str) -> Result<&Lease, Status> {
        if name.is_empty() {
            return Err(Status::unknown("empty lease name"));
        }
        let missing = || format!("leases.jumpstarter.dev \"{name}\" not found");
        self.leases
            .get(name)
            .ok_or_else(|| Status::unknown(missing()))
    }
}

impl Lease {
    /// When it is over by itself.
    pub(super) fn expiry(&self) -> Option<SystemTime> {
        self.begun.map(|begun| begun + self.duration)
    }
}

/// Serves waiting leases, and watches the time of those that begin.
pub(super) fn assign(shared: &Arc<Shared>) {
    for name in shared.change(State::assign) {
        watch(shared, name);
    }
}

/// Ends a lease once its time is over; call it again when the time gets shorter.
pub(super) fn watch(shared: &Arc<Shared>, name: String) {
    let weak = Arc::downgrade(shared);
    shared.runtime.spawn(async move {
        loop {
            let Some(shared) = weak.upgrade() else { return };
            let expiry = match shared.look().leases.get(&name) {
                Some(lease) if lease.ended.is_none() => lease.expiry(),
                _ => return,
            };
            let Some(expiry) = expiry else { return };
            match expiry.duration_since(SystemTime::now()) {
                Ok(left) => {
                    drop(shared);
                    tokio::time::sleep(left.max(Duration::from_millis(1))).await;
                }
                Err(_) => {
                    shared.change(|state| {
                        if state.end_lease(&name, End::Expired) {
                            state.hear("", What::Expired { name: name.clone() });
                        }
                    });
                    assign(&shared);
                    return;
                }
            }
        }
    });
}
