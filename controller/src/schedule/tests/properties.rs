//! What must hold whatever happens.

use std::{collections::BTreeSet, time::Duration};

use proptest::{collection::vec, prelude::*};

use super::events::{CLIENTS, Event, RIGS, Run, SELECTORS, events};
use crate::{
    leases::{self, conditions::MAX_MESSAGE},
    model::{ConditionKind, Lease, World},
    presence,
    sample::at,
    schedule::{self, Idle, Settings, ahead_of, policy as access, told},
};

/// The priority that a client has on an exporter for a lease, said in the plainest way.
fn priority(world: &World, lease: &Lease, rig: &str) -> Option<i64> {
    if world.policies.is_empty() {
        return Some(0);
    }
    let (client, exporter) = (world.clients.get(&lease.client)?, world.exporters.get(rig)?);
    let policies = world
        .policies
        .values()
        .filter(|one| one.exporters.matches(&exporter.labels));
    let rules = policies.flat_map(|policy| &policy.rules).filter(|rule| {
        !rule.spot
            && rule.from.iter().any(|from| from.matches(&client.labels))
            && rule
                .maximum_duration
                .is_none_or(|limit| lease.duration.is_some_and(|d| d <= limit))
    });
    rules.map(|rule| rule.priority).max()
}

/// Whether a lease could be served by an exporter, said in the plainest way.
fn fits(world: &World, lease: &Lease, rig: &str) -> bool {
    let exporter = &world.exporters[rig];
    let wanted = match &lease.pinned {
        Some(name) => name == rig && (exporter.enabled || lease.allow_disabled),
        None => exporter.enabled && !lease.selector.is_empty(),
    };
    wanted && lease.selector.matches(&exporter.labels) && priority(world, lease, rig).is_some()
}

fn free(world: &World, rig: &str) -> bool {
    let mut exporter = world.exporters[rig].clone();
    exporter.enabled = true;
    presence::assignable(&exporter) && leases::current(world, rig).is_none()
}

fn check(before: &World, run: &Run, outcome: &schedule::Outcome) -> Result<(), TestCaseError> {
    let (world, now) = (&run.world, run.now);
    let mut held = BTreeSet::new();
    for (name, lease) in &world.leases {
        let known = &before.leases[name];
        prop_assert!(known.over.is_none() || known == lease, "{} came back", name);
        let open = lease.over.is_none();
        prop_assert!(!open || world.clients.contains_key(&lease.client));
        if let Some(holder) = lease.held.as_ref().filter(|_| open) {
            prop_assert!(
                held.insert(&holder.exporter),
                "{} is held twice",
                holder.exporter
            );
            prop_assert!(leases::expiry(lease).is_some_and(|expiry| expiry > now));
            if known.held.is_none() {
                prop_assert!(fits(world, lease, &holder.exporter));
                prop_assert!(
                    free(before, &holder.exporter)
                        || leases::current(before, &holder.exporter).is_some()
                );
                prop_assert_eq!(
                    priority(world, lease, &holder.exporter),
                    Some(lease.priority)
                );
            }
        }
        let waits = open && lease.held.is_none() && lease.begin.is_none_or(|begin| begin <= now);
        for rig in world
            .exporters
            .keys()
            .filter(|rig| waits && fits(world, lease, rig))
        {
            prop_assert!(!free(world, rig), "{} could have {}", name, rig);
            // Nobody younger of at most the same priority got it in this step.
            let overtaken = world.leases.iter().find(|(other, theirs)| {
                let got = before.leases[*other].held.is_none()
                    && theirs.over.is_none()
                    && theirs
                        .held
                        .as_ref()
                        .is_some_and(|held| held.exporter == *rig);
                got && theirs.number > lease.number
                    && priority(world, theirs, rig) <= priority(world, lease, rig)
            });
            prop_assert!(
                overtaken.is_none(),
                "{:?} overtook {} on {}",
                overtaken,
                name,
                rig
            );
        }
        prop_assert_eq!(ahead_of(world, name, now).is_some(), waits);
        prop_assert!(!waits || !lease.conditions.is_empty());
        well_formed(lease, &lease.conditions)?;
        well_formed(lease, &told(world, name, now))?;
        let changed = outcome.changed.iter().any(|change| change.lease == *name);
        prop_assert_eq!(changed, known != lease, "{}", name);
    }
    prop_assert!(outcome.wake.is_none_or(|wake| wake > now));
    Ok(())
}

fn well_formed(lease: &Lease, all: &[crate::model::Condition]) -> Result<(), TestCaseError> {
    let kinds: BTreeSet<_> = all.iter().map(|one| one.kind).collect();
    prop_assert_eq!(kinds.len(), all.len());
    for (place, one) in all.iter().enumerate() {
        prop_assert!(
            one.message.len() <= MAX_MESSAGE && !one.message.is_empty(),
            "{:?}",
            one
        );
        prop_assert!(!one.reason.is_empty() && !one.message.contains('\n'));
        prop_assert!(one.kind != ConditionKind::Ready || place + 1 == all.len());
        prop_assert!(one.kind != ConditionKind::Pending || one.status);
    }
    let says = |kind, status| {
        all.iter()
            .any(|one| one.kind == kind && one.status == status)
    };
    let active = lease.held.is_some() && lease.over.is_none();
    prop_assert_eq!(says(ConditionKind::Ready, true), active, "{:?}", all);
    let hopeless = says(ConditionKind::Unsatisfiable, true) || says(ConditionKind::Invalid, true);
    prop_assert_eq!(
        lease.over.is_some(),
        hopeless || says(ConditionKind::Ready, false)
    );
    Ok(())
}

proptest! {
    #[test]
    fn whatever_happens_leases_are_in_order(
        events in vec(events(), 1..60), idle in prop::option::of(1..4000_u64),
    ) {
        let idle = idle.map(|limit| Idle { limit: Duration::from_secs(limit), from: at(0) });
        let settings = Settings { idle };
        let mut run = Run::new();
        for event in events {
            let past = run.world.clone();
            run.happen(event);
            for (name, lease) in past.leases.iter().filter(|(_, lease)| lease.over.is_some()) {
                prop_assert_eq!(&run.world.leases[name], lease, "{} came back", name);
            }
            let before = run.world.clone();
            let outcome = schedule::step(&mut run.world, &settings, run.now);
            check(&before, &run, &outcome)?;
            let settled = run.world.clone();
            let again = schedule::step(&mut run.world, &settings, run.now);
            prop_assert_eq!(&again.changed, &vec![]);
            prop_assert_eq!(&run.world, &settled);
            prop_assert_eq!(again.wake, outcome.wake);
            let later = |time| schedule::step(&mut settled.clone(), &settings, time).changed;
            match outcome.wake {
                Some(wake) => {
                    prop_assert_eq!(later(wake - Duration::from_nanos(1)), vec![]);
                    // Who waited already before the clock was set back has been told.
                    let begins = settled.leases.values().any(|lease| lease.begin == Some(wake));
                    prop_assert!(begins || !later(wake).is_empty());
                }
                None => prop_assert_eq!(later(run.now + leases::MAX_DURATION), vec![]),
            }
        }
    }

    #[test]
    fn admission_of_one_exporter_agrees_with_the_plain_reading(
        rules in vec((0..3_usize, -2..3_i64, prop::option::of(1..100_u64), any::<bool>()), 0..4),
        about in 0..SELECTORS.len(), who in 0..3_usize, seconds in 1..100_u64,
    ) {
        let mut run = Run::new();
        run.happen(Event::Policy(0, about, rules));
        crate::sample::ask(&mut run.world, "a", CLIENTS[who], crate::sample::request("board"), at(0));
        let mut lease = run.world.leases["a"].clone();
        lease.duration = Some(Duration::from_secs(seconds));
        for rig in RIGS {
            let plain = priority(&run.world, &lease, rig).is_some();
            prop_assert_eq!(access::admits(&run.world, CLIENTS[who], rig, lease.duration), plain);
        }
    }
}
