//! When leases begin and end by themselves.

use std::time::Duration;

use super::outcomes::{lab, pinned};
use crate::{
    leases::{self, Limits, Request, Update, WantedTimes},
    model::{End, ExporterState, World},
    sample::{ask, at, holds, last, request, seconds, stamp, step},
    schedule::{self, Idle, Settings, What},
};

#[test]
fn a_lease_begins_and_ends_when_that_was_asked_for() {
    let mut world = lab();
    let times = WantedTimes {
        begin: stamp(100),
        duration: seconds(50),
        end: None,
    };
    ask(
        &mut world,
        "a",
        "ci",
        Request {
            times,
            ..request("board")
        },
        at(0),
    );
    let outcome = step(&mut world, at(10));
    assert_eq!((outcome.changed.len(), outcome.wake), (0, Some(at(100))));
    assert!(world.leases["a"].conditions.is_empty());
    let outcome = step(&mut world, at(100));
    assert_eq!(
        (holds(&world, "a"), outcome.wake),
        (Some("rig-1"), Some(at(150)))
    );
    step(&mut world, at(149));
    assert!(holds(&world, "a").is_some());
    let outcome = step(&mut world, at(150));
    assert_eq!(outcome.changed[0].what, What::Ended(End::Expired));
    assert_eq!(
        last(&world, "a"),
        ("Expired".into(), false, "The lease's time is over".into())
    );
    assert_eq!(outcome.wake, None);
}

#[test]
fn the_end_counts_from_the_begin_that_was_asked_for() {
    let mut world = lab();
    ask(&mut world, "a", "dev", pinned("rig-1"), at(0));
    let times = WantedTimes {
        begin: stamp(0),
        duration: seconds(100),
        end: None,
    };
    ask(
        &mut world,
        "b",
        "ci",
        Request {
            times,
            ..pinned("rig-1")
        },
        at(0),
    );
    ask(
        &mut world,
        "c",
        "ci",
        Request {
            times,
            ..pinned("rig-1")
        },
        at(0),
    );
    step(&mut world, at(0));
    let released = leases::delete(&world, "dev", "a", "a", at(90))
        .unwrap()
        .unwrap();
    world.leases.insert("a".into(), released);
    assert_eq!(step(&mut world, at(90)).wake, Some(at(100)));
    step(&mut world, at(100));
    // The one had it for ten seconds, the other waited in vain.
    for (name, lasted) in [("b", Some(Duration::from_secs(10))), ("c", None)] {
        assert_eq!(last(&world, name).0, "Expired");
        assert_eq!(
            leases::effective(&world.leases[name], at(500)).duration,
            lasted
        );
    }
}

#[test]
fn a_lease_lives_no_longer_because_the_clock_was_set_back() {
    let mut world = lab();
    ask(&mut world, "a", "ci", request("board"), at(90_000));
    step(&mut world, at(90_000));
    let outcome = step(&mut world, at(10));
    assert_eq!(
        (outcome.changed[0].what, outcome.wake),
        (What::Begun, Some(at(3610)))
    );
    assert_eq!(
        step(&mut world, at(3610)).changed[0].what,
        What::Ended(End::Expired)
    );
    // Ended in what is the future again.
    assert_eq!(step(&mut world, at(0)).changed, []);
    assert_eq!(
        leases::effective(&world.leases["a"], at(0)).duration,
        Some(Duration::from_secs(3600))
    );
}

#[test]
fn a_lease_that_nobody_uses_ends_when_that_is_wanted() {
    let mut world = lab();
    ask(&mut world, "a", "ci", pinned("rig-1"), at(0));
    let settings = |from| Settings {
        idle: Some(Idle {
            limit: Duration::from_secs(600),
            from: at(from),
        }),
    };
    assert_eq!(
        schedule::step(&mut world, &settings(0), at(0)).wake,
        Some(at(600))
    );
    let presence = |world: &World| world.exporters["rig-1"].presence.clone();
    let mut used = presence(&world);
    used.tunnel_opened(at(300));
    world.exporters.get_mut("rig-1").unwrap().presence = used.clone();
    assert_eq!(
        schedule::step(&mut world, &settings(0), at(700)).wake,
        Some(at(3600))
    );
    used.tunnel_closed(at(1000));
    world.exporters.get_mut("rig-1").unwrap().presence = used;
    assert_eq!(
        schedule::step(&mut world, &settings(0), at(1000)).wake,
        Some(at(1600))
    );
    // A controller that has just started has seen nothing, which proves nothing.
    let mut restarted = world.clone();
    let rig = restarted.exporters.get_mut("rig-1").unwrap();
    rig.presence.last_used = None;
    let outcome = schedule::step(&mut restarted, &settings(1500), at(1600));
    assert_eq!((outcome.changed.len(), outcome.wake), (0, Some(at(2100))));
    let changed = schedule::step(&mut world, &settings(0), at(1600)).changed;
    assert_eq!(changed[0].what, What::Ended(End::Expired));
    assert_eq!(last(&world, "a").2, "No connection for 10 min");
}

/// The exporter reports a state.
fn report(world: &mut World, state: ExporterState, now: u64) {
    let presence = &mut world.exporters.get_mut("rig-1").unwrap().presence;
    presence.reported(Some(state), String::new(), at(now));
}

fn idle(limit: u64, from: u64) -> Settings {
    let limit = Duration::from_secs(limit);
    Settings {
        idle: Some(Idle {
            limit,
            from: at(from),
        }),
    }
}

#[test]
fn while_an_exporter_prepares_its_lease_that_is_not_unused() {
    let mut world = lab();
    ask(&mut world, "a", "ci", pinned("rig-1"), at(0));
    let settings = idle(60, 0);
    schedule::step(&mut world, &settings, at(0));
    report(&mut world, ExporterState::BeforeLeaseHook, 1);
    for now in [1, 61, 200] {
        let outcome = schedule::step(&mut world, &settings, at(now));
        assert_eq!((outcome.changed.len(), outcome.wake), (0, Some(at(3600))));
    }
    let mut ready = world.clone();
    report(&mut ready, ExporterState::LeaseReady, 200);
    let wake = |world: &mut World, now| schedule::step(world, &settings, at(now)).wake;
    assert_eq!(wake(&mut ready, 200), Some(at(260)));
    // One that is gone meanwhile prepares nothing.
    let rig = world.exporters.get_mut("rig-1").unwrap();
    rig.presence.closed(at(210));
    assert_eq!(wake(&mut world, 210), Some(at(270)));
    let changed = schedule::step(&mut world, &settings, at(270)).changed;
    assert_eq!(changed[0].what, What::Ended(End::Expired));
}

#[test]
fn a_clock_that_was_set_back_puts_off_no_end_of_a_lease_that_nobody_uses() {
    // The one had a tunnel; of the other nothing was seen since the start.
    for used in [Some(at(90_000)), None] {
        let mut world = lab();
        ask(&mut world, "a", "ci", pinned("rig-1"), at(90_000));
        let settings = idle(600, 90_000);
        schedule::step(&mut world, &settings, at(90_000));
        let rig = world.exporters.get_mut("rig-1").unwrap();
        rig.presence.last_used = used;
        let outcome = schedule::step(&mut world, &settings, at(10));
        assert_eq!(outcome.wake, Some(at(610)), "{used:?}");
        let outcome = schedule::step(&mut world, &settings, at(300));
        assert_eq!(outcome.wake, Some(at(610)), "{used:?}");
        let changed = schedule::step(&mut world, &settings, at(610)).changed;
        assert_eq!(changed[0].what, What::Ended(End::Expired), "{used:?}");
    }
}

#[test]
fn leases_of_who_is_gone_end() {
    let mut world = lab();
    ask(&mut world, "a", "ci", pinned("rig-1"), at(0));
    ask(&mut world, "b", "dev", pinned("rig-2"), at(0));
    ask(&mut world, "c", "dev", request("board"), at(0));
    step(&mut world, at(0));
    world.exporters.remove("rig-1");
    world.clients.remove("dev");
    step(&mut world, at(1));
    for (name, message) in [
        ("a", "Exporter rig-1 is gone"),
        ("b", "Client dev is gone"),
        ("c", "Client dev is gone"),
    ] {
        assert_eq!(
            last(&world, name),
            ("Released".into(), false, message.into())
        );
    }
}

#[test]
fn of_two_holders_of_one_exporter_the_elder_stays() {
    let mut world = lab();
    ask(&mut world, "z", "ci", pinned("rig-1"), at(0));
    step(&mut world, at(0));
    let mut forged = world.leases["z"].clone();
    forged.number += 1;
    world.leases.insert("a".into(), forged);
    step(&mut world, at(1));
    assert_eq!(
        (holds(&world, "z"), holds(&world, "a")),
        (Some("rig-1"), None)
    );
}

#[test]
fn a_longer_lease_ends_later_at_once() {
    let mut world = lab();
    ask(&mut world, "a", "ci", pinned("rig-1"), at(0));
    step(&mut world, at(0));
    let times = WantedTimes {
        duration: seconds(7200),
        ..WantedTimes::default()
    };
    let longer = Update {
        times,
        client: None,
    };
    let lease = leases::update(&world, &Limits::default(), "ci", "a", &longer).unwrap();
    world.leases.insert("a".into(), lease);
    assert_eq!(step(&mut world, at(3600)).wake, Some(at(7200)));
}
