//! Which ended leases are forgotten.

use super::{super::trim, *};
use crate::model::{End, Over};

fn ended(number: u64, when: u64) -> Lease {
    Lease {
        over: Some(Over {
            at: at(when),
            how: End::Released,
        }),
        ..lease(number)
    }
}

#[test]
fn ended_leases_are_forgotten_by_age_and_by_count() {
    let mut world = World::default();
    for (number, when) in [(1, 300), (2, 100), (3, 200), (4, 900)] {
        world
            .leases
            .insert(format!("l-{number}"), ended(number, when));
    }
    world.leases.insert("active".into(), lease(5));
    let names = |count, age, now| -> Vec<String> {
        let retention = Retention {
            age: Duration::from_secs(age),
            count,
        };
        let changes = trim(&world, retention, at(now));
        changes
            .into_iter()
            .map(|change| match change {
                Change::Lease(name, None) => name,
                other => panic!("{other:?}"),
            })
            .collect()
    };
    assert_eq!(names(10, 5000, 1000), [""; 0]);
    assert_eq!(names(2, 5000, 1000), ["l-2", "l-3"]);
    assert_eq!(names(10, 750, 1000), ["l-2", "l-3"]);
    assert_eq!(names(1, 750, 1000), ["l-2", "l-3", "l-1"]);
    assert_eq!(names(0, 0, 10_000), ["l-2", "l-3", "l-1", "l-4"]);
    assert_eq!(names(10, 0, 0), [""; 0], "the clock went back");
}

#[test]
fn who_has_most_ended_leases_loses_them_first() {
    let mut world = World::default();
    for (client, count) in [("loop", 1500), ("alice", 300), ("bob", 2)] {
        for number in 0..count {
            // Those of the others ended before.
            let when = number + if client == "loop" { 1000 } else { 0 };
            let lease = Lease {
                client: client.into(),
                ..ended(number, when)
            };
            world.leases.insert(format!("{client}-{number}"), lease);
        }
    }
    let left = |count| {
        let retention = Retention {
            age: Duration::from_secs(1_000_000),
            count,
        };
        let mut left = world.clone();
        let changes = trim(&world, retention, at(10_000));
        changes
            .into_iter()
            .for_each(|change| change.apply(&mut left));
        ["loop", "alice", "bob"].map(|client| {
            let theirs = left.leases.values().filter(|lease| lease.client == client);
            theirs.count()
        })
    };
    assert_eq!(left(1000), [698, 300, 2]);
    assert_eq!(left(101), [50, 49, 2]);
    assert_eq!(left(2), [1, 0, 1]);
    assert_eq!(left(0), [0; 3]);
}
