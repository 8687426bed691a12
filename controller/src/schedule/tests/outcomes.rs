//! What a lease is told when it asks.

use std::time::Duration;

use crate::{
    leases::{self, Request, WantedTimes},
    model::{ConditionKind, ExporterState, World},
    sample::{ask, at, client, exporter, holds, last, policy, request, rule, seconds, step},
    schedule::{Change, What, told},
};

/// The client `ci` and the exporters `rig-1` and `rig-2` (board rpi4).
pub(super) fn lab() -> World {
    let mut world = World::default();
    client(&mut world, "ci", &[("team", "ci")]);
    client(&mut world, "dev", &[("team", "dev")]);
    exporter(&mut world, "rig-1", &[("board", "rpi4"), ("rack", "1")]);
    exporter(&mut world, "rig-2", &[("board", "rpi4"), ("rack", "2")]);
    world
}

pub(super) fn pinned(name: &str) -> Request {
    Request {
        exporter: Some(name.into()),
        ..request("")
    }
}

/// The condition that a request gets in a lab.
fn verdict(world: &mut World, request: Request) -> (String, bool, String) {
    ask(world, "this", "ci", request, at(1));
    step(world, at(1));
    let (over, last) = (world.leases["this"].over.is_some(), last(world, "this"));
    let kind = world.leases["this"].conditions.last().unwrap().kind;
    let ended = matches!(kind, ConditionKind::Unsatisfiable | ConditionKind::Invalid);
    assert_eq!(over, ended, "{last:?}");
    last
}

fn told_so(reason: &str, message: &str) -> (String, bool, String) {
    (reason.to_owned(), true, message.to_owned())
}

#[test]
fn what_is_free_is_given_by_name_at_once() {
    let mut world = lab();
    ask(&mut world, "a", "ci", request("board=rpi4"), at(1));
    let outcome = step(&mut world, at(1));
    let expected = Change {
        lease: "a".into(),
        exporter: Some("rig-1".into()),
        what: What::Acquired,
    };
    assert_eq!(outcome.changed, [expected]);
    assert_eq!(outcome.wake, Some(at(3601)));
    let text = "An exporter has been acquired for the client";
    assert_eq!(last(&world, "a"), told_so("Ready", text));
    assert_eq!(step(&mut world, at(2)).changed, []);
}

#[test]
fn wishes_that_can_never_be_fulfilled_end() {
    let message = "Requested exporter rig-9 was not found";
    assert_eq!(
        verdict(&mut lab(), pinned("rig-9")),
        told_so("ExporterNotFound", message)
    );

    let both = Request {
        selector: "rack=2".into(),
        ..pinned("rig-1")
    };
    let message = "Exporter rig-1 does not match the selector";
    assert_eq!(
        verdict(&mut lab(), both),
        told_so("SelectorMismatch", message)
    );

    let mut world = lab();
    for exporter in world.exporters.values_mut() {
        exporter.enabled = false;
    }
    let message = "Exporter rig-1 is disabled";
    assert_eq!(
        verdict(&mut world.clone(), pinned("rig-1")),
        told_so("ExporterDisabled", message)
    );
    let anyway = Request {
        allow_disabled: true,
        ..pinned("rig-1")
    };
    assert_eq!(verdict(&mut world.clone(), anyway).0, "Ready");
    let message = "All 2 exporters matching the selector are disabled";
    assert_eq!(
        verdict(&mut world, request("board=rpi4")),
        told_so("AllDisabled", message)
    );

    let message = "There are 0 exporters that match the selector";
    assert_eq!(
        verdict(&mut lab(), request("board=x")),
        told_so("NoAccess", message)
    );

    let message = "The selector is empty, a selector is required";
    assert_eq!(
        verdict(&mut lab(), request("<none>")),
        told_so("InvalidSelector", message)
    );
}

#[test]
fn who_waits_is_told_why() {
    let mut world = lab();
    for exporter in world.exporters.values_mut() {
        exporter.presence.streams = 0;
    }
    let message = "None of 2 exporters is online (i.e. rig-1)";
    assert_eq!(
        verdict(&mut world.clone(), request("board")),
        told_so("Offline", message)
    );
    let message = "Exporter rig-2 is not online";
    assert_eq!(
        verdict(&mut world, pinned("rig-2")),
        told_so("Offline", message)
    );

    let mut world = lab();
    ask(&mut world, "a", "dev", pinned("rig-1"), at(0));
    ask(&mut world, "b", "dev", pinned("rig-2"), at(0));
    let message = "All of 2 exporters are leased (i.e. rig-1)";
    assert_eq!(
        verdict(&mut world.clone(), request("board")),
        told_so("NotAvailable", message)
    );
    let message = "Exporter rig-1 is already leased";
    assert_eq!(
        verdict(&mut world, pinned("rig-1")),
        told_so("NotAvailable", message)
    );

    let mut world = lab();
    for exporter in world.exporters.values_mut() {
        exporter.presence.status = Some(ExporterState::AfterLeaseHook);
    }
    let message = "None of 2 exporters is ready (still cleaning up)";
    assert_eq!(
        verdict(&mut world, request("board")),
        told_so("NotReady", message)
    );

    let mut world = lab();
    for exporter in world.exporters.values_mut() {
        exporter.held = Some("the relay smells".into());
    }
    let message = "All of 2 exporters are on hold (i.e. rig-1)";
    assert_eq!(
        verdict(&mut world.clone(), request("board")),
        told_so("NotAvailable", message)
    );
    // Whoever holds one may switch it off.
    world.exporters.get_mut("rig-1").unwrap().presence = Default::default();
    let message = "Exporter rig-1 is on hold: the relay smells";
    assert_eq!(
        verdict(&mut world.clone(), pinned("rig-1")),
        told_so("NotAvailable", message)
    );
    let mut world = lab();
    world.exporters.get_mut("rig-1").unwrap().held = Some("the relay smells".into());
    ask(&mut world, "first", "dev", pinned("rig-2"), at(0));
    let message = "All of 2 exporters are leased or on hold";
    assert_eq!(
        verdict(&mut world, request("board")),
        told_so("NotAvailable", message)
    );
}

#[test]
fn who_waited_and_got_something_carries_both_conditions() {
    let mut world = lab();
    ask(&mut world, "a", "dev", pinned("rig-1"), at(0));
    ask(&mut world, "b", "ci", pinned("rig-1"), at(0));
    step(&mut world, at(0));
    assert_eq!(
        told(&world, "b", at(1))[0].message,
        "Exporter rig-1 is already leased"
    );
    let released = leases::delete(&world, "dev", "a", "a", at(5))
        .unwrap()
        .unwrap();
    world.leases.insert("a".into(), released);
    step(&mut world, at(5));
    let kinds: Vec<_> = world.leases["b"]
        .conditions
        .iter()
        .map(|one| (one.kind, one.status))
        .collect();
    assert_eq!(
        kinds,
        [(ConditionKind::Pending, true), (ConditionKind::Ready, true)]
    );
}

#[test]
fn policies_admit_by_client_exporter_and_duration() {
    let mut world = lab();
    let short = crate::model::Rule {
        maximum_duration: Some(Duration::from_secs(60)),
        ..rule("team=ci", 0)
    };
    policy(&mut world, "ci", "rack=1", vec![short]);
    let message = "While there are 2 exporters, no policy admits the client";
    assert_eq!(
        verdict(&mut world.clone(), request("board")),
        told_so("NoAccess", message)
    );
    let minute = |selector| Request {
        times: WantedTimes {
            duration: seconds(60),
            ..WantedTimes::default()
        },
        ..request(selector)
    };
    assert_eq!(verdict(&mut world.clone(), minute("board")).0, "Ready");
    assert_eq!(verdict(&mut world.clone(), minute("rack=2")).0, "NoAccess");
    ask(&mut world, "dev", "dev", minute("board"), at(1));
    step(&mut world, at(1));
    assert_eq!(last(&world, "dev").0, "NoAccess");
}

#[test]
fn spot_access_alone_is_refused_and_beside_other_access_unused() {
    let mut world = lab();
    let spot = |priority| crate::model::Rule {
        spot: true,
        ..rule("", priority)
    };
    policy(&mut world, "spot", "", vec![spot(100)]);
    let message = "Only spot access is possible, which is not given";
    assert_eq!(
        verdict(&mut world.clone(), request("board")),
        told_so("SpotAccess", message)
    );
    policy(&mut world, "two", "rack=2", vec![rule("", 1)]);
    verdict(&mut world, request("board"));
    assert_eq!(
        (holds(&world, "this"), world.leases["this"].priority),
        (Some("rig-2"), 1)
    );
}

#[test]
fn names_as_long_as_they_may_be_leave_room_for_the_words() {
    let long = ["a"; 120].join(".");
    let mut world = World::default();
    client(&mut world, "ci", &[]);
    exporter(&mut world, &long, &[("board", "x")]);
    world.exporters.get_mut(&long).unwrap().presence.streams = 0;
    let (_, _, message) = verdict(&mut world, pinned(&long));
    assert_eq!(message, "Exporter a.a.a.a.a.a.a.a.a... is not online");
}
