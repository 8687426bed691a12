//! A lab for tests.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use crate::{
    leases::{self, Limits, Request, WantedTimes},
    model::{
        AccessPolicy, Client, Device, Exporter, ExporterState, Labels, Lease, Presence, Rule, World,
    },
    schedule::{self, Outcome, Settings},
};

/// Seconds after the first of all moments of a test.
pub(crate) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(key, value)| ((*key).into(), (*value).into()))
        .collect()
}

pub(crate) fn client(world: &mut World, name: &str, pairs: &[(&str, &str)]) {
    let client = Client {
        uid: Uuid::nil(),
        labels: labels(pairs),
        created: at(0),
        tokens_from: at(0),
    };
    world.clients.insert(name.into(), client);
}

/// One that is there and free.
pub(crate) fn exporter(world: &mut World, name: &str, pairs: &[(&str, &str)]) {
    let exporter = Exporter {
        uid: Uuid::nil(),
        labels: labels(pairs),
        created: at(0),
        tokens_from: at(0),
        enabled: true,
        held: None,
        hosted: false,
        devices: vec![Device {
            uuid: "d".into(),
            parent_uuid: None,
            labels: Labels::new(),
        }],
        presence: Presence {
            registered: true,
            streams: 1,
            status: Some(ExporterState::Available),
            last_seen: Some(at(0)),
            ..Presence::default()
        },
    };
    world.exporters.insert(name.into(), exporter);
}

pub(crate) fn policy(world: &mut World, name: &str, exporters: &str, rules: Vec<Rule>) {
    let policy = AccessPolicy {
        uid: Uuid::nil(),
        created: at(0),
        exporters: exporters.parse().unwrap(),
        rules,
    };
    world.policies.insert(name.into(), policy);
}

pub(crate) fn rule(from: &str, priority: i64) -> Rule {
    Rule {
        description: String::new(),
        priority,
        from: vec![from.parse().unwrap()],
        maximum_duration: None,
        spot: false,
    }
}

pub(crate) fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// [`at`], as requests have it.
pub(crate) fn stamp(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp {
        seconds: 1_000_000 + seconds,
        nanos: 0,
    })
}

/// An hour of what matches.
pub(crate) fn request(selector: &str) -> Request {
    let times = WantedTimes {
        duration: seconds(3600),
        ..WantedTimes::default()
    };
    Request {
        selector: selector.into(),
        times,
        ..Request::default()
    }
}

/// Asks for a lease of this name, and keeps it.
pub(crate) fn ask(world: &mut World, name: &str, client: &str, request: Request, now: SystemTime) {
    let request = Request {
        id: name.into(),
        ..request
    };
    let fresh = Uuid::from_u128(u128::from(world.last_number) + 1);
    let limits = Limits {
        open_per_client: usize::MAX,
        ..Limits::default()
    };
    let created = leases::create(world, &limits, client, &request, fresh, now).unwrap();
    keep(world, &created.name, created.lease);
}

pub(crate) fn keep(world: &mut World, name: &str, lease: Lease) {
    world.last_number = world.last_number.max(lease.number);
    world.leases.insert(name.into(), lease);
}

pub(crate) fn step(world: &mut World, now: SystemTime) -> Outcome {
    schedule::step(world, &Settings::default(), now)
}

/// What an active lease holds.
pub(crate) fn holds<'a>(world: &'a World, name: &str) -> Option<&'a str> {
    let lease = world.leases.get(name)?;
    let held = lease.held.as_ref().filter(|_| lease.over.is_none())?;
    Some(&held.exporter)
}

/// The last condition: its reason, whether it is true, and its message.
pub(crate) fn last(world: &World, name: &str) -> (String, bool, String) {
    let last = world.leases[name]
        .conditions
        .last()
        .expect("there is a condition");
    (last.reason.clone(), last.status, last.message.clone())
}
