//! What one change costs in a large lab.

use std::time::Instant;

use crate::{
    model::World,
    sample::{ask, at, client, exporter, request, step},
};

/// Of exporters, and of leases that wait for them.
const MANY: usize = 1000;
/// Far more than a step takes also without optimisation on a busy machine, and far less than what
/// looking at each pair of lease and exporter would.
const LIMIT_MILLIS: u128 = 100;

fn lab(selector: impl Fn(usize) -> String) -> World {
    let mut world = World::default();
    client(&mut world, "ci", &[]);
    for number in 0..MANY {
        let (name, rack) = (format!("rig-{number}"), format!("r{}", number % 20));
        let pairs = [
            ("board", "rpi4"),
            ("rack", &rack),
            ("id", &name),
            ("site", "lab"),
        ];
        exporter(&mut world, &name, &pairs);
    }
    for number in 0..2 * MANY {
        ask(
            &mut world,
            &format!("lease-{number}"),
            "ci",
            request(&selector(number)),
            at(0),
        );
    }
    world
}

/// Releases one lease and takes the time of the step that gives its exporter to the next.
fn one_change(mut world: World) -> (usize, u128) {
    assert_eq!(step(&mut world, at(1)).changed.len(), 2 * MANY);
    let mut times = Vec::new();
    for number in 0..9 {
        let name = format!("lease-{number}");
        let lease = crate::leases::delete(&world, "ci", &name, &name, at(2)).unwrap();
        world.leases.insert(name, lease.unwrap());
        let before = Instant::now();
        let changed = step(&mut world, at(2)).changed.len();
        times.push((changed, before.elapsed().as_micros()));
    }
    times.sort_unstable_by_key(|(_, time)| *time);
    println!("one change: {times:?} µs");
    times[times.len() / 2]
}

#[test]
fn one_change_is_cheap_when_a_thousand_wait_for_the_same() {
    let (changed, time) = one_change(lab(|_| "board=rpi4".into()));
    assert_eq!(changed, 1);
    assert!(time < LIMIT_MILLIS * 1000, "{time} µs");
}

#[test]
fn one_change_is_cheap_when_a_thousand_wait_for_different_things() {
    let selector = |number| format!("board=rpi4,site!=x{number},id notin (rig-{number})");
    let (changed, time) = one_change(lab(selector));
    assert_eq!(changed, 1);
    assert!(time < LIMIT_MILLIS * 1000, "{time} µs");
}

#[test]
fn a_lab_where_nobody_waits_costs_next_to_nothing() {
    let mut world = lab(|_| "board=rpi4".into());
    for number in MANY..2 * MANY {
        world.leases.remove(&format!("lease-{number}"));
    }
    step(&mut world, at(1));
    let before = Instant::now();
    assert_eq!(step(&mut world, at(2)).changed.len(), 0);
    let time = before.elapsed().as_micros();
    println!("nothing to do: {time} µs");
    assert!(time < LIMIT_MILLIS * 1000, "{time} µs");
}
