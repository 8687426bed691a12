//! Random labs, and what may happen in them.

use std::time::{Duration, SystemTime};

use proptest::{collection::vec, prelude::*};
use uuid::Uuid;

use crate::{
    leases::{self, Limits, Request, Update, WantedTimes},
    model::{ExporterState, Lease, Rule, World},
    sample::{at, client, exporter, policy, rule},
};

pub(super) const CLIENTS: [&str; 3] = ["ci", "dev", "guest"];
pub(super) const RIGS: [&str; 4] = ["rig-0", "rig-1", "rig-2", "rig-3"];
pub(super) const SELECTORS: [&str; 9] = [
    "board=rpi4",
    "board=rpi5",
    "rack",
    "!rack",
    "board in (rpi4,rpi5)",
    "rack!=1",
    "board=none",
    "<none>",
    "board,rack notin (1,2)",
];

#[derive(Debug, Clone)]
pub(super) enum Event {
    Ask {
        client: usize,
        selector: usize,
        pinned: Option<usize>,
        disabled: bool,
        times: WantedTimes,
    },
    Update {
        lease: usize,
        client: usize,
        times: WantedTimes,
        to: Option<usize>,
    },
    Delete {
        lease: usize,
        client: usize,
    },
    ReleaseAsExporter {
        lease: usize,
        rig: usize,
    },
    ReleaseCurrent(usize),
    Register(usize),
    SignOff(usize),
    Opened(usize),
    Closed(usize),
    Report(usize, Option<ExporterState>),
    Tunnel(usize, bool),
    Enable(usize, bool),
    Hold(usize, bool),
    Create(usize, usize),
    Remove(usize),
    Forget(usize),
    Policy(usize, usize, Vec<(usize, i64, Option<u64>, bool)>),
    NoPolicy(usize),
    Clock(i64),
}

fn times() -> impl Strategy<Value = WantedTimes> {
    let duration = prop_oneof![8 => (1..5000_i64).prop_map(Some), 1 => any::<i64>().prop_map(Some), 2 => Just(None)];
    let moment = || prop_oneof![6 => Just(None), 3 => (0..9000_i64).prop_map(Some), 1 => any::<i64>().prop_map(Some)];
    (duration, moment(), moment()).prop_map(|(duration, begin, end)| {
        let stamp = |seconds: i64| prost_types::Timestamp {
            seconds: seconds.saturating_add(1_000_000),
            nanos: 0,
        };
        WantedTimes {
            duration: duration.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
            begin: begin.map(stamp),
            end: end.map(stamp),
        }
    })
}

fn states() -> impl Strategy<Value = Option<ExporterState>> {
    prop_oneof![
        4 => Just(Some(ExporterState::Available)),
        1 => Just(None),
        1 => Just(Some(ExporterState::LeaseReady)),
        1 => Just(Some(ExporterState::AfterLeaseHook)),
        1 => Just(Some(ExporterState::Offline)),
    ]
}

pub(super) fn events() -> impl Strategy<Value = Event> {
    let (rig, who, lease) = (|| 0..RIGS.len(), || 0..CLIENTS.len(), || 0..12_usize);
    let pinned = prop_oneof![3 => Just(None), 1 => rig().prop_map(Some)];
    let rules = vec(
        (
            who(),
            -2..3_i64,
            prop::option::of(1..5000_u64),
            any::<bool>(),
        ),
        0..3,
    );
    prop_oneof![
        8 => (who(), 0..SELECTORS.len(), pinned, any::<bool>(), times()).prop_map(
            |(client, selector, pinned, disabled, times)|
                Event::Ask { client, selector, pinned, disabled, times }),
        3 => (lease(), who(), times(), prop::option::of(who())).prop_map(
            |(lease, client, times, to)| Event::Update { lease, client, times, to }),
        3 => (lease(), who()).prop_map(|(lease, client)| Event::Delete { lease, client }),
        2 => (lease(), rig()).prop_map(|(lease, rig)| Event::ReleaseAsExporter { lease, rig }),
        2 => rig().prop_map(Event::ReleaseCurrent),
        1 => rig().prop_map(Event::Register),
        1 => rig().prop_map(Event::SignOff),
        2 => rig().prop_map(Event::Opened),
        1 => rig().prop_map(Event::Closed),
        4 => (rig(), states()).prop_map(|(rig, state)| Event::Report(rig, state)),
        2 => (rig(), any::<bool>()).prop_map(|(rig, open)| Event::Tunnel(rig, open)),
        2 => (rig(), any::<bool>()).prop_map(|(rig, yes)| Event::Enable(rig, yes)),
        1 => (rig(), any::<bool>()).prop_map(|(rig, yes)| Event::Hold(rig, yes)),
        1 => (rig(), 0..4_usize).prop_map(|(rig, labels)| Event::Create(rig, labels)),
        1 => rig().prop_map(Event::Remove),
        1 => who().prop_map(Event::Forget),
        1 => (0..2_usize, 0..SELECTORS.len(), rules).prop_map(|(policy, about, rules)| Event::Policy(policy, about, rules)),
        1 => (0..2_usize).prop_map(Event::NoPolicy),
        4 => (-3000..6000_i64).prop_map(Event::Clock),
    ]
}

/// A lab, its clock, and the names that leases got.
pub(super) struct Run {
    pub(super) world: World,
    pub(super) now: SystemTime,
    names: Vec<String>,
}

impl Run {
    pub(super) fn new() -> Self {
        let mut world = World::default();
        for name in CLIENTS {
            client(&mut world, name, &[("team", name)]);
        }
        let mut run = Self {
            world,
            now: at(5000),
            names: Vec::new(),
        };
        (0..RIGS.len()).for_each(|rig| run.create(rig, rig));
        run
    }

    fn create(&mut self, rig: usize, kind: usize) {
        let pairs: &[(&str, &str)] = match kind {
            0 => &[("board", "rpi4"), ("rack", "1")],
            1 => &[("board", "rpi4"), ("rack", "2")],
            2 => &[("board", "rpi5")],
            _ => &[],
        };
        exporter(&mut self.world, RIGS[rig], pairs);
    }

    fn name(&self, lease: usize) -> String {
        self.names
            .get(lease)
            .cloned()
            .unwrap_or_else(|| "unknown".into())
    }

    fn keep(&mut self, name: &str, lease: Option<Lease>) {
        if let Some(lease) = lease {
            self.world.last_number = self.world.last_number.max(lease.number);
            self.world.leases.insert(name.to_owned(), lease);
        }
    }

    fn rig(&mut self, rig: usize, change: impl FnOnce(&mut crate::model::Exporter, SystemTime)) {
        let now = self.now;
        if let Some(exporter) = self.world.exporters.get_mut(RIGS[rig]) {
            change(exporter, now);
        }
    }

    pub(super) fn happen(&mut self, event: Event) {
        let (limits, now) = (
            Limits {
                open_per_client: 6,
                ..Limits::default()
            },
            self.now,
        );
        match event {
            Event::Ask {
                client,
                selector,
                pinned,
                disabled,
                times,
            } => {
                let request = Request {
                    selector: SELECTORS[selector].into(),
                    exporter: pinned.map(|rig| RIGS[rig].into()),
                    allow_disabled: disabled,
                    times,
                    ..Request::default()
                };
                let fresh = Uuid::from_u128(u128::from(self.world.last_number) + 1);
                let made =
                    leases::create(&self.world, &limits, CLIENTS[client], &request, fresh, now);
                if let Ok(made) = made {
                    self.names.push(made.name.clone());
                    self.keep(&made.name, Some(made.lease));
                }
            }
            Event::Update {
                lease,
                client,
                times,
                to,
            } => {
                let name = self.name(lease);
                let change = Update {
                    times,
                    client: to.map(|to| CLIENTS[to].into()),
                };
                let made = leases::update(&self.world, &limits, CLIENTS[client], &name, &change);
                self.keep(&name, made.ok());
            }
            Event::Delete { lease, client } => {
                let name = self.name(lease);
                let made = leases::delete(&self.world, CLIENTS[client], &name, &name, now);
                self.keep(&name, made.ok().flatten());
            }
            Event::ReleaseAsExporter { lease, rig } => {
                let name = self.name(lease);
                let made = leases::release_as_exporter(&self.world, RIGS[rig], &name, now);
                self.keep(&name, made.ok().flatten());
            }
            Event::ReleaseCurrent(rig) => {
                if let Some((name, lease)) = leases::release_current(&self.world, RIGS[rig], now) {
                    self.keep(&name, Some(lease));
                }
            }
            Event::Register(rig) => self.rig(rig, |exporter, now| {
                let devices = exporter.devices.clone();
                exporter.register(Default::default(), devices, now);
            }),
            Event::SignOff(rig) => self.rig(rig, |exporter, now| exporter.unregister("", now)),
            Event::Opened(rig) => self.rig(rig, |exporter, now| exporter.presence.opened(now)),
            Event::Closed(rig) => self.rig(rig, |exporter, now| exporter.presence.closed(now)),
            Event::Report(rig, state) => self.rig(rig, |exporter, now| {
                exporter.presence.reported(state, String::new(), now);
            }),
            Event::Tunnel(rig, true) => self.rig(rig, |rig, now| rig.presence.tunnel_opened(now)),
            Event::Tunnel(rig, false) => self.rig(rig, |rig, now| rig.presence.tunnel_closed(now)),
            Event::Enable(rig, yes) => self.rig(rig, |exporter, _| exporter.enabled = yes),
            Event::Hold(rig, yes) => self.rig(rig, |exporter, _| {
                exporter.held = yes.then(|| "because ".repeat(20));
            }),
            Event::Create(rig, kind) => self.create(rig, kind),
            Event::Remove(rig) => drop(self.world.exporters.remove(RIGS[rig])),
            Event::Forget(who) => match self.world.clients.remove(CLIENTS[who]) {
                Some(_) => {}
                None => client(&mut self.world, CLIENTS[who], &[("team", CLIENTS[who])]),
            },
            Event::Policy(name, about, rules) => {
                let rules = rules.into_iter().map(|(who, priority, limit, spot)| Rule {
                    maximum_duration: limit.map(Duration::from_secs),
                    spot,
                    ..rule(&format!("team={}", CLIENTS[who]), priority)
                });
                let rules = rules.collect();
                policy(
                    &mut self.world,
                    &format!("policy-{name}"),
                    SELECTORS[about],
                    rules,
                );
            }
            Event::NoPolicy(name) => drop(self.world.policies.remove(&format!("policy-{name}"))),
            Event::Clock(by) => {
                let distance = Duration::from_secs(by.unsigned_abs());
                self.now = if by < 0 {
                    now - distance
                } else {
                    now + distance
                };
            }
        }
    }
}
