//! Who comes first.

use crate::{
    leases::{self, Request},
    model::World,
    sample::{ask, at, client, exporter, holds, policy, request, rule, stamp, step},
    schedule::{ahead_of, told},
};

fn lab(rigs: usize) -> World {
    let mut world = World::default();
    client(&mut world, "ci", &[("team", "ci")]);
    client(&mut world, "dev", &[("team", "dev")]);
    for rig in 1..=rigs {
        exporter(
            &mut world,
            &format!("rig-{rig}"),
            &[("board", "rpi4"), ("rack", &rig.to_string())],
        );
    }
    world
}

fn release(world: &mut World, name: &str) {
    let client = world.leases[name].client.clone();
    let lease = leases::delete(world, &client, name, name, at(2))
        .unwrap()
        .unwrap();
    world.leases.insert(name.into(), lease);
    step(world, at(2));
}

#[test]
fn the_oldest_wish_comes_first() {
    let mut world = lab(1);
    for name in ["c", "b", "a"] {
        ask(&mut world, name, "ci", request("board=rpi4"), at(1));
        step(&mut world, at(1));
    }
    let ahead = |world: &World, name| ahead_of(world, name, at(1));
    assert_eq!(
        [ahead(&world, "c"), ahead(&world, "b"), ahead(&world, "a")],
        [None, Some(0), Some(1)]
    );
    assert_eq!(
        told(&world, "a", at(1))[0].message,
        "1 ahead. Exporter rig-1 is already leased"
    );
    for name in ["c", "b", "a"] {
        assert_eq!(holds(&world, name), Some("rig-1"), "{name}");
        release(&mut world, name);
    }
}

#[test]
fn a_wish_that_only_one_exporter_fits_is_not_overtaken_there() {
    let mut world = lab(2);
    ask(&mut world, "one", "ci", request("rack=1"), at(0));
    ask(&mut world, "two", "ci", request("rack=2"), at(0));
    step(&mut world, at(0));
    ask(&mut world, "patient", "dev", request("rack=2"), at(1));
    ask(&mut world, "any", "ci", request("board"), at(1));
    step(&mut world, at(1));
    // Not the same exporters, but one is common to both.
    assert_eq!(ahead_of(&world, "any", at(1)), Some(1));
    release(&mut world, "two");
    assert_eq!(
        (holds(&world, "patient"), holds(&world, "any")),
        (Some("rig-2"), None)
    );
    release(&mut world, "one");
    assert_eq!(holds(&world, "any"), Some("rig-1"));
}

#[test]
fn a_wish_for_something_else_is_nobodys_rival() {
    let mut world = lab(2);
    ask(&mut world, "one", "ci", request("rack=1"), at(0));
    step(&mut world, at(0));
    ask(&mut world, "again", "ci", request("rack=1"), at(0));
    world.exporters.get_mut("rig-2").unwrap().presence.streams = 0;
    ask(&mut world, "two", "ci", request("rack=2"), at(0));
    step(&mut world, at(0));
    assert_eq!(ahead_of(&world, "two", at(0)), Some(0));
}

#[test]
fn priority_comes_before_age_and_is_that_of_the_exporter() {
    let mut world = lab(2);
    policy(&mut world, "all", "", vec![rule("", 0)]);
    policy(&mut world, "ci", "rack=1", vec![rule("team=ci", 10)]);
    for rig in ["rig-1", "rig-2"] {
        world.exporters.get_mut(rig).unwrap().presence.streams = 0;
    }
    ask(&mut world, "dev", "dev", request("board"), at(0));
    ask(&mut world, "dev-2", "dev", request("rack=2"), at(0));
    ask(&mut world, "ci", "ci", request("board"), at(0));
    ask(&mut world, "ci-2", "ci", request("rack=2"), at(0));
    step(&mut world, at(0));
    let ahead = |name| ahead_of(&world, name, at(0)).unwrap();
    // On the second rig the client of the first policy has no priority: age counts.
    assert_eq!(
        (ahead("dev"), ahead("dev-2"), ahead("ci"), ahead("ci-2")),
        (1, 1, 2, 3)
    );
    for rig in ["rig-1", "rig-2"] {
        world.exporters.get_mut(rig).unwrap().presence.streams = 1;
    }
    step(&mut world, at(1));
    assert_eq!(
        (holds(&world, "ci"), holds(&world, "dev")),
        (Some("rig-1"), Some("rig-2"))
    );
    assert_eq!(
        (world.leases["ci"].priority, world.leases["dev"].priority),
        (10, 0)
    );
    assert_eq!(
        (holds(&world, "dev-2"), holds(&world, "ci-2")),
        (None, None)
    );
}

#[test]
fn who_may_choose_gets_the_exporter_of_highest_priority() {
    let mut world = lab(3);
    policy(&mut world, "all", "", vec![rule("", 1)]);
    policy(
        &mut world,
        "third",
        "rack=3",
        vec![rule("", 5), rule("", 2)],
    );
    ask(&mut world, "a", "ci", request("board"), at(0));
    step(&mut world, at(0));
    assert_eq!(
        (holds(&world, "a"), world.leases["a"].priority),
        (Some("rig-3"), 5)
    );
}

#[test]
fn a_begin_in_the_future_blocks_nobody_and_then_counts_with_its_age() {
    let mut world = lab(1);
    let mut times = request("").times;
    times.begin = stamp(10);
    ask(
        &mut world,
        "later",
        "ci",
        Request {
            times,
            ..request("board")
        },
        at(0),
    );
    ask(&mut world, "now", "ci", request("board"), at(1));
    ask(&mut world, "next", "ci", request("board"), at(1));
    step(&mut world, at(1));
    assert_eq!(holds(&world, "now"), Some("rig-1"));
    assert_eq!(
        (
            ahead_of(&world, "later", at(1)),
            ahead_of(&world, "next", at(1))
        ),
        (None, Some(0))
    );
    step(&mut world, at(10));
    let released = leases::delete(&world, "ci", "now", "now", at(11))
        .unwrap()
        .unwrap();
    world.leases.insert("now".into(), released);
    step(&mut world, at(11));
    assert_eq!(holds(&world, "later"), Some("rig-1"));
}
